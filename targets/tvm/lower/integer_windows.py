"""ConvInteger and QLinearConv over one, two or three spatial dimensions, summed exactly in int32.

The sum runs over an input that is less its zero point and padded with zeros, channels last, so that every tap is one vector of
output channels; the standard channels-first order is put between transposes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import te, tirx

from optc.compiler import ir
from optc.targets.tvm.lower import types
from optc.targets.tvm.lower.elementwise import elementwise
from optc.targets.tvm.lower.integers import ratio, requantized, shifted
from optc.targets.tvm.lower.lowering import Dim, Lowering, Operand, is_constant
from optc.targets.tvm.lower.movement import permute
from optc.targets.tvm.lower.quantize import given


@dataclass(frozen=True)
class Window:
    """Where the kernel lies, an entry a spatial axis."""

    strides: list[int]
    dilations: list[int]
    before: list[Dim]  # padding
    padded: list[Dim]  # extents of the padded input
    output: list[Dim]


def conv_integer(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    return _first(ctx, _convolution(ctx, node, inputs[0], inputs[1], given(inputs, 2), given(inputs, 3)))


def qlinear_conv(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """The bias is int32, in units of x_scale · w_scale."""
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero = inputs[:8]
    total = _convolution(ctx, node, x, w, x_zero, w_zero)
    if given(inputs, 8) is not None:
        total = elementwise(ctx, "bias", lambda t, b: t + b, total, inputs[8])
    kind = types.kind_of(node.inputs[7], y_zero)
    return _first(ctx, requantized(ctx, total, ratio(ctx, x_scale, w_scale, y_scale), y_zero, kind))


def _first(ctx: Lowering, y: Any) -> Any:
    """Channels from last to first."""
    rank = len(ctx.shape(y))
    return permute(ctx, y, (0, rank - 1, *range(1, rank - 1)))


def _convolution(ctx: Lowering, node: ir.Node, x: Operand, w: Operand, x_zero: Operand, w_zero: Operand) -> Any:
    """int32, channels last."""
    rank = len(ctx.shape(x)) - 2
    if rank not in (1, 2, 3):
        raise ctx.fail(node, f"a convolution over {rank} spatial dimensions")
    if any(not isinstance(d, int) for d in ctx.shape(w)):
        raise ctx.fail(node, "the size of its kernel is known only at run time")
    outputs, depth, *kernel = ctx.shape(w)
    group = int(ir.attribute(node, "group", 1))
    window = _window(ctx, node, ctx.shape(x)[2:], kernel)
    image = _padded(ctx, permute(ctx, _scalar(ctx, x_zero, x), (0, *range(2, rank + 2), 1)), window)
    taps = _taps(ctx, w, w_zero, rank)

    def compute(x: Any, w: Any, dims: Any) -> Any:
        axes = [te.reduce_axis((0, k), name=f"k{i}") for i, k in enumerate(kernel)]
        channel = te.reduce_axis((0, depth), name="c")

        def element(n: Any, *at: Any) -> Any:
            *place, o = at
            source = [p * s + k * d for p, s, k, d in zip(place, window.strides, axes, window.dilations, strict=True)]
            c = channel if group == 1 else o // (outputs // group) * depth + channel
            return te.sum(x(n, *source, c).astype("int32") * w(*axes, channel, o).astype("int32"), axis=[*axes, channel])

        return te.compute((x.shape[0], *dims, outputs), element, name="conv_integer")

    total = ctx.te("conv_integer", compute, image, ctx.tensor(taps), window.output)
    ctx.count(total, depth * int(np.prod(kernel)))
    return total


def _scalar(ctx: Lowering, zero: Operand, x: Operand) -> Any:
    """x less its zero point, of which there is one."""
    if zero is not None:
        zero = zero.reshape(()) if is_constant(zero) else ctx.reshape(zero, [])
    return shifted(ctx, x, zero)


def _taps(ctx: Lowering, w: Operand, zero: Operand, rank: int) -> Operand:
    """OI... to ...IO, less the zero points: one, or one an output channel."""
    order = (*range(2, rank + 2), 1, 0)
    if is_constant(w):
        return shifted(ctx, np.ascontiguousarray(w.transpose(order)), zero)
    return shifted(ctx, permute(ctx, w, order), zero)


def _padded(ctx: Lowering, x: Any, window: Window) -> Any:
    own = ctx.shape(x)[1:-1]
    if all(isinstance(b, int) and b == 0 for b in window.before) and ctx.same_shape(own, window.padded):
        return x

    def compute(x: Any, before: Any, dims: Any) -> Any:
        def element(n: Any, *at: Any) -> Any:
            *place, c = at
            source = [p - b for p, b in zip(place, before, strict=True)]
            inside = [tirx.all(s >= 0, s < e) for s, e in zip(source, x.shape[1:-1], strict=True)]
            return tirx.if_then_else(tirx.all(*inside), x(n, *source, c), tirx.const(0, x.dtype))

        return te.compute((x.shape[0], *dims, x.shape[-1]), element, name="padded")

    return ctx.te("padded", compute, ctx.tensor(x), [ctx.opaque(b) for b in window.before], window.padded)


def _window(ctx: Lowering, node: ir.Node, spatial: Sequence[Dim], kernel: Sequence[int]) -> Window:
    rank = len(kernel)
    strides = [int(s) for s in ir.attribute(node, "strides", [1] * rank)]
    dilations = [int(d) for d in ir.attribute(node, "dilations", [1] * rank)]
    pads: list[Dim] = [int(p) for p in ir.attribute(node, "pads", [0] * 2 * rank)]
    auto = ir.attribute(node, "auto_pad", "NOTSET")
    before, after = pads[:rank], pads[rank:]
    if auto == "VALID":
        before, after = [0] * rank, [0] * rank
    for i, (extent, k, s, d) in enumerate(zip(spatial, kernel, strides, dilations, strict=True)):
        if auto in ("SAME_UPPER", "SAME_LOWER"):
            total = _at_least_zero(((extent + s - 1) // s - 1) * s + (k - 1) * d + 1 - extent)
            before[i] = ctx.opaque(total // 2 if auto == "SAME_UPPER" else total - total // 2)
            after[i] = ctx.opaque(total - before[i])
    padded = [ctx.opaque(b + e + a) for b, e, a in zip(before, spatial, after, strict=True)]
    output = [ctx.opaque((e - (k - 1) * d - 1) // s + 1) for e, k, d, s in zip(padded, kernel, dilations, strides, strict=True)]
    return Window(strides, dilations, before, padded, output)


def _at_least_zero(dim: Dim) -> Dim:
    return max(dim, 0) if isinstance(dim, int) else tirx.max(dim, tirx.IntImm("int64", 0))
