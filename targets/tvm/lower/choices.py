"""Where the extreme is, and results that follow from an index: one-hot rows, triangles, diagonals, reversed prefixes, bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import te, tirx

from optc.compiler import ir
from optc.targets.tvm.lower.loops import wide
from optc.targets.tvm.lower.lowering import Lowering, Operand, Rule
from optc.targets.tvm.lower.movement import axis_of, product
from optc.targets.tvm.lower.reduce import extreme
from optc.targets.tvm.lower.refusal import dtype_of
from optc.targets.tvm.lower.scatter import fitted, wrapped


def argument(kind: str) -> Rule:
    """A rule for ArgMax or ArgMin: int64; the first of equals, or the last. NaN is the extreme where there is one."""

    def rule(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
        axis = axis_of(ctx, node, inputs[0])
        found = position(ctx, inputs[0], axis, kind, bool(ir.attribute(node, "select_last_index", 0)))
        if ir.attribute(node, "keepdims", 1):
            return found
        return ctx.reshape(found, [d for i, d in enumerate(ctx.shape(inputs[0])) if i != axis])

    return rule


def position(ctx: Lowering, operand: Operand, axis: int, kind: str, last: bool) -> Any:
    """The index of the extreme along the axis, which stays with extent 1: two reductions, both of which are vectors."""
    dtype = ctx.dtype(operand)

    def compute(x: Any) -> Any:
        def row(at: Sequence[Any], k: Any) -> Any:
            return x(*at[:axis], k, *at[axis + 1 :])

        extent = wide(x.shape[axis])
        dims = [1 if i == axis else d for i, d in enumerate(x.shape)]
        j, k = (te.reduce_axis((0, extent), name=name) for name in "jk")
        peak = te.compute(dims, lambda *at: extreme(kind, dtype)(row(at, j), axis=[j]), name="peak")

        def element(*at: Any) -> Any:
            value = row(at, k)
            equal = value == peak(*at)
            if "float" in dtype:
                equal = tirx.any(equal, tirx.all(tirx.isnan(value), tirx.isnan(peak(*at))))
            other = wide(-1) if last else extent
            return (te.max if last else te.min)(tirx.Select(equal, wide(k), other), axis=[k])

        return te.compute(dims, element, name="position")

    return ctx.te(f"arg{kind}", compute, ctx.tensor(operand))


def hardmax(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """1 at the first maximum along an axis (last by default), else 0; before opset 13 over all axes from `axis` (1) on."""
    own, operand = ctx.shape(inputs[0]), inputs[0]
    axis = axis_of(ctx, node, operand, -1 if ctx.opset >= 13 else 1)
    if ctx.opset < 13 and axis != len(own) - 1:
        operand, axis = ctx.reshape(operand, [ctx.opaque(product(own[:axis])), ctx.opaque(product(own[axis:]))]), 1
    dtype, dims = ctx.dtype(operand), ctx.shape(operand)

    def compute(found: Any, dims: Any) -> Any:
        def element(*at: Any) -> Any:
            here = found(*at[:axis], 0, *at[axis + 1 :]) == wide(at[axis])
            return tirx.Select(here, tirx.const(1, dtype), tirx.const(0, dtype))

        return te.compute(tuple(dims), element, name="hardmax")

    return ctx.reshape(ctx.te("hardmax", compute, position(ctx, operand, axis, "max", False), dims), own)


def one_hot(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """values[1] where the index along the new axis of extent `depth` is the one given, else values[0].

    Negative indices count from the end; those outside [-depth, depth) are nowhere.
    """
    indices = ctx.tensor(inputs[0])
    own = ctx.shape(indices)
    axis = int(ir.attribute(node, "axis", -1)) % (len(own) + 1)
    depth = ctx.opaque(ctx.integers(node, inputs[1], "depth")[0])

    def compute(indices: Any, values: Any, dims: Any) -> Any:
        def element(*at: Any) -> Any:
            here = wrapped(indices(*at[:axis], *at[axis + 1 :]), dims[axis]) == wide(at[axis])
            return tirx.Select(here, values(1), values(0))

        return te.compute(tuple(dims), element, name="one_hot")

    return ctx.te("one_hot", compute, indices, ctx.tensor(inputs[2]), [*own[:axis], depth, *own[axis:]])


def trilu(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """The upper (or lower) triangle of the last two axes from the k-th diagonal on; 0 elsewhere."""
    given = inputs[1] if len(inputs) > 1 and inputs[1] is not None else np.zeros(1, np.int64)
    diagonal, upper = ctx.integers(node, given, "k")[0], bool(ir.attribute(node, "upper", 1))
    dtype = ctx.dtype(inputs[0])

    def compute(x: Any, k: Any) -> Any:
        def element(*at: Any) -> Any:
            distance = wide(at[-1]) - wide(at[-2])
            kept = distance >= k[0] if upper else distance <= k[0]
            return tirx.Select(kept, x(*at), tirx.const(0, dtype))

        return te.compute(x.shape, element, name="trilu")

    return ctx.te("trilu", compute, ctx.tensor(inputs[0]), [ctx.opaque(diagonal)])


def eye_like(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """1 on the k-th diagonal of a matrix of the input's shape, else 0; of the input's type or `dtype`."""
    k, to = int(ir.attribute(node, "k", 0)), ir.attribute(node, "dtype")
    dtype = ctx.dtype(inputs[0]) if to is None else dtype_of(ir.DataType(to), node.outputs[0].name)

    def compute(dims: Any) -> Any:
        def element(i: Any, j: Any) -> Any:
            return tirx.Select(wide(j) - wide(i) == wide(k), tirx.const(1, dtype), tirx.const(0, dtype))

        return te.compute(tuple(dims), element, name="eye")

    return ctx.te("eye", compute, ctx.shape(inputs[0]))


def reverse_sequence(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """The first lengths[b] elements along `time_axis` in reverse, for each index b of `batch_axis`."""
    batch, time = int(ir.attribute(node, "batch_axis", 1)), int(ir.attribute(node, "time_axis", 0))

    def compute(x: Any, lengths: Any) -> Any:
        def element(*at: Any) -> Any:
            length, i = tirx.min(wide(lengths(at[batch])), wide(x.shape[time])), wide(at[time])
            return x(*[tirx.Select(i < length, length - 1 - i, i) if a == time else j for a, j in enumerate(at)])

        return te.compute(x.shape, element, name="reverse_sequence")

    lengths = fitted(ctx, inputs[1], [ctx.shape(inputs[0])[batch]])
    return ctx.te("reverse_sequence", compute, ctx.tensor(inputs[0]), lengths)
