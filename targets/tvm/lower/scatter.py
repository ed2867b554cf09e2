"""Operators that write elements to places computed at run time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import te, tirx

from optc.compiler import ir
from optc.targets.tvm.lower import functions as fn
from optc.targets.tvm.lower.loops import Array, cell, demand, each, grid, held, kernel, rows, wide
from optc.targets.tvm.lower.lowering import Dim, Lowering, Operand
from optc.targets.tvm.lower.movement import axis_of, product


def wrapped(index: Any, extent: Any) -> Any:
    """An int64 index; negative ones count from the end."""
    index = wide(index)
    return tirx.Select(index < wide(0), index + extent, index)


def fitted(ctx: Lowering, operand: Operand, shape: Sequence[Dim]) -> Any:
    """The operand as a variable of the shape; what only a call can tell is checked then."""
    var = ctx.tensor(operand)
    return var if ctx.same_shape(ctx.shape(var), shape) else ctx.assume_shape(var, shape)


def _reducer(ctx: Lowering, node: ir.Node, dtype: str) -> Any:
    """How an element and its update combine."""
    kind = ir.attribute(node, "reduction", "none")
    reducers = {
        "none": lambda old, new: new,
        "add": tirx.any if dtype == "bool" else lambda old, new: old + new,
        "mul": tirx.all if dtype == "bool" else lambda old, new: old * new,
        "max": tirx.any if dtype == "bool" else fn.maximum,
        "min": tirx.all if dtype == "bool" else fn.minimum,
    }
    if kind not in reducers:
        raise ctx.fail(node, f"reduction '{kind}' is not known")
    return reducers[kind]


def _check(indices: Array, extent: Any) -> None:
    """Before the threads start: what fails in one of them is not reported."""
    low, high = cell(0), cell(0)
    with grid(indices.shape) as at:
        low[0] = tirx.min(low[0], wide(indices[tuple(at)]))
        high[0] = tirx.max(high[0], wide(indices[tuple(at)]))
    inside = tirx.all(low[0] >= -wide(extent), high[0] < wide(extent))
    demand(tirx.any(product(indices.shape) == 0, inside), "an index to scatter to is out of bounds")


def _copy(source: Array, to: Array) -> None:
    """All elements, rows among threads."""
    with rows(source.shape[:-1]) as outer, grid(source.shape[-1:]) as last:
        to[(*outer, *last)] = source[(*outer, *last)]


def scatter_elements(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """A copy of the data where, along `axis`, element indices[i] is combined with updates[i], in the order of i.

    What lies before the axis is spread among threads.
    """
    own, axis = ctx.shape(inputs[0]), axis_of(ctx, node, inputs[0])
    combine = _reducer(ctx, node, ctx.dtype(inputs[0]))

    def body(ins: Sequence[Array], outs: Sequence[Array]) -> None:
        data, indices, updates = ins
        (out,) = outs
        _check(indices, data.shape[axis])
        for other in (i for i in range(len(own)) if i != axis):
            demand(indices.shape[other] <= data.shape[other], "there are more indices to scatter to than rows")
        _copy(data, out)
        before, after = indices.shape[:axis], indices.shape[axis + 1 :]

        with rows(before) as outer, each(0, indices.shape[axis]) as k, grid(after) as inner:
            at = (*outer, k, *inner)
            to = (*outer, held(wrapped(indices[at], data.shape[axis])), *inner)
            out[to] = combine(out[to], updates[at])

    updates = fitted(ctx, inputs[2], ctx.shape(inputs[1]))
    return kernel(ctx, "scatter_elements", [*inputs[:2], updates], [(own, ctx.dtype(inputs[0]))], body)[0]


def scatter_nd(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """A copy of the data where the slice at indices[i, :] is combined with updates[i, ...], in the order of i."""
    own, places = ctx.shape(inputs[0]), ctx.shape(inputs[1])
    depth = places[-1]
    if not isinstance(depth, int):
        raise ctx.fail(node, "the number of its indices is known only at run time")
    combine = _reducer(ctx, node, ctx.dtype(inputs[0]))

    def body(ins: Sequence[Array], outs: Sequence[Array]) -> None:
        data, indices, updates = ins
        (out,) = outs
        _copy(data, out)
        with grid(indices.shape[:-1]) as at:
            place = [held(wrapped(indices[(*at, j)], data.shape[j])) for j in range(depth)]
            for index, extent in zip(place, data.shape, strict=False):
                demand(tirx.all(index >= 0, index < extent), "an index to scatter to is out of bounds")
            with grid(data.shape[depth:]) as rest:
                to = (*place, *rest)
                out[to] = combine(out[to], updates[(*at, *rest)])

    updates = fitted(ctx, inputs[2], [*places[:-1], *own[depth:]])
    return kernel(ctx, "scatter_nd", [*inputs[:2], updates], [(own, ctx.dtype(inputs[0]))], body)[0]


def tensor_scatter(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """A cache [B, ..., S, ...] with `update` [B, ..., U, ...] written along `axis` from write_indices[b] (or 0) on.

    Elements beyond the end are dropped where the mode is linear, and go to the beginning where it is circular.
    """
    rank = len(ctx.shape(inputs[0]))
    axis = int(ir.attribute(node, "axis", -2)) % rank
    mode = ir.attribute(node, "mode", "linear")
    if mode not in ("linear", "circular") or axis == 0:
        raise ctx.fail(node, f"mode '{mode}' along axis {axis} is not known")
    own, extent = ctx.shape(inputs[0]), ctx.shape(inputs[1])[axis]
    update = fitted(ctx, inputs[1], [*own[:axis], extent, *own[axis + 1 :]])
    given = [fitted(ctx, inputs[2], own[:1])] if len(inputs) > 2 and inputs[2] is not None else []

    def compute(cache: Any, update: Any, *starts: Any) -> Any:
        def element(*at: Any) -> Any:
            k = wide(at[axis]) - wide(starts[0](at[0]) if starts else 0)
            if mode == "circular":
                k = tirx.floormod(k, wide(cache.shape[axis]))
            inside = tirx.all(k >= 0, k < update.shape[axis])
            return tirx.if_then_else(inside, update(*at[:axis], k, *at[axis + 1 :]), cache(*at))

        return te.compute(cache.shape, element, name="tensor_scatter")

    return ctx.te("tensor_scatter", compute, ctx.tensor(inputs[0]), update, *given)
