"""Running a bundle: `load(path).run(feeds) -> outputs`, with every mistake in the feeds found before native code runs.

Imports no compiler: neither onnx nor onnx-ir nor tvm.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from optc.compiler import bundle, manifest, registry
from optc.compiler.cores import cores
from optc.compiler.diagnostics import UserError, nearest
from optc.compiler.manifest import Manifest, ValueInfo
from optc.compiler.numerics import Array
from optc.compiler.target import Engine, KernelCall, Target
from optc.compiler.variants import Choice, Dims, VariantEngine

if TYPE_CHECKING:
    from optc.compiler.measure.roofline import Ceilings
    from optc.compiler.plan import PlanEngine


def load(path: str | Path, threads: int | None = None) -> Program:
    """Load a bundle; `threads` bounds the threads of all its callers together (all cores this process may use).

    A bundle is native code: load only what you trust. Manifest, sizes and the digests of the program are checked; weights
    are mapped, not read: `optc check` verifies them. Raises UserError for what is missing, damaged, or of a newer schema.

    The fast paths of a bundle (`--specialize`) are loaded by the first call of their sizes, which takes longer for it; each has
    threads of its own, so that callers of several sizes at once may use `threads` for each.
    """
    path = Path(path)
    found = bundle.read(path)
    bundle.check_program(path, found)
    if threads is not None and threads < 1:
        raise UserError(f"threads is {threads}, expected 1 or more", place=str(path))
    return Program(path, found, _engine(path, found, threads or cores()), threads or cores())


def _engine(path: Path, found: Manifest, threads: int) -> Engine:
    weights = bundle.Weights(path, found)
    general = _program(path, found, found.program, weights, threads)
    variants = found.program.get("variants")
    if variants is None:
        return general
    from optc.compiler.plan import Part

    def load(number: int) -> Engine:
        variant = variants[number]
        return _program(path, found, variant["program"], Part(weights, variant["weights"]), threads)

    return VariantEngine(general, Choice(found.inputs, found.program), load)


def _program(path: Path, found: Manifest, program: Mapping[str, Any], weights: Mapping[str, Array], threads: int) -> Engine:
    if "plan" in program:
        from optc.compiler.plan import PlanEngine

        return PlanEngine(path, program, weights, threads)
    target: type[Target] = registry.find("target", found.target_name)
    return target.load(path, program, weights, threads)


@dataclass(frozen=True)
class Timed:
    """A part of a program: the target that runs it, how many nodes it has, and the seconds that it took."""

    target: str
    nodes: int
    seconds: float


class Program:
    """A loaded bundle. `inputs` and `outputs` are those of the source model. `run` may be called from any number of threads.

    Where the bundle has fast paths for sizes (`variants`: their dimensions, in the order given), each call takes the one whose
    dimensions are those of its feeds and that fixes most of them, the first of equals; else the general program.
    """

    def __init__(self, path: Path, found: Manifest, engine: Engine, threads: int) -> None:
        self.path, self.manifest, self.threads = path, found, threads
        self.inputs, self.outputs = found.inputs, found.outputs
        self._engine = engine
        self._check = Feeds(found.inputs)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name, owned by the caller. Feeds need not be contiguous and are not written to.

        Raises UserError for a missing or unknown name, another dtype, rank or size, and for a symbolic dimension that
        has two sizes.
        """
        self._check(feeds)
        return self._engine.run(feeds)

    def profile(self, feeds: Mapping[str, Array]) -> list[Timed]:
        """The parts of the program and the seconds each took in a call, while nobody else calls; one where it has no parts."""
        self._check(feeds)
        if isinstance(self._engine, VariantEngine):
            return self.only(self._engine.choice(feeds)).profile(feeds)
        parts = self.manifest.program.get("parts")
        if parts is None:
            start = time.perf_counter()
            self._engine.run(feeds)
            return [Timed(self.manifest.target, self.manifest.nodes.get("after", 0), time.perf_counter() - start)]
        seconds = cast("PlanEngine", self._engine).profile(feeds)
        return [Timed(part["target"], part["nodes"], s) for part, s in zip(parts, seconds, strict=True)]

    def kernels(self, feeds: Mapping[str, Array]) -> list[KernelCall]:
        """The kernel calls of a run, each timed, while nobody else calls; empty where the target tells of none."""
        self._check(feeds)
        engine = self._engine
        if isinstance(engine, VariantEngine):
            return self.only(engine.choice(feeds)).kernels(feeds)
        told = getattr(engine, "kernels", None)
        return [] if told is None else cast("list[KernelCall]", told(feeds))

    def ceilings(self) -> Ceilings:
        """What this machine can do at best with the bundle's threads, measured by its target."""
        target: type[Target] = registry.find("target", self.manifest.target_name)
        return target.ceilings(self.threads)

    @property
    def variants(self) -> tuple[Dims, ...]:
        return self._engine.choice.variants if isinstance(self._engine, VariantEngine) else ()

    def variant(self, feeds: Mapping[str, Array]) -> Dims | None:
        """The dimensions of the fast path that a call with these feeds takes; None: the general program."""
        self._check(feeds)
        number = self._engine.choice(feeds) if isinstance(self._engine, VariantEngine) else None
        return None if number is None else self.variants[number]

    def only(self, variant: int | None) -> Program:
        """A fast path by its number, or the general program (None), whatever it is fed; it shares what is loaded."""
        found, engine = self.manifest, self._engine
        if not isinstance(engine, VariantEngine):
            return self
        program = {key: value for key, value in found.program.items() if key != "variants"}
        if variant is None:
            return Program(self.path, replace(found, program=program), engine.general, self.threads)
        chosen = found.program["variants"][variant]
        nodes = {**found.nodes, "after": chosen["nodes"]}
        return Program(self.path, replace(found, program=chosen["program"], nodes=nodes), engine.engine(variant), self.threads)

    def __repr__(self) -> str:
        inputs, outputs = ", ".join(map(str, self.inputs)), ", ".join(map(str, self.outputs))
        return f"Program({str(self.path)!r}, {self.manifest.target}: ({inputs}) -> ({outputs}))"


