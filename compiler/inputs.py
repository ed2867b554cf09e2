"""Generated inputs: random feeds that respect dtypes, index bounds, masks and dimensions. They prove less than real data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
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
    given = dict(sizes or {})
    free = [d for d in _free(model.graph) if d not in given]
    search = partial(_search, reference or Reference(model), model.graph) if free else None
    bindings = [{**given, **found} for found in search(free, given, seed)] if search else [given]
    rng = np.random.default_rng(seed)
    return [feeds(model.graph, bindings[i % len(bindings)], rng) for i in range(samples)]


def feeds(graph: ir.Graph, sizes: Mapping[str, int], rng: np.random.Generator) -> dict[str, Array]:
    """One random feed for each graph input, with every symbolic dimension bound."""
    return {v.name or "": np.asarray(_random(v, [_size(d, sizes) for d in v.shape or ()], rng)) for v in graph.inputs}


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


def _size(dim: int | ir.SymbolicDim, sizes: Mapping[str, int]) -> int:
    return dim if isinstance(dim, int) else sizes[str(dim.value)]


def _search(reference: Runner, graph: ir.Graph, free: Sequence[str], bound: Mapping[str, int], seed: int) -> list[dict[str, int]]:
    """Sizes for the free dimensions with which the model runs; where it does, also those with a batch of one."""
    leading = _free(graph)
    refused: UserError | None = None

    def runs(candidate: Mapping[str, int]) -> bool:
        nonlocal refused
        try:
            reference.run(feeds(graph, {**bound, **candidate}, np.random.default_rng(seed)))
        except UserError as error:
            refused = error
            return False
        return True

    for candidate in _candidates(free, leading):
        if runs(candidate):
            single = _computed({d: 1 if leading[d] else size for d, size in candidate.items()})
            return [candidate, single] if single != candidate and runs(single) else [candidate]
    raise UserError(
        f"found no sizes for the dimensions {', '.join(free)} with which the model runs",
        lines=refused.lines if refused else (),
        hint="fix them with --shape NAME=1x3x224x224",
    )


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


def _random(value: ir.Value, shape: list[int], rng: np.random.Generator) -> Array:
    if value.dtype is None or value.dtype == ir.DataType.STRING:
        return np.full(shape, "a", dtype=object)
    dtype = value.dtype.numpy()
    if value.dtype == ir.DataType.BOOL:
        return rng.random(shape) < 0.5
    if value.dtype.is_integer():
        if value.dtype.bitwidth == 8:  # quantized data
            return rng.integers(-128 if value.dtype.is_signed() else 0, 128, shape).astype(dtype)
        switch = _switch(value)
        if switch is not None:
            return np.full(shape, switch, dtype)
        return rng.integers(0, _index_bound(value), shape).astype(dtype)
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
