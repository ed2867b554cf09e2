"""Two or more bundles side by side, and what forbids to compare them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optc.compiler.measure.report.figures import FIGURES
from optc.compiler.measure.report.html import page
from optc.compiler.measure.report.tables import Cell, table
from optc.compiler.measure.report.text import NONE, dig, entries, known, number, share, signed, unit, word

_METRICS, _TIMES = "metrics cannot be compared", "times, memory and energy cannot be compared"
_SAME = (
    (("source", "sha256"), "the sources differ: these are other models"),
    (("data", "sha256"), f"the data differ: {_METRICS}"),
    (("environment",), f"the environments differ: {_TIMES}"),
    (("result", "threads"), f"the threads differ: {_TIMES}"),
    (("result", "batch"), f"the batch sizes differ: {_TIMES}"),
)


def compare(documents: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """{columns, warnings, rows}: a row is a figure of every result; `ratios` are to the first one (of metrics: `differences`)."""
    found = list(documents.values())
    rows: list[dict[str, Any]] = []
    speeds = [dig(d, "speed") for d in found]
    if any(known(s) is not None for s in speeds):
        ratios = [share(s, speeds[0]) for s in speeds]
        rows.append(_row("Speed against onnxruntime", speeds, ratios, list(map(unit("x"), speeds))))
    for figure in FIGURES:
        values = [figure.of(d.get("result")) for d in found]
        if any(v is not None for v in values):
            rows.append(_row(figure.name, values, [share(v, values[0]) for v in values], [figure.form(v) for v in values]))
    for name in dict.fromkeys(m.get("metric") for d in found for m in entries(d, "metrics")):
        values = [next((known(m.get("result")) for m in entries(d, "metrics") if m.get("metric") == name), None) for d in found]
        changes = [None if v is None or values[0] is None else v - values[0] for v in values]
        against = [signed(c) for c in changes[1:]]
        shown = [number(v) for v in values]
        rows.append({"figure": word(name), "values": values, "differences": changes, "shown": shown, "against": against})
    return {"columns": list(documents), "warnings": _warnings(found), "rows": rows}


def render(compared: Mapping[str, Any]) -> str:
    """What `compare` gave as one page."""
    rows = []
    for r in compared["rows"]:
        cells = [Cell(v, (a,) if a != NONE else ()) for v, a in zip(r["shown"][1:], r["against"], strict=True)]
        rows.append([r["figure"], r["shown"][0], *cells])
    # a bundle's name may hold the sign that parts columns
    names = "|".join(["Figure", *(f"{name.replace('|', '¦')}:" for name in compared["columns"])])
    return page("compare.html.j2", warnings=compared["warnings"], table_=table(names, rows))


def _row(name: str, values: list[Any], ratios: list[float | None], shown: list[str]) -> dict[str, Any]:
    against = [unit("x")(r) for r in ratios[1:]]
    return {"figure": name, "values": values, "ratios": ratios, "shown": shown, "against": against}


def _warnings(found: list[Mapping[str, Any]]) -> list[str]:
    """What differs that must not, with the keys that do; what a record lacks is not known to be the same."""
    said = []
    for path, text in _SAME:
        values = [dig(d, *path) for d in found]
        if path[0] in ("data", "result") and not all(
            entries(d, "metrics") if path[0] == "data" else d.get("speed") for d in found
        ):
            continue  # nothing that this would forbid to compare
        if any(v is None for v in values):
            said.append(f"not every record tells its {' '.join(path)}: whether it is the same is not known")
        elif any(v != values[0] for v in values):
            said.append(text + _which(values))
    return said


def _which(values: list[Any]) -> str:
    """The keys that differ, of mappings."""
    if not all(isinstance(v, Mapping) for v in values):
        return ""
    keys = sorted({key for v in values for key in v if any(other.get(key) != values[0].get(key) for other in values)})
    return f" ({', '.join(map(str, keys))})" if keys else ""
