"""Do the intervals of latency ratios hold the truth as often as they say? The same model is raced against itself: the truth is 1.

    python -m benchmarks.honesty --repeats 200 --seconds 1.5            one bundle, loaded twice
    python -m benchmarks.honesty --repeats 200 --seconds 1.5 --busy     while another process burns a core in bursts
    python -m benchmarks.honesty --engine onnxruntime --processes

Required: 180 of 200 intervals of 95 % hold 1, also on a busy machine. Exit code 3 where fewer do.
"""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Annotated

import typer

import optc
from benchmarks import zoo
from benchmarks.command import run
from optc.compiler.diagnostics import ContractError, UserError, nearest
from optc.compiler.measure.bench import make_feeds
from optc.compiler.measure.latency import Ratio, SideBySide, alternating, interleaved
from optc.compiler.measure.peers import BUNDLE, ENGINES, Feeds, Peer
from optc.compiler.measure.workers import Worker

REQUIRED = 0.9  # of all intervals
FIRST, SECOND = "first", "second"

# Bursts and pauses of 2 to 200 ms, as a compiler or a browser would make them, until the process that started it has ended.
_BURSTS = """
import os, random, sys, time
rng, parent = random.Random(int(sys.argv[1])), os.getppid()
print("busy", flush=True)
while os.getppid() == parent:
    end = time.perf_counter() + 0.002 * 100 ** rng.random()
    while time.perf_counter() < end:
        pass
    time.sleep(0.002 * 100 ** rng.random())
"""


@dataclass(frozen=True)
class Honesty:
    """The ratio that each repeat found, and the rounds that each took."""

    ratios: tuple[Ratio, ...]
    rounds: tuple[int, ...]

    @property
    def held(self) -> int:
        """How many intervals hold 1."""
        return sum(ratio.low <= 1 <= ratio.high for ratio in self.ratios)

    @property
    def required(self) -> int:
        return math.ceil(REQUIRED * len(self.ratios))

    @property
    def expected(self) -> tuple[float, float]:
        """How many would hold it if each does with the confidence that it states: mean and standard deviation."""
        stated = [ratio.confidence for ratio in self.ratios]
        return sum(stated), math.sqrt(sum(p * (1 - p) for p in stated))

    def __str__(self) -> str:
        mean, deviation = self.expected
        width = fmean((ratio.high - ratio.low) / ratio.value for ratio in self.ratios)
        below = sum(ratio.high < 1 for ratio in self.ratios)
        return (
            f"held {self.held} / {len(self.ratios)} (required {self.required}, expected {mean:.1f} ± {deviation:.1f}); "
            f"{below} lie below 1, {len(self.ratios) - self.held - below} above; "
            f"mean width {width:.2%}, mean rounds {fmean(self.rounds):.1f}"
        )


def repeated(race: Callable[[], SideBySide], repeats: int) -> Honesty:
    """The race of two that are the same, again and again."""
    found = [race() for _ in range(repeats)]
    return Honesty(tuple(side.speed(FIRST, SECOND) for side in found), tuple(side.rounds for side in found))


def twice(peer: Peer, feeds: Feeds, threads: int, seconds: float, apart: bool) -> SideBySide:
    """A program loaded twice and raced against itself, in one process or in two."""
    if not apart:
        return interleaved({name: peer.load(threads, feeds) for name in (FIRST, SECOND)}, seconds)
    with ExitStack() as running:
        workers = {name: running.enter_context(Worker(peer, threads, feeds)) for name in (FIRST, SECOND)}
        return alternating({name: worker.times for name, worker in workers.items()}, seconds)


@contextmanager
def bursts(seed: int) -> Iterator[None]:
    """Meanwhile another process burns a core in irregular bursts."""
    process = subprocess.Popen([sys.executable, "-c", _BURSTS, str(seed)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        process.stdout.readline()  # it has begun
        yield
    finally:
        process.kill()
        process.communicate()


def main(
    repeats: Annotated[int, typer.Option(min=1, help="How often it is raced.")] = 200,
    seconds: Annotated[float, typer.Option(help="How long each race measures.")] = 1.5,
    busy: Annotated[bool, typer.Option("--busy", help="Burn a core in irregular bursts meanwhile.")] = False,
    model: Annotated[str, typer.Option(help="A name in the zoo, or an ONNX file.")] = "fashion_cnn",
    engine: Annotated[str, typer.Option(help="optc, onnxruntime or openvino.")] = BUNDLE,
    threads: Annotated[int, typer.Option(min=1, help="Threads of both.")] = 1,
    processes: Annotated[bool, typer.Option("--processes", help="Each in a process of its own.")] = False,
    seed: Annotated[int, typer.Option(help="Of the bursts.")] = 0,
) -> None:
    """Race a model against itself, and count the intervals that hold 1."""
    if engine not in (BUNDLE, *ENGINES):
        raise UserError(f"unknown engine '{engine}'", place="--engine", hint=nearest(engine, (BUNDLE, *ENGINES)))
    source = Path(model) if Path(model).is_file() else zoo.fetch(model)
    feeds = make_feeds([source], None, {})
    with tempfile.TemporaryDirectory() as folder, ExitStack() as meanwhile:
        peer = Peer(source, engine)
        if engine == BUNDLE:
            peer = Peer(optc.compile(source, Path(folder) / "model.optc").path)
        if busy:
            meanwhile.enter_context(bursts(seed))
        found = repeated(lambda: twice(peer, feeds, threads, seconds, processes), repeats)
    where = f"{'two processes' if processes else 'one process'}{', a busy core' if busy else ''}"
    print(f"{source.stem} in {engine}, {threads} threads, {where}: {found}")
    if found.held < found.required:
        raise ContractError(
            f"{found.held} of {repeats} intervals hold the truth, {found.required} are required",
            place=f"python -m benchmarks.honesty, {source.stem} in {engine}",
        )


if __name__ == "__main__":
    run(main)
