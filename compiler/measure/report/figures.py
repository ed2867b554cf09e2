"""The figures that a report and a comparison show of a source and a result, each with its unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from optc.compiler.measure.report.text import NONE, Format, dig, share, size, unit


@dataclass(frozen=True)
class Figure:
    """A figure of the record: where FIGURES has it, and how it is shown, with its interval where there is one."""

    name: str
    path: tuple[str, ...]
    form: Format

    def of(self, figures: Any) -> Any:
        return dig(figures, *self.path)


FIGURES = (
    Figure("Latency p50", ("latency_ms", "p50"), unit("ms")),
    Figure("Latency p90", ("latency_ms", "p90"), unit("ms")),
    Figure("Latency p99", ("latency_ms", "p99"), unit("ms")),
    Figure("Throughput", ("throughput",), unit("samples/s")),
    Figure("Size", ("bytes",), size),
    Figure("Peak memory", ("memory_mb",), unit("MB")),
    Figure("Load time", ("load_ms",), unit("ms")),
    Figure("CPU use", ("cpu",), unit("cores")),
    Figure("Energy a call", ("energy_j",), unit("J")),
)


def rows(document: Any) -> list[dict[str, str]]:
    """Baseline beside result, for the figures that at least one of them has; first how many times as fast it is."""
    found = []
    speed = dig(document, "speed")
    if dig(speed, "value") is not None:
        found.append({"name": "Speed", "baseline": "1×", "result": unit("x")(speed), "ratio": NONE})
    for figure in FIGURES:
        before, after = figure.of(dig(document, "baseline")), figure.of(dig(document, "result"))
        if figure.name == "Size":
            before = dig(document, "source", "bytes") if before is None else before
        if before is None and after is None:
            continue
        ratio = unit("x")(share(after, before))
        found.append({"name": figure.name, "baseline": figure.form(before), "result": figure.form(after), "ratio": ratio})
    return found


def conditions(document: Any) -> str:
    """Batch, threads and calls that the latencies are of, in words."""
    found = []
    for key, what in (("batch", "batch"), ("threads", "threads")):
        values = {str(v) for side in ("baseline", "result") if (v := dig(document, side, key)) is not None}
        if values:
            found.append(f"{what} {' / '.join(sorted(values))}")
    calls = [str(c) for side in ("baseline", "result") if (c := dig(document, side, "latency_ms", "calls")) is not None]
    return ", ".join([*found, *([f"{' / '.join(calls)} calls"] if calls else [])])
