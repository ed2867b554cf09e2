"""Two or more bundles side by side, and what forbids to compare them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optc.compiler.measure.report.figures import FIGURES
from optc.compiler.measure.report.html import page
from optc.compiler.measure.report.text import dig, number, share, unit

_SAME = (
    (("source", "sha256"), "the sources differ: these are other models"),
    (("data", "sha256"), "the data differ: metrics cannot be compared"),
    (("environment",), "the environments differ: times, memory and energy cannot be compared"),
)


def compare(documents: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """{columns, warnings, rows}: a row is a figure of every result; `ratios` are to the first one (of metrics: `differences`)."""
    found = list(documents.values())
    rows: list[dict[str, Any]] = []
    for figure in FIGURES:
        values = [figure.of(d.get("result")) for d in found]
        if any(v is not None for v in values):
            shown = [figure.form(v) for v in values]
            ratios = [share(v, values[0]) for v in values]
            against = [unit("x")(r) for r in ratios[1:]]
            rows.append({"figure": figure.name, "values": values, "ratios": ratios, "shown": shown, "against": against})
    for name in dict.fromkeys(m.get("metric") for d in found for m in d.get("metrics") or []):
        values = [next((m.get("result") for m in d.get("metrics") or [] if m.get("metric") == name), None) for d in found]
        changes = [None if v is None or values[0] is None else v - values[0] for v in values]
        shown, against = [number(v) for v in values], [number(c) for c in changes[1:]]
        rows.append({"figure": name, "values": values, "differences": changes, "shown": shown, "against": against})
    return {"columns": list(documents), "warnings": _warnings(found), "rows": rows}


def render(compared: Mapping[str, Any]) -> str:
    """What `compare` gave as one page."""
    return page("compare.html.j2", c=compared)


def _warnings(found: list[Mapping[str, Any]]) -> list[str]:
    said = []
    for path, text in _SAME:
        values = [dig(d, *path) for d in found]
        if any(v is None for v in values):
            said.append(f"not every record has its {' '.join(path)}: whether it is the same is not known")
        elif any(v != values[0] for v in values):
            said.append(text)
    return said
