"""`optc bench`: bundles and ONNX files side by side, on the same feeds: latency in alternating blocks, and fresh processes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optc.compiler import bundle, inputs, load, runtime
from optc.compiler.cores import cores
from optc.compiler.diagnostics import UserError, nearest
from optc.compiler.measure import energy, process, race
from optc.compiler.measure.latency import WIDTH, SideBySide, alternating, interleaved
from optc.compiler.measure.peers import BUNDLE, ENGINES, Feeds, Peer
from optc.compiler.measure.workers import Worker
from optc.compiler.variants import Choice, Dims

QUIET = 0.3
"""A load average above this share of the cores means that other programs use the machine."""

Shapes = Mapping[str, Sequence[int | str]]


@dataclass(frozen=True)
class Bench:
    """What was measured of the programs `peers`, by name, each with `threads` threads on `batch` samples a call.

    `apart`: blocks ran in a process of each program's own, not all in one. `load` is the load average of the last minute when
    it began (None: the system has none), and `cores` are those that the programs may use. `variants`: of each bundle with fast
    paths the dimensions of the one that ran, None where it was the general program.
    """

    peers: Mapping[str, Peer]
    race: SideBySide
    fresh: Mapping[str, process.Figures]
    threads: int
    batch: int
    apart: bool
    load: float | None
    cores: int
    variants: Mapping[str, Dims | None] = field(default_factory=dict)

    @property
    def first(self) -> str:
        """The program whose speed against each other one is told."""
        return next(iter(self.peers))

    @property
    def notes(self) -> list[str]:
        """What has to be known to trust the figures."""
        busy = self.load is not None and self.load > QUIET * self.cores
        average = f"load average {self.load:.1f} on {self.cores} cores when it began" if busy else ""
        told = []
        if self.race.noisy:
            wide = f"noisy machine: an interval is still wider than {WIDTH:.0%} of its value after {self.race.rounds} rounds"
            told.append("; ".join(filter(None, (wide, average))))
        elif busy:
            told.append(f"busy machine: {average}, other programs may disturb the times")
        reported = any(figures.joules is not None for figures in self.fresh.values())
        return [*told, energy.MEANING if reported else energy.NOT_REPORTED]

    def document(self) -> dict[str, Any]:
        """For `--json`; `speed` is how many times as fast the first is as the program, with the 95 % interval."""
        rows = []
        for name, peer in self.peers.items():
            speed = None if name == self.first else race.interval(self.race.speed(self.first, name))
            figures = race.figures(self.race.latencies[name], self.batch, self.threads, self.fresh[name])
            rows.append({"name": name, "engine": peer.engine, **figures, "speed": speed, "variant": self.variants.get(name)})
        return {
            "first": self.first,
            "threads": self.threads,
            "batch": self.batch,
            "processes": self.apart,
            "rounds": self.race.rounds,
            "noisy": self.race.noisy,
            "load_average": self.load,
            "cores": self.cores,
            "notes": self.notes,
            "programs": rows,
        }


def bench(
    models: Sequence[Path],
    engines: Sequence[str],
    threads: int,
    batch: int | None = None,
    sizes: Mapping[str, int] | None = None,
    seconds: float = 12.0,
    apart: bool = False,
) -> Bench:
    """Measure bundles, and ONNX files in each of the engines, for about `seconds`, and about a second for each fresh process.

    `batch` is the size of free leading dimensions (1); `sizes` binds others. Raises UserError for an unknown or missing engine,
    for what cannot be loaded, and where the models do not take the same inputs.
    """
    load_average = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    peers = programs(models, engines)
    feeds = make_feeds(models, batch, sizes or {})
    raced = _apart(peers, feeds, threads, seconds) if apart else _together(peers, feeds, threads, seconds)
    fresh = {name: process.figures(peer, feeds, threads) for name, peer in peers.items()}
    return Bench(peers, raced, fresh, threads, _samples(feeds, batch), apart, load_average, cores(), _variants(peers, feeds))


def programs(models: Sequence[Path], engines: Sequence[str]) -> dict[str, Peer]:
    """By name, in order; the second of two that are the same is named so. Raises UserError for an unknown engine."""
    for engine in engines:
        if engine not in ENGINES:
            raise UserError(f"unknown engine '{engine}'", place="--against", hint=nearest(engine, ENGINES))
    found: dict[str, Peer] = {}
    for path in models:
        for peer in [Peer(path)] if path.is_dir() else [Peer(path, engine) for engine in engines]:
            again = sum(peer == other for other in found.values())
            found[f"{peer} ({again + 1})" if again else str(peer)] = peer
    return found


def _variants(peers: Mapping[str, Peer], feeds: Feeds) -> dict[str, Dims | None]:
    """The fast path that the sizes choose, of each bundle that has any."""
    found: dict[str, Dims | None] = {}
    for name, peer in peers.items():
        if peer.engine == BUNDLE and "variants" in (held := bundle.read(peer.path)).program:
            choice = Choice(held.inputs, held.program)
            number = choice(feeds)
            found[name] = None if number is None else choice.variants[number]
    return found


def _together(peers: Mapping[str, Peer], feeds: Feeds, threads: int, seconds: float) -> SideBySide:
    calls = {name: peer.load(threads, feeds) for name, peer in peers.items()}
    for call in calls.values():
        call()  # what cannot run is said before anything is measured
    return interleaved(calls, seconds)


def _apart(peers: Mapping[str, Peer], feeds: Feeds, threads: int, seconds: float) -> SideBySide:
    with ExitStack() as running:
        workers = {name: running.enter_context(Worker(peer, threads, feeds)) for name, peer in peers.items()}
        return alternating({name: worker.times for name, worker in workers.items()}, seconds)


def make_feeds(models: Sequence[Path], batch: int | None, sizes: Mapping[str, int]) -> Feeds:
    """One random feed for all models. Dimensions that a bundle fixed are fixed for an ONNX file, too.

    Raises UserError for a dimension that no input has, and for a batch where the leading dimensions are fixed at another size.
    """
    bundles = [{i.name: i.shape for i in bundle.read(path).inputs} for path in models if path.is_dir()]
    source = next((path for path in models if not path.is_dir()), None)
    if source is None:
        program = runtime.load(models[0])
        return runtime.random_feeds(program, {**_leading(bundles[0], batch), **sizes})
    model = load.load(source)  # a source model can be tried with sizes until it runs
    shapes = {v.name or "": [d if isinstance(d, int) else str(d.value) for d in v.shape or ()] for v in model.graph.inputs}
    known = {d for shape in shapes.values() for d in shape if isinstance(d, str)}
    for name in sizes:
        if name not in known:
            raise UserError(f"no input has a dimension '{name}'", place=str(source), hint=nearest(name, known))
    fixed = {
        free: size
        for other in bundles
        for name, shape in shapes.items()
        for free, size in zip(shape, other.get(name, ()), strict=False)
        if isinstance(free, str) and isinstance(size, int)
    }
    leading = _leading(shapes, batch)
    bound = {**leading, **fixed, **sizes} if batch is None else {**fixed, **leading, **sizes}
    return inputs.generate(model, samples=1, sizes=bound)[0]


def _leading(shapes: Shapes, batch: int | None) -> dict[str, int]:
    """The size of each free leading dimension."""
    leading = {shape[0] for shape in shapes.values() if shape}
    free = sorted(d for d in leading if isinstance(d, str) and d != "?")
    if batch is not None and not free and leading != {batch}:
        sizes = ", ".join(map(str, sorted(leading, key=str))) or "none"
        raise UserError(f"the leading dimension of the inputs is fixed ({sizes})", place=f"--batch {batch}")
    return dict.fromkeys(free, 1 if batch is None else batch)


def _samples(feeds: Feeds, batch: int | None) -> int:
    """Samples in a call: what all inputs have as their leading size, or what was asked for."""
    sizes = {array.shape[0] for array in feeds.values() if array.ndim}
    return sizes.pop() if len(sizes) == 1 else batch or 1
