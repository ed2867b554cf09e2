"""Pictures of a report as SVG text: rows that are read on a phone and follow the page's theme.

Drawn 320 px wide with the label above its bar, so that nothing shrinks on a narrow screen. Text stays text.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_WIDTH, _ROW, _EDGE = 320, 42, 5
_BEYOND = 0.6  # of the width of what was kept, that what was not may reach beyond it
_LETTER = 6.7  # px of a letter at 12 px, on the wide side
# matplotlib knows no CSS variables: it draws in these, they are replaced in the text it writes
INKS = {
    "text": "#010101",
    "accent": "#020202",
    "muted": "#030303",
    "good": "#040404",
    "bad": "#050505",
    "line": "#060606",
    "grey": "#070707",
}
_CSS = {"text": "currentColor", "line": "var(--line)"}


def style() -> Any:
    """What matplotlib draws with: equal pictures are equal text."""
    return {"svg.hashsalt": "optc", "svg.fonttype": "none", "font.size": 12.0, "font.family": "sans-serif"}


@dataclass(frozen=True)
class Row:
    """A labelled value: a bar from `start` to it, or a dot where it starts nowhere; `low` and `high` draw its interval.
    `ink`: accent, muted, good or bad. A muted row is of something that was not kept."""

    label: str
    value: float
    shown: str
    start: float | None = None
    low: float | None = None
    high: float | None = None
    ink: str = "accent"

    @property
    def values(self) -> list[float]:
        return [v for v in (self.value, self.start, self.low, self.high) if v is not None]


def chart(rows: Sequence[Row], zero: bool = True, mark: float | None = None, span: float = 0.0, linked: bool = False) -> str:
    """An <svg> with the rows below each other, '' for none. Equal rows give equal text.

    `zero`: the axis starts there; `mark`: a dashed line at this value; `span`: the least width of the axis, so that noise is not
    drawn large; `linked`: thin lines lead from what was kept to where the next row starts, as in a waterfall.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    if not rows:
        return ""
    height = _ROW * len(rows)
    with rc_context(style()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)
        figure = Figure(figsize=(_WIDTH / 72, height / 72), dpi=72, facecolor="none")
        FigureCanvasSVG(figure)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set_ylim(height, 0)
        axes.set_xlim(*_reach(rows, zero, mark, span))
        kept = None
        for i, row in enumerate(rows):
            if linked and kept is not None and row.start == rows[kept].value:
                for to in (j * _ROW for j in range(kept + 1, i + 1)):  # between texts and bars, not through them
                    for ends in ((to + 31 - _ROW, to + 3), (to + 18, to + 23)):
                        axes.plot((row.start, row.start), ends, color=INKS["muted"], linewidth=1, clip_on=False)
            _draw(axes, row, i * _ROW)
            if mark is not None:
                axes.plot(
                    (mark, mark),
                    (i * _ROW + 19, i * _ROW + 35),
                    color=INKS["text"],
                    linewidth=1,
                    linestyle=(0, (3, 2)),
                    clip_on=False,
                )
            kept = i if row.ink != "muted" else kept
        out = io.StringIO()
        left_out = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(out, format="svg", transparent=True, metadata=left_out)
    return clean(out.getvalue())


def _reach(rows: Sequence[Row], zero: bool, mark: float | None, span: float) -> tuple[float, float]:
    """What the axis shows, with a few pixels on both sides. What was not kept may reach beyond it, not to make the rest small."""
    fixed = ([0.0] if zero else []) + ([mark] if mark is not None else [])
    every, kept = ([v for r in some for v in r.values] + fixed for some in (rows, [r for r in rows if r.ink != "muted"]))
    low, high = min(every), max(every)
    if max(kept) > min(kept):
        room = _BEYOND * (max(kept) - min(kept))
        low, high = max(low, min(kept) - room), min(high, max(kept) + room)
    short = max(span - (high - low), 0.0) or (1.0 if high == low else 0.0)
    low, high = (low, high + short) if zero and low == 0 else (low - short / 2, high + short / 2)
    edge = (high - low) * _EDGE / (_WIDTH - 2 * _EDGE)
    return low - edge, high + edge


def _draw(axes: Any, row: Row, top: float) -> None:
    """A row from `top` on: text at its baseline 14 px below, the bar's middle 27 px below."""
    muted = row.ink == "muted"
    at, ink = top + 27, INKS["grey" if muted else row.ink]
    left, right = axes.get_xlim()
    label = _short(row.label, int((_WIDTH - len(row.shown) * _LETTER) / _LETTER) - 1)
    axes.text(left, top + 14, label, ha="left", va="baseline", color=INKS["muted" if muted else "text"], parse_math=False)
    axes.text(right, top + 14, row.shown, ha="right", va="baseline", color=INKS["muted" if muted else "text"], parse_math=False)
    axes.plot((left, right), (at, at), color=INKS["line"], linewidth=8 if row.start is not None else 1, clip_on=False, zorder=0)
    pixel = (right - left) / _WIDTH
    value, low, high = (None if v is None else min(max(v, left), right) for v in (row.value, row.low, row.high))
    assert value is not None
    if row.start is not None:
        width = value - row.start
        if abs(width) < 2 * pixel:  # a change too small to be seen as a bar is still a change
            width = 2 * pixel if width >= 0 else -2 * pixel
        axes.barh(at, width, left=row.start, height=8, color=ink, clip_on=False)
    else:
        axes.barh(at, 8 * pixel, left=value - 4 * pixel, height=8, color=ink, clip_on=False)
    if row.value > right:
        ends = right - 8 * pixel, right - 8 * pixel, right - 2 * pixel
        axes.fill(ends, (at - 4, at + 4, at), color=INKS["text"], linewidth=0, clip_on=False)
    if low is not None and high is not None and low != high:
        axes.plot((low, high), (at, at), color=INKS["text"], linewidth=1.5, clip_on=False)
        for x in (x for x in (low, high) if left < x < right):  # an end that is beyond the picture has no mark
            axes.plot((x, x), (at - 5, at + 5), color=INKS["text"], linewidth=1.5, clip_on=False)


def _short(label: str, letters: int) -> str:
    """A label in so many letters: its two ends tell more than its middle."""
    if len(label) <= letters:
        return label
    tail = max(letters // 3, 1)
    return f"{label[: letters - tail - 1]}…{label[-tail:]}"


def clean(svg: str) -> str:
    """Inline SVG that takes its colours and its font from the page, without ids that a second picture would repeat."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<defs>.*?</defs>", "", svg, flags=re.S)
    svg = re.sub(r' (?:id|clip-path|xmlns|xmlns:xlink|version)="[^"]*"', "", svg)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    for name, colour in INKS.items():
        svg = svg.replace(colour, _CSS.get(name, f"var(--{name})"))
    return svg.strip()
