"""The rows that a report and a comparison show of a source and a result, each with its unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optc.compiler.measure.report.text import Format, dig, share, size, unit


@dataclass(frozen=True)
class Figure:
    """A figure of the record: where FIGURES has it, and how it is shown. `timed`: it depends on the machine."""

    name: str
    path: tuple[str, ...]
    form: Format
    timed: bool = True

    def of(self, figures: Any) -> Any:
        return dig(figures, *self.path)


FIGURES = (
    Figure("Latency p50", ("latency_ms", "p50"), unit("ms")),
    Figure("Latency p90", ("latency_ms", "p90"), unit("ms")),
    Figure("Latency p99", ("latency_ms", "p99"), unit("ms")),
    Figure("Throughput", ("throughput",), unit("samples/s")),
    Figure("Size", ("bytes",), size, timed=False),
    Figure("Peak memory", ("memory_mb",), unit("MB")),
    Figure("Load time", ("load_ms",), unit("ms")),
    Figure("CPU use", ("cpu",), unit("cores")),
    Figure("Energy a call", ("energy_j",), unit("J")),
)


def rows(document: Mapping[str, Any]) -> list[dict[str, str]]:
    """Baseline beside result, for the figures that at least one of them has."""
    found = []
    for figure in FIGURES:
        before, after = figure.of(document.get("baseline")), figure.of(document.get("result"))
        if figure.name == "Size":
            before = dig(document, "source", "bytes") if before is None else before
        if before is None and after is None:
            continue
        ratio = share(after, before)
        shown = {"name": figure.name, "baseline": figure.form(before), "result": figure.form(after)}
        found.append({**shown, "ratio": unit("x")(ratio)})
    return found


def conditions(document: Mapping[str, Any]) -> str:
    """Batch, threads and calls that the latencies are of, in words."""
    found = []
    for key, what in (("batch", "batch"), ("threads", "threads")):
        values = {str(v) for side in ("baseline", "result") if (v := dig(document, side, key)) is not None}
        if values:
            found.append(f"{what} {' / '.join(sorted(values))}")
    calls = [str(c) for side in ("baseline", "result") if (c := dig(document, side, "latency_ms", "calls")) is not None]
    return ", ".join([*found, *([f"{' / '.join(calls)} calls"] if calls else [])])
