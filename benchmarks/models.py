"""Real models, compiled for the CPU and set beside onnxruntime: error, compile seconds, start-up, memory, speed.

    python -m benchmarks.models                          three small models of the zoo
    python -m benchmarks.models minilm_l6 --size S=64
    python -m benchmarks.models my.onnx --size width=320

Each model is compiled with its free dimensions (one bundle for every batch) and again for each batch with all dimensions fixed.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import optc
from benchmarks import zoo
from benchmarks.command import run
from benchmarks.peers import FreshProcess, fresh_processes, onnxruntime_runner, warn_if_busy
from benchmarks.recipes import RECIPES, Shape
from optc.compiler.inputs import generate
from optc.compiler.load import load
from optc.compiler.measure.latency import SideBySide, interleaved
from optc.compiler.numerics import Comparison, compare

DEFAULT = ("lcnet_orientation", "fashion_cnn", "ppocr_cls")
BATCHES = (1, 8)
THREADS = (1, 2)
SAMPLES = 10
WIDTH = 170  # of the table, also where the output is no terminal
SIZES = {
    "H": 480,
    "W": 320,
    "S": 128,
    "L": 8,
    "T": 576,
}  # for the zoo's dimensions other than the batch, where --size says nothing

Array = NDArray[Any]
Shapes = Mapping[str, Shape]


def declared(model: Path) -> dict[str, Shape]:
    """The shapes of a model's inputs as the file declares them; free dimensions are names."""
    inputs = load(model).graph.inputs
    return {
        value.name or "": tuple(dim if isinstance(dim, int) else str(dim.value) for dim in value.shape or ()) for value in inputs
    }


def bind(shapes: Shapes, batch: int, sizes: Mapping[str, int]) -> dict[str, Shape]:
    """All dimensions fixed; a free one that leads a shape is the batch. Raises BadParameter for a dimension without a size."""
    bound = {
        **{str(shape[0]): batch for shape in shapes.values() if shape and shape[0] not in SIZES},
        "N": batch,
        **SIZES,
        **sizes,
    }
    free = sorted({dim for shape in shapes.values() for dim in shape if isinstance(dim, str) and dim not in bound})
    if free:
        raise typer.BadParameter(f"no size for the dimension {free[0]}; give --size {free[0]}=64")
    return {name: tuple(bound[dim] if isinstance(dim, str) else dim for dim in shape) for name, shape in shapes.items()}


def compile_seconds(model: Path, bundle: Path, shapes: Shapes) -> tuple[float, float]:
    """Seconds to compile with an empty cache, and again with what that left in it."""
    seconds = []
    with tempfile.TemporaryDirectory() as cache:
        os.environ["OPTC_CACHE"] = cache
        for _ in range(2):
            start = time.perf_counter()
            optc.compile(model, bundle, target="cpu", shapes=shapes)
            seconds.append(time.perf_counter() - start)
        del os.environ["OPTC_CACHE"]
    return seconds[0], seconds[1]


def measure(
    model: Path, bundle: Path, shapes: Shapes, seconds: float
) -> tuple[Comparison, tuple[FreshProcess, FreshProcess], list[SideBySide]]:
    """With all dimensions fixed: the error on SAMPLES inputs, fresh processes (ours, theirs), a race for each of THREADS."""
    samples = generate(load(model, shapes), samples=SAMPLES)
    reference, ours = onnxruntime_runner(model, 2, optimize=False), optc.load(bundle, threads=2)
    worst = compare([reference(feeds) for feeds in samples], [ours.run(feeds) for feeds in samples])
    fresh = fresh_processes(bundle, model, samples[0], threads=2)
    races = [race(bundle, model, samples[0], threads, seconds) for threads in THREADS]
    return worst, fresh, races


def race(bundle: Path, model: Path, feeds: Mapping[str, Array], threads: int, seconds: float) -> SideBySide:
    """Ours and onnxruntime in turns, both with `threads` threads."""
    ours, peer = optc.load(bundle, threads=threads), onnxruntime_runner(model, threads)
    return interleaved({"optc": lambda: ours.run(feeds), "onnxruntime": lambda: peer(feeds)}, seconds=seconds)


def rows(name: str, sizes: Mapping[str, int], seconds: float) -> Iterator[list[str]]:
    """The lines of the table for one model."""
    known = name in RECIPES
    model = zoo.fetch(name) if known else Path(name)
    shapes = RECIPES[name].inputs if known else declared(model)
    free = any(shape and isinstance(shape[0], str) and shape[0] not in SIZES for shape in shapes.values())
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("free", "fixed") if free else ("fixed",):
            for batch in BATCHES if free else (1,):
                bound = bind(shapes, batch, sizes)
                bundle = Path(folder) / ("free.optc" if kind == "free" else f"{batch}.optc")
                compiled = (
                    ""
                    if bundle.exists()
                    else "{:.1f} / {:.2f}".format(*compile_seconds(model, bundle, shapes if kind == "free" else bound))
                )
                worst, (ours, theirs), races = measure(model, bundle, bound, seconds)
                yield [
                    f"{Path(name).stem}, {kind}, {batch}",
                    worst.problem or f"{worst.error:.1e}",
                    compiled,
                    f"{ours.seconds:.2f} / {theirs.seconds:.2f}",
                    f"{ours.peak_bytes / 1e6:.0f} / {theirs.peak_bytes / 1e6:.0f}",
                    *(f"{r.latencies['optc'].median_ms:.3g} / {r.latencies['onnxruntime'].median_ms:.3g}" for r in races),
                    *(str(r.speed("optc", against="onnxruntime")) for r in races),
                ]


def main(
    models: Annotated[list[str] | None, typer.Argument(help="Names in the zoo, or ONNX files.")] = None,
    size: Annotated[list[str] | None, typer.Option(help="NAME=64: the size of a free dimension.")] = None,
    seconds: Annotated[float, typer.Option(help="How long to measure each latency.")] = 8.0,
) -> None:
    """Compile models for this CPU and print them beside onnxruntime."""
    console = Console()
    console.width = max(console.width, WIDTH)
    sizes = {name: int(number) for name, _, number in (text.partition("=") for text in size or ())}
    table = Table(
        "model, shapes, batch",
        "largest rel. error",
        "compile s\ncold / cached",
        "start s\noptc / ort",
        "peak MB\noptc / ort",
        *(f"ms, {threads} thread(s)\noptc / ort" for threads in THREADS),
        *(f"speed, {threads} thread(s)\n[95 %]" for threads in THREADS),
        title="optc beside onnxruntime (ort)",
    )
    for name in models or DEFAULT:
        warn_if_busy(console)
        for row in rows(name, sizes, seconds):
            console.print(" | ".join(row), style="dim", soft_wrap=True, markup=False, highlight=False)
            table.add_row(*map(escape, row))
    console.print(table)


if __name__ == "__main__":
    run(main)
