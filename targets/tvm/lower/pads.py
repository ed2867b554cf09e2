"""Pad: filled, mirrored or cropped borders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import te, tirx

from optc.compiler import ir
from optc.targets.tvm.lower import fed_axes
from optc.targets.tvm.lower.lowering import Dim, Lowering, Operand, is_constant
from optc.targets.tvm.lower.movement import axes_of, cut


def pad(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    own = ctx.shape(inputs[0])
    given = ctx.integers(node, inputs[1], "pads") if len(inputs) > 1 else list(ir.attribute(node, "pads"))
    axes = axes_of(ctx, node, inputs, len(own), 3)
    axes = list(range(len(own))) if axes is None else axes
    before, after = [0] * len(own), [0] * len(own)
    if fed_axes.fixed(axes):
        for i, axis in enumerate(axes):
            before[axis], after[axis] = given[i], given[i + len(axes)]
    else:
        halves = (given[: len(axes)], given[len(axes) :])
        before, after = ([ctx.opaque(d, plain=True) for d in fed_axes.at_each(axes, half, before)] for half in halves)
    data = _cropped(ctx, inputs[0], before, after)
    own, before, after = ctx.shape(data), [_at_least_0(p) for p in before], [_at_least_0(p) for p in after]
    if all(isinstance(p, int) and p == 0 for p in (*before, *after)):
        return data
    mode = ir.attribute(node, "mode", "constant")
    dtype = ctx.dtype(data)
    value = ir.attribute(node, "value", 0.0)
    given_value = []
    if len(inputs) > 2 and inputs[2] is not None:
        if is_constant(inputs[2]):
            value = inputs[2].ravel()[0].item()
        else:
            given_value = [ctx.reshape(inputs[2], [1])]
    dims = [ctx.opaque(b + d + a) for b, d, a in zip(before, own, after, strict=True)]
    padded = [i for i in range(len(own)) if not (before[i] == 0 and after[i] == 0 and isinstance(before[i], int))]

    def compute(x: Any, before: Any, dims: Any, *filled: Any) -> Any:
        def element(*at: Any) -> Any:
            source = [i - b if axis in padded else i for axis, (i, b) in enumerate(zip(at, before, strict=True))]
            if mode == "constant":
                inside = [tirx.all(source[a] >= 0, source[a] < x.shape[a]) for a in padded]
                return tirx.if_then_else(tirx.all(*inside), x(*source), filled[0](0) if filled else tirx.const(value, dtype))
            return x(*[_mirrored(s, x.shape[a], mode) if a in padded else s for a, s in enumerate(source)])

        return te.compute(tuple(dims), element, name="pad")

    return ctx.te("pad", compute, ctx.tensor(data), [ctx.opaque(b) for b in before], dims, *given_value)


def _at_least_0(pad: Dim) -> Dim:
    return max(pad, 0) if isinstance(pad, int) else pad


def _cropped(ctx: Lowering, operand: Operand, before: Sequence[Dim], after: Sequence[Dim]) -> Operand:
    """The operand without what negative pads take away. (Those known only at run time crop where the mode is constant.)"""
    ranges: dict[int, tuple[Dim, Dim, int]] = {}
    for axis, (b, a) in enumerate(zip(before, after, strict=True)):
        first, last = (-min(p, 0) if isinstance(p, int) else 0 for p in (b, a))
        if first or last:
            ranges[axis] = (first, ctx.shape(operand)[axis] - first - last, 1)
    return cut(ctx, operand, ranges) if ranges else operand


def _mirrored(i: Any, extent: Any, mode: str) -> Any:
    if mode == "edge":
        return tirx.max(tirx.min(i, extent - 1), 0)
    if mode == "wrap":
        return tirx.floormod(i, extent)
    low = tirx.if_then_else(i < 0, -i, i)
    return tirx.if_then_else(low >= extent, 2 * (extent - 1) - low, low)
