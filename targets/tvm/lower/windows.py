"""Two-dimensional convolution and pooling, by kernels that read NHWC; the standard NCHW operators are put between transposes.

What these kernels do not know (other ranks and types, weights computed at run time, padding by sizes known only at run time)
is lowered by `convolution` and `pooling`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import te, tirx

from optc.compiler import ir
from optc.targets.tvm import compute
from optc.targets.tvm.lower import convolution, pooling
from optc.targets.tvm.lower.lowering import Dim, Lowering, Operand, is_constant
from optc.targets.tvm.lower.movement import permute
from optc.targets.tvm.lower.packed import call, convolve
from optc.targets.tvm.lower.sliding import Window, window_of

_LAST, _FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


def _plain(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand], spatial: Sequence[Dim]) -> dict[str, Any] | None:
    """The window as the packed kernels take it; None where they do not know the node."""
    if not all(x is None or is_constant(x) for x in inputs[1:]) or ctx.dtype(inputs[0]) != "float32":
        return None
    return _settings(window_of(ctx, node, spatial, inputs[1].shape[2:]))


def _settings(window: Window) -> dict[str, Any] | None:
    pads = [*window.before, *window.after]
    if not all(isinstance(p, int) and p >= 0 for p in pads):
        return None
    return {"strides": list(window.strides), "dilations": list(window.dilations), "pads": pads}


def conv(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    own, weight = ctx.shape(inputs[0]), inputs[1]
    found = _plain(ctx, node, inputs, own[2:]) if len(own) in (3, 4) else None
    if found is None:
        return convolution.conv(ctx, node, inputs)
    if len(own) == 4:
        return permute(ctx, conv_nhwc(ctx, node, [permute(ctx, inputs[0], _LAST), *inputs[1:]]), _FIRST)
    n, c, w = own
    lines = ctx.reshape(permute(ctx, inputs[0], (0, 2, 1)), [n, 1, w, c])
    wide = {"strides": [1, *found["strides"]], "dilations": [1, *found["dilations"]]}
    wide["pads"] = [0, found["pads"][0], 0, found["pads"][1]]
    result = convolve(ctx, lines, weight[:, :, None], _bias(inputs), _group(node), wide)
    n, _, w, c = ctx.shape(result)
    return permute(ctx, ctx.reshape(result, [n, w, c]), (0, 2, 1))


def conv_nhwc(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """NHWC to NHWC; the weights stay OIHW, as in the source."""
    window = _plain(ctx, node, inputs, ctx.shape(inputs[0])[1:3])
    if window is None:
        return permute(ctx, convolution.conv(ctx, node, [permute(ctx, inputs[0], _FIRST), *inputs[1:]]), _LAST)
    return convolve(ctx, inputs[0], inputs[1], _bias(inputs), _group(node), window)


def conv_from_image(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """NCHW of few channels to NHWC."""
    window = _plain(ctx, node, inputs, ctx.shape(inputs[0])[2:])
    if window is None:
        return permute(ctx, convolution.conv(ctx, node, inputs), _LAST)
    return convolve(ctx, inputs[0], inputs[1], _bias(inputs), _group(node), window, "NCHW")


def _bias(inputs: Sequence[Operand]) -> ir.Array | None:
    return inputs[2] if len(inputs) > 2 else None


def _group(node: ir.Node) -> int:
    return int(ir.attribute(node, "group", 1))


def conv_transpose(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    if len(ctx.shape(inputs[0])) != 4 or not all(x is None or is_constant(x) for x in inputs[1:]):
        return convolution.conv_transpose(ctx, node, inputs)
    return permute(ctx, conv_transpose_nhwc(ctx, node, [permute(ctx, inputs[0], _LAST), *inputs[1:]]), _FIRST)


def conv_transpose_nhwc(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """The weight is [I, O / group, KH, KW]. Where windows do not overlap it is a matrix product; else a convolution of the
    input with zeros between its pixels and the kernel turned round."""
    x, weight, bias = inputs[0], inputs[1], _bias(inputs)
    n, h, w, c = ctx.shape(x)
    group, kernel = _group(node), list(weight.shape[2:])
    strides = [int(s) for s in ir.attribute(node, "strides", [1, 1])]
    dilations = [int(d) for d in ir.attribute(node, "dilations", [1, 1])]
    extra = [int(p) for p in ir.attribute(node, "output_padding", [0, 0])]
    reach = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
    begins, ends = convolution.transposed_pads(node, (h, w), reach, strides, extra)
    known = all(isinstance(p, int) for p in (*begins, *ends))
    around = [r - p for r, p in zip(reach, begins, strict=True)]
    around += [r - p + e for r, p, e in zip(reach, ends, extra, strict=True)]
    if not known or min(around) < 0 or ctx.dtype(x) != "float32":
        return permute(ctx, convolution.conv_transpose(ctx, node, [permute(ctx, x, _FIRST), *inputs[1:]]), _LAST)
    outputs = weight.shape[1] * group
    if kernel == strides and group == 1 and not any((*begins, *ends, *extra)) and dilations == [1, 1]:
        kh, kw = kernel
        matrix = np.ascontiguousarray(weight.transpose(0, 2, 3, 1).reshape(c, kh * kw * outputs))
        y = call(
            ctx,
            "gemm",
            compute.gemm(ctx.machine, [n, h, w, c], matrix, None if bias is None else np.tile(bias, kh * kw)),
            ctx.tensor(x),
        )
        y = permute(ctx, ctx.reshape(y, [n, h, w, kh, kw, outputs]), (0, 1, 3, 2, 4, 5))
        return ctx.reshape(y, [n, ctx.opaque(h * kh), ctx.opaque(w * kw), outputs])
    spread = _spread(ctx, x, strides) if strides != [1, 1] else ctx.tensor(x)
    turned = convolution.turned(ctx, weight, group)
    return convolve(ctx, spread, turned, bias, group, {"strides": [1, 1], "dilations": dilations, "pads": around})


def _spread(ctx: Lowering, x: Operand, strides: Sequence[int]) -> Any:
    sh, sw = strides

    _, h, w, _ = ctx.shape(x)

    def compute_(x: Any, extents: Any) -> Any:
        n, _, _, c = x.shape
        zero = tirx.const(0, x.dtype)
        return te.compute(
            (n, *extents, c),
            lambda b, i, j, k: tirx.if_then_else(tirx.all(i % sh == 0, j % sw == 0), x[b, i // sh, j // sw, k], zero),
            name="spread",
        )

    return ctx.te("spread", compute_, ctx.tensor(x), [ctx.opaque((h - 1) * sh + 1), ctx.opaque((w - 1) * sw + 1)])


def _pool(average: bool, ctx: Lowering, node: ir.Node, x: Operand) -> Any:
    own = ctx.shape(x)
    kernel = [int(k) for k in ir.attribute(node, "kernel_shape")]
    window = _settings(window_of(ctx, node, own[1:3], kernel))
    if window is None or "float" not in ctx.dtype(x):
        general = pooling.average_pool if average else pooling.max_pool
        return permute(ctx, general(ctx, node, [permute(ctx, x, _FIRST)]), _LAST)
    ceil = bool(ir.attribute(node, "ceil_mode", 0))
    if average:
        kept = bool(ir.attribute(node, "count_include_pad", 0))
        found = compute.average_pool(ctx.machine, own, kernel=kernel, ceil_mode=ceil, count_include_pad=kept, **window)
    else:
        found = compute.max_pool(ctx.machine, own, kernel=kernel, ceil_mode=ceil, **window)
    return call(ctx, "average_pool" if average else "max_pool", found, ctx.tensor(x), own[1:3])


def max_pool_nhwc(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    return _pool(False, ctx, node, inputs[0])


def average_pool_nhwc(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    return _pool(True, ctx, node, inputs[0])


def max_pool(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    used = len(node.outputs) > 1 and (node.outputs[1].uses() or node.outputs[1].is_graph_output())
    if len(ctx.shape(inputs[0])) != 4 or used:
        return pooling.max_pool(ctx, node, inputs)
    return permute(ctx, max_pool_nhwc(ctx, node, [permute(ctx, inputs[0], _LAST)]), _FIRST)


def average_pool(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    if len(ctx.shape(inputs[0])) != 4:
        return pooling.average_pool(ctx, node, inputs)
    return permute(ctx, average_pool_nhwc(ctx, node, [permute(ctx, inputs[0], _LAST)]), _FIRST)