class Feeds:
    """The check of feeds against the inputs, prepared so that a correct call costs about a microsecond."""

    def __init__(self, inputs: tuple[ValueInfo, ...]) -> None:
        self._inputs = {i.name: i for i in inputs}
        names = sorted({d for i in inputs for d in i.shape if isinstance(d, str) and d != "?"})
        self._sizes = [-1] * len(names)
        self._lists = {i.name: i.dtype.startswith("optional") for i in inputs if not i.is_tensor}
        self._plan = [
            (
                i.name,
                manifest.dtype(i.dtype),
                len(i.shape),
                tuple((axis, d) for axis, d in enumerate(i.shape) if isinstance(d, int)),
                tuple((axis, names.index(d)) for axis, d in enumerate(i.shape) if isinstance(d, str) and d != "?"),
            )
            for i in inputs
            if i.is_tensor
        ]

    def __call__(self, feeds: Mapping[str, Array]) -> None:
        """Raise UserError unless the feeds are right."""
        if not self._fit(feeds):
            self._explain(feeds)

    def _fit(self, feeds: Mapping[str, Array]) -> bool:
        if len(feeds) != len(self._plan) + len(self._lists):
            return False
        for name, optional in self._lists.items():
            if name not in feeds or not (isinstance(feeds[name], list) or optional):
                return False
        sizes = self._sizes.copy()
        for name, dtype, rank, fixed, symbolic in self._plan:
            feed = feeds.get(name)
            if not isinstance(feed, np.ndarray) or (feed.dtype != dtype and not (dtype.kind == "O" and feed.dtype.kind == "U")):
                return False
            shape = feed.shape
            if len(shape) != rank:
                return False
            for axis, size in fixed:
                if shape[axis] != size:
                    return False
            for axis, slot in symbolic:
                size = shape[axis]
                if sizes[slot] != size:
                    if sizes[slot] >= 0:
                        return False
                    sizes[slot] = size
        return True

    def _explain(self, feeds: Mapping[str, Array]) -> None:
        """Find the first mistake and raise it; called where there is one."""
        for name in feeds:
            if name not in self._inputs:
                raise UserError(f"there is no input '{name}'", hint=nearest(str(name), self._inputs))
        bound: dict[str, tuple[int, str]] = {}
        for name, wanted in self._inputs.items():
            if name not in feeds:
                raise UserError(f"input '{name}' is missing", place=f"input {wanted}")
            self._explain_one(feeds[name], wanted, bound)

    def _explain_one(self, feed: Any, wanted: ValueInfo, bound: dict[str, tuple[int, str]]) -> None:
        name, place = wanted.name, f"input {wanted}"
        if not wanted.is_tensor:
            if not isinstance(feed, list) and not wanted.dtype.startswith("optional"):
                raise UserError(f"'{name}' is of type {type(feed).__name__}, expected a list of arrays", place=place)
            return
        dtype = wanted.dtype if wanted.dtype != "string" else "object"
        if not isinstance(feed, np.ndarray):
            kind = type(feed).__name__
            raise UserError(f"'{name}' is of type {kind}, expected an array", place=place, hint=f"np.asarray({name}, '{dtype}')")
        if feed.dtype != manifest.dtype(wanted.dtype) and not (wanted.dtype == "string" and feed.dtype.kind == "U"):
            raise UserError(
                f"'{name}' has dtype {feed.dtype}, expected {wanted.dtype}", place=place, hint=f"{name}.astype('{dtype}')"
            )
        shape = "x".join(map(str, feed.shape)) or "scalar"
        if feed.ndim != len(wanted.shape):
            raise UserError(f"'{name}' has {feed.ndim} dimensions ({shape}), expected {len(wanted.shape)}", place=place)
        for axis, (size, dim) in enumerate(zip(feed.shape, wanted.shape, strict=True)):
            if isinstance(dim, int) and size != dim:
                raise UserError(f"dimension {axis} of '{name}' is {size} ({shape}), expected {dim}", place=place)
            if isinstance(dim, str) and dim != "?":
                before, where = bound.setdefault(dim, (size, f"dimension {axis} of '{name}'"))
                if before != size:
                    raise UserError(
                        f"dimension {axis} of '{name}' is {size} ({shape}), but {where} is {before}: both are '{dim}'",
                        place=place,
                    )


def random_feeds(program: Program, sizes: Mapping[str, int] | None = None, seed: int = 0) -> dict[str, Array]:
    """Random feeds, to see that a bundle runs: normal floats; integers are 0 or 1, which fit any table that they index.

    `sizes` binds symbolic dimensions; others are 1. Raises UserError for a dimension that no input has.
    """
    sizes = dict(sizes or {})
    known = {d for i in program.inputs for d in i.shape if isinstance(d, str)}
    for name in sizes:
        if name not in known:
            raise UserError(f"no input has a dimension '{name}'", place=str(program.path), hint=nearest(name, known))
    rng = np.random.default_rng(seed)
    feeds = {}
    for value in program.inputs:
        shape = [d if isinstance(d, int) else sizes.get(d, 1) for d in value.shape]
        dtype = manifest.dtype(value.dtype)
        if dtype.kind == "O":
            feeds[value.name] = np.full(shape, "a", dtype=object)
        elif dtype.kind in "biu":
            feeds[value.name] = np.asarray(rng.integers(0, 2, shape), dtype)
        else:
            feeds[value.name] = np.asarray(rng.standard_normal(shape), dtype)
    return feeds
