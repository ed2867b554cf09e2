"""Convolutions of any rank, weights constant or computed. Constant float32 weights take the packed two-dimensional kernel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import te, tirx

from optc.compiler import ir
from optc.targets.tvm.lower.elementwise import elementwise
from optc.targets.tvm.lower.lowering import Dim, Lowering, Operand, is_constant
from optc.targets.tvm.lower.movement import permute, product
from optc.targets.tvm.lower.packed import convolve as packed_convolution
from optc.targets.tvm.lower.sliding import Window, spread, window_of

_FUSABLE = 4  # FuseOps' kOutEWiseFusable


def conv(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """x [N, C, spatial...], weight [O, C / group, kernel...] -> [N, O, spatial...]."""
    x, weight = inputs[0], inputs[1]
    window = window_of(ctx, node, ctx.shape(x)[2:], _kernel(ctx, node, weight))
    y = convolve(ctx, x, weight, window, int(ir.attribute(node, "group", 1)))
    return with_bias(ctx, y, inputs)


def conv_transpose(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """x [N, C, spatial...], weight [C, O / group, kernel...]: a convolution of the input with zeros between its elements and
    the kernel turned round."""
    x, weight = inputs[0], inputs[1]
    spatial, kernel = ctx.shape(x)[2:], _kernel(ctx, node, weight)
    rank, group = len(kernel), int(ir.attribute(node, "group", 1))
    strides = [int(s) for s in ir.attribute(node, "strides", [1] * rank)]
    dilations = [int(d) for d in ir.attribute(node, "dilations", [1] * rank)]
    extra = [int(p) for p in ir.attribute(node, "output_padding", [0] * rank)]
    reach = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
    begins, ends = transposed_pads(node, spatial, reach, strides, extra)
    before = [ctx.opaque(r - p) for r, p in zip(reach, begins, strict=True)]
    after = [ctx.simplify(r - p + e) for r, p, e in zip(reach, ends, extra, strict=True)]
    given = ir.attribute(node, "output_shape")
    sizes = None if given is None else [int(e) + r for e, r in zip(list(given)[-rank:], reach, strict=True)]
    wide = spread(ctx, x, strides, before, after, sizes)
    zeros = (0,) * rank
    window = Window(tuple(kernel), (1,) * rank, tuple(dilations), zeros, zeros)
    return with_bias(ctx, convolve(ctx, wide, turned(ctx, weight, group), window, group), inputs)


def transposed_pads(
    node: ir.Node, spatial: Sequence[Dim], reach: Sequence[int], strides: Sequence[int], extra: Sequence[int]
) -> tuple[list[Dim], list[Dim]]:
    """What is cut from the full output before and after; `output_shape` or SAME says the total."""
    rank = len(spatial)
    pads = [int(p) for p in ir.attribute(node, "pads", [0] * 2 * rank)]
    auto = ir.attribute(node, "auto_pad", "NOTSET")
    wanted = ir.attribute(node, "output_shape")
    if wanted is None and auto == "VALID":
        return [0] * rank, [0] * rank
    if wanted is None and auto == "NOTSET":
        return list(pads[:rank]), list(pads[rank:])
    begins, ends = [], []
    for i, (extent, r, s) in enumerate(zip(spatial, reach, strides, strict=True)):
        total = r + 1 - s + extra[i]  # SAME: input * stride
        if wanted is not None:
            total = s * (extent - 1) + extra[i] + r + 1 - int(list(wanted)[i - rank])
        cut = max(total, 0) if isinstance(total, int) else tirx.max(total, tirx.IntImm("int64", 0))
        begins.append(cut // 2 if auto == "SAME_UPPER" else cut - cut // 2)
        ends.append(total - begins[-1])  # negative where more is wanted than the windows reach: zeros after
    return begins, ends


def convolve(ctx: Lowering, x: Operand, weight: Operand, window: Window, group: int) -> Any:
    """NC... by a weight [O, I, kernel...], through the fastest kernel that knows them."""
    if is_constant(weight) and ctx.dtype(x) == "float32":
        return _packed(ctx, x, weight, window, group)
    return _general(ctx, x, weight, window, group)


def with_bias(ctx: Lowering, y: Any, inputs: Sequence[Operand]) -> Any:
    if len(inputs) < 3 or inputs[2] is None:
        return y
    shape = [ctx.shape(inputs[2])[0], *[1] * (len(ctx.shape(y)) - 2)]
    bias = inputs[2].reshape(shape) if is_constant(inputs[2]) else ctx.reshape(inputs[2], shape)
    return elementwise(ctx, "bias", lambda a, b: a + b, y, bias)


def _packed(ctx: Lowering, x: Operand, weight: ir.Array, window: Window, group: int) -> Any:
    """As a two-dimensional convolution: what windows over leading spatial axes read is gathered into channels."""
    rank = len(window.kernel)
    if rank == 1:
        x, weight = ctx.reshape(x, [*ctx.shape(x)[:2], 1, ctx.shape(x)[2]]), weight[:, :, None]
        one = Window((1, *window.kernel), (1, *window.strides), (1, *window.dilations), (0, *window.before), (0, *window.after))
        y = _packed(ctx, x, weight, one, group)
        n, c, _, w = ctx.shape(y)
        return ctx.reshape(y, [n, c, w])
    x = spread(ctx, x, [1] * rank, window.before, window.after)
    n, channels, *spatial = ctx.shape(x)
    lead = rank - 2
    outer = [ctx.opaque((e - (k - 1) * d - 1) // s + 1) for e, k, d, s in zip(spatial, *_of(window, lead), strict=False)]
    inputs, taps = channels // group, math.prod(window.kernel[:lead])
    steps, dilations = window.strides[:lead], window.dilations[:lead]

    def gathered(x: Any, dims: Any) -> Any:
        def element(b: Any, *at: Any) -> Any:
            here, (h, w, g), tail = at[:lead], at[lead : lead + 3], at[lead + 3 :]
            index = [o * s + k * d for o, s, k, d in zip(here, steps, tail[:lead], dilations, strict=True)]
            return x(b, g * inputs + tail[-1], *index, h, w)

        return te.compute(tuple(dims), element, name="gathered")

    dims = [n, *outer, *spatial[lead:], group, *window.kernel[:lead], inputs]
    lines = ctx.te("gathered", gathered, ctx.tensor(x), dims)
    rows = ctx.opaque(product([n, *outer]))
    lines = ctx.reshape(lines, [rows, *spatial[lead:], group * taps * inputs])
    order = (0, *range(2, 2 + lead), 1, 2 + lead, 3 + lead)
    packed = np.ascontiguousarray(weight.transpose(order).reshape(weight.shape[0], taps * inputs, *window.kernel[lead:]))
    inner = {"strides": list(window.strides[lead:]), "dilations": list(window.dilations[lead:]), "pads": [0, 0, 0, 0]}
    y = packed_convolution(ctx, lines, packed, None, group, inner)
    _, h, w, o = ctx.shape(y)
    y = ctx.reshape(y, [n, *outer, h, w, o])
    return permute(ctx, y, (0, rank + 1, *range(1, rank + 1)))


def _of(window: Window, lead: int) -> tuple[tuple[int, ...], ...]:
    return window.kernel[:lead], window.dilations[:lead], window.strides[:lead]


def _general(ctx: Lowering, x: Operand, weight: Operand, window: Window, group: int) -> Any:
    """Sums over taps and channels, vectors along the last spatial axis."""
    rank = len(window.kernel)
    x = spread(ctx, x, [1] * rank, window.before, window.after)
    zeros = (0,) * rank
    valid = Window(window.kernel, window.strides, window.dilations, zeros, zeros)
    outputs, inputs = ctx.shape(weight)[:2]
    each = outputs // group
    dims = [ctx.shape(x)[0], outputs, *[ctx.opaque(e) for e in valid.extents(ctx.shape(x)[2:])]]

    def compute(x: Any, w: Any, dims: Any) -> Any:
        k = te.reduce_axis((0, inputs), name="k")
        taps = [te.reduce_axis((0, t), name=f"t{i}") for i, t in enumerate(window.kernel)]

        def element(n: Any, o: Any, *at: Any) -> Any:
            index = [i * s + t * d for i, s, t, d in zip(at, window.strides, taps, window.dilations, strict=True)]
            channel = k if group == 1 else o // each * inputs + k
            return te.sum(x(n, channel, *index) * w(o, k, *taps), axis=[k, *taps])

        return te.compute(tuple(dims), element, name="conv")

    result = ctx.te("conv", compute, ctx.tensor(x), ctx.tensor(weight), dims, pattern=_FUSABLE)
    ctx.count(result, inputs * math.prod(window.kernel))
    return result


def turned(ctx: Lowering, weight: Operand, group: int) -> Operand:
    """[C, O / group, kernel...] as the weight of a convolution, [O, C / group, kernel...], taps in reverse."""
    channels, each, *kernel = ctx.shape(weight)
    inputs = channels // group
    if is_constant(weight):
        split = weight.reshape(group, inputs, each, *kernel).swapaxes(1, 2)
        return np.ascontiguousarray(np.flip(split.reshape(group * each, inputs, *kernel), tuple(range(2, 2 + len(kernel)))))

    def compute(w: Any) -> Any:
        def element(o: Any, k: Any, *taps: Any) -> Any:
            back = [tirx.IntImm("int64", e - 1) - t for e, t in zip(kernel, taps, strict=True)]
            return w(o // each * inputs + k, o % each, *back)

        return te.compute((group * each, inputs, *kernel), element, name="turned")

    return ctx.te("turned", compute, ctx.tensor(weight), pattern=8)


def _kernel(ctx: Lowering, node: ir.Node, weight: Operand) -> list[int]:
    dims = ctx.shape(weight)
    if not all(isinstance(d, int) for d in dims):
        raise ctx.fail(node, "the shape of its weight is known only at run time")
    return [int(d) for d in dims[2:]]
