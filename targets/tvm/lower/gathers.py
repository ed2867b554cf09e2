"""Operators that read elements at indices: each index is checked before anything is read at it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import te, tirx

from optc.compiler import ir
from optc.targets.tvm.lower.loops import Array, demand, grid, held, kernel, wide
from optc.targets.tvm.lower.lowering import Lowering, Operand, is_constant
from optc.targets.tvm.lower.movement import axis_of, cut
from optc.targets.tvm.lower.scatter import fitted, wrapped


def gather(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """Negative indices count from the end."""
    data, axis = ctx.tensor(inputs[0]), axis_of(ctx, node, inputs[0])
    extent = ctx.shape(data)[axis]
    if is_constant(inputs[1]) and inputs[1].ndim == 0 and (not isinstance(extent, int) or _inside(inputs[1], extent)):
        index = int(inputs[1])
        kept = cut(ctx, data, {axis: (index if index >= 0 else extent + index, 1, 1)})
        return ctx.reshape(kept, [d for i, d in enumerate(ctx.shape(data)) if i != axis])

    def compute(x: Any, index: Any) -> Any:
        rank = len(index.shape)

        def element(*at: Any) -> Any:
            return x(*at[:axis], index(*at[axis : axis + rank]), *at[axis + rank :])

        return te.compute([*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]], element, name="gather")

    return ctx.te("gather", compute, data, _checked(ctx, node, data, inputs[1], [axis]))


def gather_elements(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    axis, data = axis_of(ctx, node, inputs[0]), ctx.tensor(inputs[0])
    others = [i for i in range(len(ctx.shape(data))) if i != axis]

    def compute(x: Any, index: Any) -> Any:
        return te.compute(
            index.shape, lambda *at: x(*[index(*at) if i == axis else j for i, j in enumerate(at)]), name="gather_elements"
        )

    return ctx.te("gather_elements", compute, data, _checked(ctx, node, data, inputs[1], [axis], others))


def _inside(indices: ir.Array, limits: int | ir.Array) -> bool:
    return bool(np.all((indices >= -limits) & (indices < limits)))


def _checked(ctx: Lowering, node: ir.Node, data: Any, indices: Operand, axes: Sequence[int], beside: Sequence[int] = ()) -> Any:
    """The indices of these axes of the data as int64, none negative; where one lies outside, the call stops with a ValueError.

    Several axes have their indices along the last axis. In the axes `beside` there may be no more indices than elements.
    Constant indices are checked here, where the extents are known.
    """
    own = ctx.shape(data)
    if is_constant(indices) and all(isinstance(own[a], int) for a in (*axes, *beside)):
        limits = np.array([own[a] for a in axes], np.int64)
        if any(indices.shape[a] > own[a] for a in beside) or not _inside(indices, limits):
            raise ctx.fail(node, "an index is out of bounds")
        return ctx.tensor(np.where(indices < 0, indices + limits, indices).astype(np.int64).reshape(indices.shape))
    shape = ctx.shape(indices)
    flat = indices if shape else ctx.reshape(indices, [1])

    def body(ins: Sequence[Array], outs: Sequence[Array]) -> None:
        (data, indices), (out,) = ins, outs
        for axis in beside:
            demand(indices.shape[axis] <= data.shape[axis], "there are more indices to gather from than rows")
        with grid(indices.shape if len(axes) == 1 else indices.shape[:-1]) as at:
            for place, axis in zip([at] if len(axes) == 1 else [[*at, wide(j)] for j in range(len(axes))], axes, strict=True):
                index = held(wrapped(indices[tuple(place)], data.shape[axis]))
                demand(tirx.all(index >= 0, index < wide(data.shape[axis])), "an index to gather from is out of bounds")
                out[tuple(place)] = index

    found = kernel(ctx, "indices", [data, flat], [(ctx.shape(flat), "int64")], body)[0]
    return found if shape else ctx.reshape(found, [])


def gather_nd(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """Slices of the data at indices[..., :], which index the axes after the first `batch_dims`."""
    own, places = ctx.shape(inputs[0]), ctx.shape(inputs[1])
    batch, depth = int(ir.attribute(node, "batch_dims", 0)), places[-1]
    if not isinstance(depth, int):
        raise ctx.fail(node, "the number of its indices is known only at run time")

    def compute(data: Any, indices: Any) -> Any:
        lead = len(indices.shape) - 1

        def element(*at: Any) -> Any:
            place = [indices(*at[:lead], j) for j in range(depth)]
            return data(*at[:batch], *place, *at[lead:])

        return te.compute([*indices.shape[:-1], *data.shape[batch + depth :]], element, name="gather_nd")

    known = is_constant(inputs[1]) and not batch
    indices = inputs[1] if known else fitted(ctx, inputs[1], [*own[:batch], *places[batch:]])
    data = ctx.tensor(inputs[0])
    return ctx.te("gather_nd", compute, data, _checked(ctx, node, data, indices, range(batch, batch + depth)))
