"""Every model of the zoo at fixed shapes on `cpu`, beside onnxruntime and OpenVINO (float32) in the same rounds.

    python -m benchmarks.latency                                  all models, batch 1 and 8, 1 and 2 threads
    python -m benchmarks.latency efflite0 --batch 1 --threads 2
    python -m benchmarks.latency --passes ...                     with other passes

The peers get the same file with the same fixed shapes, or the source where these contradict a branch of it; one that runs
neither has no figure. Needs `pip install 'optc[openvino]'`; without it the peer is onnxruntime.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import geometric_mean
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

import optc
from benchmarks import zoo
from benchmarks.command import run
from benchmarks.coverage import CASES, Case, bound, samples
from benchmarks.peers import warn_if_busy
from benchmarks.recipes import RECIPES
from optc.compiler import load, save
from optc.compiler.diagnostics import UserError, nearest
from optc.compiler.measure.latency import Ratio, interleaved
from optc.compiler.measure.peers import BUNDLE, ENGINES, Peer
from optc.compiler.numerics import Array

FLOOR = 0.95
"""Below this share of the faster peer's speed a model is listed."""


@dataclass(frozen=True)
class Raced:
    """A model at a batch and a number of threads: its speed against each peer, and the name of the faster one."""

    model: str
    batch: int
    threads: int
    speeds: dict[str, Ratio]
    fastest: str

    @property
    def speed(self) -> Ratio:
        """Against the faster peer."""
        return self.speeds[self.fastest]


def race(case: Case, batch: int, threads: Sequence[int], seconds: float, passes: str | None, folder: Path) -> Iterator[Raced]:
    """One compilation, and a race for each number of threads."""
    source, shapes = zoo.fetch(case.name), RECIPES[case.name].inputs
    sizes = {**case.sizes[0], **({"N": batch} if any("N" in shape for shape in shapes.values()) else {})}
    fixed, bundle = folder / f"{case.name}.onnx", folder / f"{case.name}.optc"
    save.save(load.load(source, bound(shapes, sizes)), fixed)
    optc.compile(source, bundle, shapes=bound(shapes, sizes), passes=passes, cache=False)
    feeds = samples(source, case, sizes)
    peers = [name for name in ENGINES if find_spec(name)]
    given = {name: file for name in peers if (file := _taken(name, (fixed, source), feeds))}
    for count in threads:
        programs = {BUNDLE: Peer(bundle).load(count, feeds)}
        programs |= {name: Peer(file, name).load(count, feeds) for name, file in given.items()}
        raced = interleaved(programs, seconds=seconds)
        fastest = min(given, key=lambda name: raced.latencies[name].median_ms)
        yield Raced(case.name, batch, count, {name: raced.speed(BUNDLE, against=name) for name in given}, fastest)


def _taken(engine: str, files: Sequence[Path], feeds: Mapping[str, Array]) -> Path | None:
    """The first of the files that an engine runs: fixed shapes may contradict a branch that is never taken, and OpenVINO knows
    fewer operators."""
    for file in files:
        try:
            Peer(file, engine).load(1, feeds)()
        except UserError:
            continue
        return file
    return None


def batches(case: Case, asked: Sequence[int]) -> Sequence[int]:
    """Those that a model can be run at: one without a free batch is run as it is."""
    return asked if any("N" in shape for shape in RECIPES[case.name].inputs.values()) else asked[:1]


def summary(rows: Sequence[Raced], console: Console) -> None:
    """The geometric means, and what is slower than the faster peer."""
    for count in sorted({row.threads for row in rows}):
        for batch in sorted({row.batch for row in rows}):
            mine = [row.speed.value for row in rows if row.threads == count and row.batch == batch]
            if mine:
                mean = f"geometric mean {geometric_mean(mine):.3f} of the faster peer's speed"
                console.print(f"{count} threads, batch {batch}: {mean}, {len(mine)} models")
    for row in sorted(rows, key=lambda row: row.speed.value):
        if row.speed.value < FLOOR:
            console.print(f"below {FLOOR}: {row.model}, batch {row.batch}, {row.threads} threads: {row.speed} of {row.fastest}")


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Models of the zoo; all by default.", show_default=False)] = None,
    batch: Annotated[list[int] | None, typer.Option("--batch", help="Batches; 1 and 8 by default.", show_default=False)] = None,
    threads: Annotated[list[int] | None, typer.Option("--threads", help="1 and 2 by default.", show_default=False)] = None,
    seconds: Annotated[float, typer.Option("--seconds", help="How long each race takes.")] = 6.0,
    passes: Annotated[str | None, typer.Option("--passes", help="Instead of the default ones.")] = None,
) -> None:
    """Race the zoo against the engines that a user could have picked."""
    known = {case.name: case for case in CASES}
    for name in names or ():
        if name not in known:
            raise UserError(f"no case '{name}'", hint=nearest(name, known))
    console = Console(width=150)
    warn_if_busy(console)
    rows: list[Raced] = []
    table = Table(
        "model", "batch", "threads", *ENGINES, "faster peer", title="optc's speed: how many times as fast (median, 95 % interval)"
    )
    with tempfile.TemporaryDirectory(prefix="optc-latency-") as scratch:
        for name in names or known:
            for size in batches(known[name], batch or [1, 8]):
                for row in race(known[name], size, threads or [1, 2], seconds, passes, Path(scratch)):
                    rows.append(row)
                    line = [name, str(size), str(row.threads), *(str(row.speeds.get(e, "")) for e in ENGINES), row.fastest]
                    console.print(" | ".join(line), style="dim", soft_wrap=True, markup=False, highlight=False)
                    table.add_row(*line)
    console.print(table)
    summary(rows, console)


if __name__ == "__main__":
    run(main)
