"""Every model of the zoo on `cpu`: one bundle for all its sizes, its error, seconds to compile, and speed beside onnxruntime.

    python -m benchmarks.coverage                      all models
    python -m benchmarks.coverage minilm_l6 ppocr_rec
    python -m benchmarks.coverage --dynamic            a bundle of free dimensions, and one with fast paths, beside fixed ones

Models with a state are run over a stream: what one call gives is fed to the next, by both sides.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import optc
from benchmarks import pages, zoo
from benchmarks.command import run
from benchmarks.peers import onnxruntime_runner, warn_if_busy
from benchmarks.quality.orientation import model_input
from benchmarks.recipes import RECIPES, Shape
from optc.compiler import runtime
from optc.compiler.diagnostics import UserError, nearest
from optc.compiler.inputs import generate
from optc.compiler.load import load
from optc.compiler.measure.latency import Ratio, interleaved
from optc.compiler.numerics import compare

Array = NDArray[Any]
Feeds = Mapping[str, Array]
FRAMES = 900
WIDTH = 150


@dataclass(frozen=True)
class Case:
    """A model with the sizes that its one bundle is run at, the first of them raced; `carried` output -> input of a stream.

    A size that has the name of an input is what is fed to that input. `make` gives feeds that random ones cannot stand for.
    """

    name: str
    sizes: Sequence[Mapping[str, int]] = ({},)
    carried: Mapping[str, str] = field(default_factory=dict)
    make: Callable[[Mapping[str, int]], dict[str, Array]] | None = None


def page(sizes: Mapping[str, int]) -> dict[str, Array]:
    """Pages of text: to noise the detector answers with values near 0, beside which any rounding is large."""
    drawn = pages.page(0, width=sizes["W"], height=sizes["H"])
    return {"x": model_input(np.asarray(drawn)[np.newaxis].repeat(sizes["N"], axis=0))}


_SILERO = {"stateN": "state"}
_VAD = ({"N": 1, "sr": 16000},)
_RATES = ({"N": 1, "T": 576, "sr": 16000}, {"N": 1, "T": 288, "sr": 8000})
CASES = (
    Case("fashion_cnn", ({"N": 1}, {"N": 8})),
    Case("lcnet_orientation", ({"N": 1}, {"N": 8})),
    Case("ppocr_cls", ({"N": 1}, {"N": 8})),
    Case("ppocr_rec", tuple({"N": 1, "W": w} for w in (320, 48, 161, 480, 640, 960))),
    Case("ppocr_det", tuple({"N": 1, "H": h, "W": w} for h, w in ((480, 480), (320, 640), (736, 736), (96, 224))), make=page),
    Case("efflite0", ({"N": 1}, {"N": 4})),
    Case("minilm_l6", tuple({"N": n, "S": s} for n, s in ((1, 128), (1, 8), (2, 33), (4, 64), (8, 256)))),
    Case("crepe_tiny", ({"N": 1}, {"N": 32})),
    Case("g2p_encoder", tuple({"L": n} for n in (8, 1, 17, 40))),
    Case("g2p_decoder_step", ({},), {"h_out": "h_in"}),
    Case("silero_vad", _RATES, _SILERO),
    Case("silero_vad_16k_op15", _VAD, _SILERO),
    Case("silero_vad_16k_sequence", ({"S": 900}, {"S": 1}, {"S": 31})),
    Case("silero_vad_half", ({"N": 1},), _SILERO),
    Case("silero_vad_op18_ifless", _VAD, _SILERO),
    Case("silero_vad_openvino_16k", ({},), _SILERO),
    Case("speech_lstm", ({"N": 1, "T": 1}, {"N": 1, "T": 50}), {f"{s}{i}_out": f"{s}{i}" for s in "hc" for i in range(3)}),
    *(Case(name) for name in RECIPES if name.startswith("light_")),
)


def bound(shapes: Mapping[str, Shape], sizes: Mapping[str, int]) -> dict[str, Shape]:
    """The shapes with their free dimensions fixed."""
    return {name: tuple(sizes[d] if isinstance(d, str) else d for d in shape) for name, shape in shapes.items()}


def samples(model: Path, case: Case, sizes: Mapping[str, int]) -> dict[str, Array]:
    """One sample of these sizes, random where the case makes none of its own."""
    if case.make is not None:
        return case.make(sizes)
    (found,) = generate(load(model, bound(RECIPES[case.name].inputs, sizes)), samples=1)
    return {**found, **{name: np.asarray(value, found[name].dtype) for name, value in sizes.items() if name in found}}


def error(case: Case, model: Path, program: runtime.Program) -> float:
    """The largest relative error against onnxruntime without optimizations, over all sizes, and over a stream."""
    reference = onnxruntime_runner(model, 2, optimize=False)
    worst = 0.0
    for sizes in case.sizes:
        feeds = samples(model, case, sizes)
        pairs = list(_stream(case, feeds, reference, program)) if case.carried else [(reference(feeds), program.run(feeds))]
        found = compare([expected for expected, _ in pairs], [actual for _, actual in pairs])
        worst = max(worst, found.error if not found.problem else float("inf"))
    return worst


def _stream(case: Case, feeds: dict[str, Array], reference: Any, program: runtime.Program) -> Iterator[tuple[Any, Any]]:
    """Outputs of both sides for FRAMES calls, each with the state that its own last call gave."""
    rng, theirs, ours = np.random.default_rng(0), dict(feeds), dict(feeds)
    for _ in range(FRAMES):
        fresh = {k: rng.permuted(v, axis=-1) for k, v in feeds.items() if k not in case.carried.values() and v.ndim}
        theirs.update(fresh)
        ours.update(fresh)
        expected, actual = reference(theirs), program.run(ours)
        yield expected, actual
        for output, name in case.carried.items():
            theirs[name], ours[name] = expected[output], actual[output]


def race(case: Case, model: Path, program: runtime.Program, threads: int, seconds: float) -> Ratio:
    """How many times as fast as onnxruntime the bundle is at the first sizes."""
    feeds = samples(model, case, case.sizes[0])
    peer = onnxruntime_runner(model, threads)
    raced = interleaved({"optc": lambda: program.run(feeds), "onnxruntime": lambda: peer(feeds)}, seconds=seconds)
    return raced.speed("optc", against="onnxruntime")


def row(case: Case, folder: Path, threads: int, seconds: float) -> list[str]:
    """The line of a model."""
    model = zoo.fetch(case.name)
    start = time.perf_counter()
    made = optc.compile(model, folder / "model.optc", shapes=RECIPES[case.name].inputs, cache=False)
    took = time.perf_counter() - start
    program = optc.load(folder / "model.optc", threads=threads)
    foreign = "none" if made.fallback is None else f"{made.fallback['nodes']} nodes, {made.fallback['share']:.0%}"
    return [
        case.name,
        str(len(case.sizes)) + (f" x {FRAMES} calls" if case.carried else ""),
        f"{error(case, model, program):.1e}",
        foreign,
        f"{took:.1f}",
        str(race(case, model, program, threads, seconds)),
    ]


FIXED = ((1, 8), (1, 32), (1, 128), (1, 256), (8, 64))
"""Batch and tokens that free dimensions are compared with fixed ones at."""


def dynamic(folder: Path, threads: int, seconds: float) -> Iterator[list[str]]:
    """MiniLM with free dimensions, without and with fast paths for five sizes, beside bundles of each of them: how many times as
    fast as the fixed one both are."""
    model, shapes = zoo.fetch("minilm_l6"), RECIPES["minilm_l6"].inputs
    case, every = Case("minilm_l6"), [{"N": n, "S": s} for n, s in FIXED]
    optc.compile(model, folder / "free.optc", shapes=shapes, cache=False)
    optc.compile(model, folder / "specialized.optc", shapes=shapes, specialize=every, cache=False)
    loaded = {name: optc.load(folder / f"{name}.optc", threads=threads) for name in ("free", "specialized")}
    for sizes in every:
        optc.compile(model, folder / "fixed.optc", shapes=bound(shapes, sizes), cache=False)
        feeds = samples(model, case, sizes)
        programs = {**loaded, "fixed": optc.load(folder / "fixed.optc", threads=threads)}
        raced = interleaved({name: partial(program.run, feeds) for name, program in programs.items()}, seconds=seconds)
        told = [str(raced.speed(name, against="fixed")) for name in loaded]
        yield [f"batch {sizes['N']}, {sizes['S']} tokens", *told]


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Models of the list above; or all.")] = None,
    threads: Annotated[int, typer.Option(help="Threads of both engines.")] = 2,
    seconds: Annotated[float, typer.Option(help="How long to measure each latency.")] = 6.0,
    compare_fixed: Annotated[bool, typer.Option("--dynamic", help="Free dimensions, and fast paths, beside fixed ones.")] = False,
) -> None:
    """Compile the zoo for this CPU, and print what came of it."""
    known = {case.name: case for case in CASES}
    for name in names or ():
        if name not in known:
            raise UserError(f"no case '{name}'", hint=nearest(name, known))
    console = Console(width=WIDTH)
    warn_if_busy(console)
    with tempfile.TemporaryDirectory() as scratch:
        if compare_fixed:
            against = f"against fixed, {threads} threads"
            table = Table("minilm_l6", f"speed of free dimensions {against}", f"specialized at the five sizes, {against}")
            for line in dynamic(Path(scratch), threads, seconds):
                table.add_row(*line)
        else:
            table = Table("model", "sizes", "largest relative error", "in onnxruntime", "compile s", f"speed, {threads} threads")
            for name in names or known:
                line = row(known[name], Path(scratch), threads, seconds)
                console.print(" | ".join(line), style="dim", soft_wrap=True, markup=False, highlight=False)
                table.add_row(*line)
    console.print(table)


if __name__ == "__main__":
    run(main)
