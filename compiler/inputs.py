"""Generated inputs: random feeds that respect dtypes, index bounds, masks and dimensions. They prove less than real data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from typing import Protocol

import numpy as np

from optc.compiler import dimension_text, ir, symbolic
from optc.compiler.diagnostics import UserError
from optc.compiler.numerics import Array
from optc.compiler.reference import Reference

SIZES = (32, 64, 48, 224, 16, 8, 128, 4, 1)
"""Tried in turn for dimensions that are free, until the model runs."""
SIGNALS = (1024, 16000)
"""Tried then, where one dimension is free: some windows of a signal, a second of speech."""
BATCH = 2


class Runner(Protocol):
    """What runs a model, as a Reference does; raises UserError for feeds that do not fit."""

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]: ...


def generate(
    model: ir.Model,
    samples: int = 2,
    seed: int = 0,
    sizes: Mapping[str, int] | None = None,
    reference: Runner | None = None,
) -> list[dict[str, Array]]:
    """Feeds for a model. `sizes` binds symbolic dimensions; others are bound to sizes with which the model runs, or `reference`,
    where there is one: another model that takes the same.

    Free leading dimensions (batches) alternate between BATCH and 1, so that what was made for one size is seen failing.
    """
    sampler = Sampler.of(model.graph)
    if sampler.free.keys() <= (sizes or {}).keys():
        rng = np.random.default_rng(seed)
        return [sampler.draw(sizes or {}, rng) for _ in range(samples)]
    return sampler.answered(reference or Reference(model), samples, seed, sizes)[0]


@dataclass(frozen=True)
class _Input:
    """A graph input: its name, dtype, dimensions (numbers or names), and what is known of its integers: one more than the
    largest, and the number that it must be."""

    name: str
    dtype: ir.DataType | None
    dims: tuple[int | str, ...]
    bound: int
    switch: int | None


@dataclass(frozen=True)
class Sampler:
    """What is to be known of a model's inputs to make feeds for it. `free` are their symbolic dimensions, in order, and whether
    each leads a shape (a batch, most likely)."""

    inputs: tuple[_Input, ...]
    free: Mapping[str, bool]

    @staticmethod
    def of(graph: ir.Graph) -> Sampler:
        made = []
        for value in graph.inputs:
            shape = tuple(d if isinstance(d, int) else str(d.value) for d in value.shape or ())
            index = value.dtype is not None and value.dtype.is_integer()
            made.append(
                _Input(
                    value.name or "",
                    value.dtype,
                    shape,
                    _index_bound(value) if index else 0,
                    _switch(value) if index else None,
                )
            )
        return Sampler(tuple(made), _free(graph))

    def draw(self, sizes: Mapping[str, int], rng: np.random.Generator) -> dict[str, Array]:
        """One random feed for each input, with every symbolic dimension bound."""
        return {i.name: np.asarray(_random(i, [d if isinstance(d, int) else sizes[d] for d in i.dims], rng)) for i in self.inputs}

    def answered(
        self, reference: Runner, samples: int = 2, seed: int = 0, sizes: Mapping[str, int] | None = None
    ) -> tuple[list[dict[str, Array]], list[dict[str, Array]]]:
        """Feeds (see `generate`), and what a model that runs with them gives."""
        bound = dict(sizes or {})
        found, rng, feeds, outputs = self._first(reference, seed, bound)
        bindings = [found]
        single = _computed({d: 1 if self.free[d] else size for d, size in found.items()})
        if samples > 1 and single != found:
            alone = self.draw({**bound, **single}, rng)
            try:
                outputs.append(reference.run(alone))
            except UserError:  # the model needs more than one: all samples have a batch
                found, rng, feeds, outputs = self._first(reference, seed, bound)
            else:
                feeds.append(alone)
                bindings.append(single)
        for i in range(len(feeds), samples):
            feeds.append(self.draw({**bound, **bindings[i % len(bindings)]}, rng))
            outputs.append(reference.run(feeds[i]))
        return feeds, outputs

    def _first(
        self, reference: Runner, seed: int, bound: Mapping[str, int]
    ) -> tuple[dict[str, int], np.random.Generator, list[dict[str, Array]], list[dict[str, Array]]]:
        """Sizes for the free dimensions with which the model runs, what draws the next feeds, the first and what they give."""
        free = [d for d in self.free if d not in bound]
        refused: UserError | None = None
        for candidate in _candidates(free, self.free) if free else iter([dict[str, int]()]):
            rng = np.random.default_rng(seed)
            feeds = self.draw({**bound, **candidate}, rng)
            try:
                return candidate, rng, [feeds], [reference.run(feeds)]
            except UserError as error:
                refused = error
        if refused is not None and not free:
            raise refused
        raise UserError(
            f"found no sizes for the dimensions {', '.join(free)} with which the model runs",
            lines=refused.lines if refused else (),
            hint="fix them with --shape NAME=1x3x224x224",
        )


def batch_of_one(model: ir.Model) -> dict[str, int]:
    """Sizes that make a free leading dimension (a batch, most likely) 1."""
    return {name: 1 for name, leads in _free(model.graph).items() if leads}


def _free(graph: ir.Graph) -> dict[str, bool]:
    """Symbolic dimensions of the inputs, in order, and whether each leads a shape (a batch, most likely)."""
    found: dict[str, bool] = {}
    for value in graph.inputs:
        for axis, dim in enumerate(value.shape or ()):
            if isinstance(dim, ir.SymbolicDim) and dim.value is not None:
                found.setdefault(dim.value, axis == 0)
    return found


def _candidates(free: Sequence[str], leading: Mapping[str, bool]) -> Iterator[dict[str, int]]:
    """Batches first at BATCH, then at 1; other dimensions all alike first, then (for two and less) every combination, then one as
    the sum of two others.

    A dimension named by an expression of others, `past + sequence`, is first taken at its word.
    """
    others = [d for d in free if not leading[d]]
    for batch in (BATCH, 1):
        base = {d: batch for d in free if leading[d]}
        for size in SIZES:
            alike = {**base, **dict.fromkeys(others, size)}
            if (computed := _computed(alike)) != alike:
                yield computed
            yield alike
    if 0 < len(others) <= 2:
        for combination in product(SIZES, repeat=len(others)):
            yield {**{d: 1 for d in free if leading[d]}, **dict(zip(others, combination, strict=True))}
    for batch, size in product((BATCH, 1), SIGNALS if len(others) == 1 else ()):
        yield {**{d: batch for d in free if leading[d]}, others[0]: size}
    for a, b, total in permutations(others, 3):
        if a < b:
            sizes = dict.fromkeys(others, SIZES[0]) | {total: 2 * SIZES[0]}
            yield {**{d: BATCH for d in free if leading[d]}, **sizes}


def _computed(sizes: Mapping[str, int]) -> dict[str, int]:
    """The sizes, with those of names that are expressions of others computed."""
    found = dict(sizes)
    for name in sizes:
        dim = dimension_text.formula(name)
        if dim is not None and symbolic.names(dim) <= sizes.keys():
            found[name] = max(1, symbolic.evaluate(dim, sizes))
    return found


def _random(value: _Input, shape: list[int], rng: np.random.Generator) -> Array:
    if value.dtype is None or value.dtype == ir.DataType.STRING:
        return np.full(shape, "a", dtype=object)
    dtype = value.dtype.numpy()
    if value.dtype == ir.DataType.BOOL:
        return rng.random(shape) < 0.5
    if value.dtype.is_integer():
        if value.dtype.bitwidth == 8:  # quantized data
            return rng.integers(-128 if value.dtype.is_signed() else 0, 128, shape).astype(dtype)
        if value.switch is not None:
            return np.full(shape, value.switch, dtype)
        return rng.integers(0, value.bound, shape).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)


def _switch(value: ir.Value) -> int | None:
    """The number that the model asks whether this one is: a sampling rate, say, that chooses a branch."""
    for node, position in value.uses():
        if ir.standard(node, "Equal"):
            asked = ir.const(node.inputs[1 - position])
            if asked is not None and asked.size == 1 and any(ir.standard(user.node, "If") for user in node.outputs[0].uses()):
                return int(asked.reshape(()))
    return None


def _index_bound(value: ir.Value, depth: int = 8) -> int:
    """One more than the largest integer that fits everything this value indexes; 2 (a mask) where it indexes nothing."""
    bounds = []
    for node, position in value.uses():
        if ir.standard(node, "Gather", "GatherElements") and position == 1 and node.inputs[0] is not None:
            shape, axis = node.inputs[0].shape, int(ir.attribute(node, "axis", 0))
            extent = shape[axis] if shape is not None else None
            if isinstance(extent, int):
                bounds.append(extent)
        elif ir.standard(node, "OneHot") and position == 0:
            depth_value = ir.const(node.inputs[1])
            bounds.append(int(depth_value.ravel()[0]) if depth_value is not None else 2)
        elif ir.standard(node, "Equal"):  # with each class in turn: a one-hot encoding, as some exporters write it
            classes = ir.const(node.inputs[1 - position])
            if classes is not None and classes.size > 1:
                bounds.append(int(classes.max()) + 1)
        elif (
            depth
            and ir.standard(node, "Cast", "Expand", "Identity", "Reshape", "Unsqueeze", "Squeeze", "Transpose", "Slice")
            and position == 0
        ):
            out = node.outputs[0]
            if out.dtype is not None and out.dtype.is_integer() and out.uses():
                found = _index_bound(out, depth - 1)
                bounds += [found] if found != 2 else []
    return min(bounds, default=2)
