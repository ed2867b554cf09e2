"""How optc's time grows with the nodes of a graph, and its memory with the bytes of its weights."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks import graph_engines, llm_graph
from optc.compiler.diagnostics import UserError

SIZES = (1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000)
PLOT = Path(__file__).resolve().parent.parent / "docs" / "scale.svg"
BARE = "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
"""What a bare interpreter prints of itself, kB."""


@dataclass(frozen=True)
class Line:
    """seconds = start + slope · nodes, by least squares; `r2` is the share of the variance that it explains."""

    start: float
    slope: float
    r2: float


def fit(nodes: Sequence[int], seconds: Sequence[float]) -> Line:
    """The straight line nearest to the points."""
    x, y = np.asarray(nodes, float), np.asarray(seconds, float)
    slope, start = np.polyfit(x, y, 1)
    rest = y - (start + slope * x)
    return Line(float(start), float(slope), float(1 - (rest @ rest) / ((y - y.mean()) @ (y - y.mean()))))


def scale(largest: int, plot: Path, timeout: float, console: Console) -> None:
    """Optimize graphs of 1,000 to `largest` nodes, print seconds for each and the line through them, and draw it."""
    if plot.suffix not in (".svg", ".png"):
        raise UserError("a plot is .svg or .png", place=f"--plot {plot}")
    nodes, seconds = list[int](), list[float]()
    with tempfile.TemporaryDirectory(prefix="optc-llm-") as folder:
        model = Path(folder) / "llm.onnx"
        for size in (s for s in SIZES if s <= largest):
            found = graph_engines.count(llm_graph.build(model, llm_graph.Size(layers_for(size))))
            made = graph_engines.run("optc", model, timeout)
            if made.problem:
                raise UserError(f"optc fails on {found} nodes: {made.problem}", place="--scale")
            nodes.append(found)
            seconds.append(made.seconds)
            console.print(
                f"{found:7d} nodes -> {made.nodes:6d}: {made.seconds:6.2f} s, {made.seconds / found * 1e6:.0f} µs a node, "
                f"peak {made.peak / 1e6:.0f} MB",
                highlight=False,
            )
    if len(nodes) > 2:
        line = fit(nodes, seconds)
        console.print(f"seconds = {line.start:.2f} + {line.slope * 1e6:.0f}e-6 · nodes, R² = {line.r2:.4f}", highlight=False)
        draw(nodes, seconds, line, plot)
        console.print(f"drawn: {plot}", soft_wrap=True)


def layers_for(nodes: int) -> int:
    """Layers of the graph that has about so many nodes."""
    return max(1, round((nodes - llm_graph.AROUND) / llm_graph.PER_LAYER))


def draw(nodes: Sequence[int], seconds: Sequence[float], line: Line, path: Path) -> None:
    """The points and the line as a picture."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with matplotlib.rc_context({"svg.hashsalt": "optc", "svg.fonttype": "none"}):
        figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
        ends = np.array([0, max(nodes)])
        axes.plot(
            ends, line.start + line.slope * ends, color="tab:gray", label=f"{line.slope * 1e6:.0f} µs a node, R² {line.r2:.4f}"
        )
        axes.plot(nodes, seconds, "o", color="tab:blue")
        axes.set(xlabel="nodes of the source", ylabel="seconds of optc opt", xlim=(0, None), ylim=(0, None))
        axes.legend()
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
        pyplot.close(figure)


def external(gigabytes: float, timeout: float, console: Console) -> None:
    """Optimize a model of so many GB of external weights; print the peak memory above that of a bare interpreter."""
    size = llm_graph.Size(1, hidden=2048, heads=16, kv_heads=4, vocabulary=8192)
    size = replace(size, layers=max(1, round((gigabytes * 1e9 - size.other_bytes) / size.layer_bytes)))
    bare = 1024 * int(subprocess.run([sys.executable, "-c", BARE], capture_output=True, text=True, check=True).stdout)
    with tempfile.TemporaryDirectory(prefix="optc-llm-") as folder:
        model = llm_graph.build(Path(folder) / "llm.onnx", size, external=True)
        weights = model.with_name(f"{model.name}.data").stat().st_size
        made = graph_engines.run("optc", model, timeout)
        if made.problem:
            raise UserError(f"optc fails: {made.problem}", place="--external")
    console.print(
        f"{size.layers} layers, {weights / 1e9:.2f} GB of external weights -> {made.nodes} nodes in {made.seconds:.1f} s; "
        f"peak {made.peak / 1e6:.0f} MB resident, mapped pages of files included: {(made.peak - bare) / 1e6:.0f} MB above "
        f"the interpreter's {bare / 1e6:.0f} MB",
        highlight=False,
        soft_wrap=True,
    )
