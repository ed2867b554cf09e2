"""Pictures of a report as SVG text: bars that are read on a phone and follow the page's theme.

Drawn 360 px wide with the label above its bar, so that nothing shrinks on a narrow screen. Text stays text.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_WIDTH, _ROW = 360, 40
# matplotlib knows no CSS variables: it draws in these, they are replaced in the text it writes
_INKS = {"text": "#010101", "accent": "#020202", "muted": "#030303", "bad": "#040404", "line": "#050505"}
_CSS = {"text": "currentColor", "accent": "var(--accent)", "muted": "var(--muted)", "bad": "var(--bad)", "line": "var(--line)"}


@dataclass(frozen=True)
class Bar:
    """A labelled value; `low` and `high` draw its interval. `ink`: accent, muted, or bad."""

    label: str
    value: float
    shown: str
    low: float | None = None
    high: float | None = None
    ink: str = "accent"


def bars(found: Sequence[Bar]) -> str:
    """An <svg> with one bar a row, from zero; '' for none. Equal bars give equal text."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    if not found:
        return ""
    style: Any = {
        "svg.hashsalt": "optc",
        "svg.fonttype": "none",
        "font.size": 9.0,
        "font.family": "sans-serif",
        "svg.image_inline": True,
    }
    height = _ROW * len(found)
    with rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)
        figure = Figure(figsize=(_WIDTH / 72, height / 72), dpi=72, facecolor="none")
        FigureCanvasSVG(figure)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        reach = max((max(abs(b.value), abs(b.high or 0), abs(b.low or 0)) for b in found), default=0) or 1.0
        least = min(0.0, *(min(b.value, b.low if b.low is not None else b.value) for b in found)) / reach
        axes.set_xlim(0, _WIDTH)
        axes.set_ylim(height, 0)

        def place(value: float) -> float:
            return (value / reach - least) / (1 - least) * (_WIDTH - 4) + 2

        for i, bar in enumerate(found):
            top = i * _ROW
            label = bar.label if len(bar.label) <= 38 else f"{bar.label[:18]}…{bar.label[-19:]}"
            texts = ((0, label, "left", "muted" if bar.ink == "muted" else "text"), (_WIDTH, bar.shown, "right", "text"))
            for at, said, side, ink in texts:
                axes.text(at, top + 14, said, ha=side, va="baseline", color=_INKS[ink], parse_math=False, fontsize=12)
            axes.barh(top + 25, _WIDTH - 4, left=2, height=8, color=_INKS["line"], clip_on=False)
            axes.barh(top + 25, place(bar.value) - place(0), left=place(0), height=8, color=_INKS[bar.ink], clip_on=False)
            if bar.low is not None and bar.high is not None and bar.low != bar.high:
                ends = place(bar.low), place(bar.high)
                axes.plot(ends, (top + 25, top + 25), color=_INKS["text"], linewidth=1.5, clip_on=False)
                for x in ends:
                    axes.plot((x, x), (top + 20, top + 30), color=_INKS["text"], linewidth=1.5, clip_on=False)
        out = io.StringIO()
        figure.savefig(
            out, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    return _clean(out.getvalue())


def _clean(svg: str) -> str:
    """Inline SVG that takes its colours and its font from the page, without ids that a second picture would repeat."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<defs>.*?</defs>", "", svg, flags=re.S)
    svg = re.sub(r' (?:id|clip-path)="[^"]*"', "", svg)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    for name, colour in _INKS.items():
        svg = svg.replace(colour, _CSS[name])
    return svg.strip()
