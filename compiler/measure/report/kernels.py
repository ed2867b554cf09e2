"""The kernels of a profile: a roofline picture (Williams, Waterman, Patterson, CACM 2009), a table, and a page of both."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from optc.compiler.measure.report import text
from optc.compiler.measure.report.plots import INKS, clean, style
from optc.compiler.measure.report.tables import Cell, Table, table
from optc.compiler.measure.report.text import dig, entries, known

ROWS = 40
"""At most so many kernels in the table of a page, those that take longest."""
_WIDTH, _HEIGHT = 320, 240
_LEFT, _BELOW = 44, 36  # px for the labels of the axes
_NEAR = 0.8  # of the roofline: nearer is good


def picture(profile: Any) -> str:
    """GFLOP/s over FLOP a byte, both logarithmic: a dot a kernel, as large as its share of the time, below what the machine can
    do out of its fastest and slowest memory. '' where no kernel is known to compute products."""
    dots, peak, rates = _dots(profile), known(dig(profile, "multiply_adds_per_second")), _rates(profile)
    if not dots or peak is None or not rates:
        return ""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.patches import Circle
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    peak *= 2e-9
    intensities = [d[0] for d in dots]
    low, high = min(*intensities, peak / max(rates)) / 2, max(*intensities, peak / min(rates)) * 2
    with rc_context(style()):
        figure = Figure(figsize=(_WIDTH / 72, _HEIGHT / 72), dpi=72, facecolor="none")
        FigureCanvasSVG(figure)
        room = (_LEFT / _WIDTH, _BELOW / _HEIGHT, 1 - (_LEFT + 8) / _WIDTH, 1 - (_BELOW + 8) / _HEIGHT)
        axes = figure.add_axes(room, facecolor="none")
        floor, top = min(d[1] for d in dots) / 2, max(peak, *(d[1] for d in dots)) * 1.5
        for axis, scale, bounds in ((axes.xaxis, axes.set_xscale, (low, high)), (axes.yaxis, axes.set_yscale, (floor, top))):
            scale("log")
            axis.set_view_interval(*bounds, ignore=True)
            axis.set_major_locator(FixedLocator(_ticks(*bounds)))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_locator(NullLocator())
        for rate in (max(rates), min(rates)):
            start = max(low, floor / rate)
            axes.plot((start, peak / rate, high), (start * rate, peak, peak), color=INKS["text"], linewidth=1)
        for intensity, speed, share, roofline in dots:
            ink = INKS["good" if roofline >= _NEAR else "accent"]
            x, y = axes.transData.transform((intensity, speed))
            axes.add_patch(Circle((float(x), float(y)), 2 + 20 * share**0.5, transform=None, color=ink, alpha=0.6, linewidth=0))
        axes.set_xlabel("FLOP a byte", color=INKS["text"], size=11)
        axes.set_ylabel("GFLOP/s", color=INKS["text"], size=11)
        axes.tick_params(which="both", colors=INKS["text"], labelsize=10)
        for spine in axes.spines.values():
            spine.set_color(INKS["line"])
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return clean(out.getvalue())


def _ticks(low: float, high: float) -> list[float]:
    """Of 1, 2, 5, 10, … those between, without the 2 and 5 where there are many."""
    every = [step * 10.0**power for power in range(-6, 9) for step in (1, 2, 5) if low <= step * 10.0**power <= high]
    return every if len(every) <= 6 else every[next((i for i, t in enumerate(every) if f"{t:e}".startswith("1")), 0) :: 3]


def _dots(profile: Any) -> list[tuple[float, float, float, float]]:
    """(FLOP a byte, GFLOP/s, share of the time, share of the roofline) of the kernels that compute products, large ones first."""
    found = []
    whole = known(dig(profile, "seconds")) or 0.0
    for kernel in entries(profile, "kernels"):
        sums, moved, taken = (known(kernel.get(key)) for key in ("multiply_adds", "bytes", "seconds"))
        if sums and moved and taken:
            share = taken / whole if whole else 0.0
            found.append((2 * sums / moved, 2e-9 * sums / taken, share, known(kernel.get("roofline")) or 0.0))
    return sorted(found, key=lambda dot: -dot[2])


def _rates(profile: Any) -> list[float]:
    """GB/s out of each memory."""
    return [1e-9 * rate for read in entries(profile, "bytes_per_second") if (rate := known(read.get("rate")))]


def kernels(profile: Any, most: int | None = ROWS) -> Table | None:
    """The kernels that take longest, or all."""
    whole = known(dig(profile, "seconds")) or 0.0
    ranked = sorted(entries(profile, "kernels"), key=lambda k: -(known(k.get("seconds")) or 0.0))
    rows: list[Sequence[Cell | str]] = []
    for kernel in ranked[:most]:
        taken, sums, moved, near = (known(kernel.get(key)) for key in ("seconds", "multiply_adds", "bytes", "roofline"))
        if not taken:
            continue
        nodes = [str(node) for node in kernel.get("nodes") or ()]
        names = ", ".join(nodes[:3]) + (f", and {len(nodes) - 3} more" if len(nodes) > 3 else "")
        rows.append(
            [
                Cell(text.word(kernel.get("name")), (names,)),
                f"{1e6 * taken:.1f}",
                f"{taken / whole:.1%}" if whole else "",
                f"{2e-9 * sums / taken:.0f}" if sums else "",
                f"{1e-9 * moved / taken:.1f}" if moved else "",
                Cell("" if near is None else f"{near:.0%}", tone="good" if near is not None and near >= _NEAR else ""),
            ]
        )
    return table("Kernel|µs:|Share:|GFLOP/s:|GB/s:|Of roofline:", rows)


def told(profile: Any) -> str:
    """What the picture's lines are, in words."""
    peak, rates = known(dig(profile, "multiply_adds_per_second")), _rates(profile)
    if peak is None or not rates:
        return ""
    threads, taken = known(dig(profile, "threads")), known(dig(profile, "seconds"))
    ran = f"{1e3 * taken:.3f} ms a call with {threads:.0f} threads. " if taken is not None and threads is not None else ""
    ceilings = (
        f"{2e-9 * peak:.0f} GFLOP/s, and {max(rates):.0f} to {min(rates):.0f} GB/s read out of the nearest cache and of memory"
    )
    return f"{ran}Measured ceilings: {ceilings}."


def render(profile: Mapping[str, Any], name: str) -> str:
    """The page of a profile of the bundle called `name`."""
    from markupsafe import Markup

    from optc.compiler.measure.report.html import page

    drawn = Markup(picture(profile))
    return page("kernels.html.j2", name=name, picture=drawn, kernels=kernels(profile), told=told(profile))
