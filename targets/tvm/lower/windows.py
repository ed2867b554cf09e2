"""Convolution and pooling. The kernels read NHWC; the standard NCHW operators are put between transposes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import relax, te, tirx

from optc.compiler import ir
from optc.targets.tvm import compute
from optc.targets.tvm.lower.lowering import Dim, Lowering, Operand, is_constant
from optc.targets.tvm.lower.movement import permute

_FUSABLE = 4  # FuseOps' kOutEWiseFusable: elementwise operators on the result join the kernel as its epilogue
_LAST, _FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


def call(ctx: Lowering, name: str, kernel: compute.Kernel, x: Any, spatial: Sequence[Dim] = ()) -> Any:
    """The kernel on x, whose height and width are `spatial`."""
    weights = [ctx.weight(w) for w in kernel.weights]
    sizes = [] if kernel.extents is None else [ctx.opaque(e) for e in kernel.extents(spatial)]
    known = {} if all(isinstance(e, int) for e in sizes) else {"extents": sizes}
    result = ctx.te(name, kernel.compute, x, *weights, pattern=_FUSABLE, **known)
    if kernel.weights:
        ctx.count(result, kernel.weights[0].size // ctx.shape(result)[-1])
    return result


def _attributes(ctx: Lowering, node: ir.Node, spatial: Sequence[Dim], kernel: Sequence[int]) -> dict[str, Any]:
    """strides, dilations and pads (begins, then ends), with auto_pad resolved."""
    rank = len(kernel)
    strides = [int(s) for s in ir.attribute(node, "strides", [1] * rank)]
    dilations = [int(d) for d in ir.attribute(node, "dilations", [1] * rank)]
    pads = [int(p) for p in ir.attribute(node, "pads", [0] * 2 * rank)]
    auto = ir.attribute(node, "auto_pad", "NOTSET")
    if auto == "VALID":
        pads = [0] * 2 * rank
    elif auto in ("SAME_UPPER", "SAME_LOWER"):
        total = []
        for extent, k, s, d in zip(spatial, kernel, strides, dilations, strict=True):
            if not isinstance(extent, int) and s != 1:
                raise ctx.fail(node, f"auto_pad={auto} with a stride pads by a size that is known only at run time")
            whole = extent if isinstance(extent, int) else s
            total.append(max((-(-whole // s) - 1) * s + (k - 1) * d + 1 - whole, 0) if isinstance(extent, int) else (k - 1) * d)
        small, large = [t // 2 for t in total], [t - t // 2 for t in total]
        pads = small + large if auto == "SAME_UPPER" else large + small
    return {"strides": strides, "dilations": dilations, "pads": pads}


def conv(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """NCHW (or NCW, NCDHW). Weights that are not constant, and types other than float32, take TVM's unscheduled kernels."""
    x, weight = inputs[0], inputs[1]
    rank = len(ctx.shape(x))
    if rank not in (3, 4) or not is_constant(weight) or ctx.dtype(x) != "float32":
        return _unscheduled(ctx, node, inputs)
    if rank == 4:
        return permute(ctx, conv_nhwc(ctx, node, [permute(ctx, x, _LAST), *inputs[1:]]), _FIRST)
    n, c, w = ctx.shape(x)
    lines = ctx.reshape(permute(ctx, x, (0, 2, 1)), [n, 1, w, c])
    found = _attributes(ctx, node, [w], weight.shape[2:])
    wide = {"strides": [1, *found["strides"]], "dilations": [1, *found["dilations"]]}
    wide["pads"] = [0, found["pads"][0], 0, found["pads"][1]]
    result = _kernel(ctx, node, lines, weight[:, :, None], _bias(ctx, node, inputs), wide, "NHWC")
    n, _, w, c = ctx.shape(result)
    return permute(ctx, ctx.reshape(result, [n, w, c]), (0, 2, 1))


def conv_nhwc(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """NHWC to NHWC; the weights stay OIHW, as in the source."""
    x, weight = inputs[0], inputs[1]
    window = _attributes(ctx, node, ctx.shape(x)[1:3], weight.shape[2:])
    return _kernel(ctx, node, x, weight, _bias(ctx, node, inputs), window, "NHWC")


def conv_from_image(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """NCHW of few channels to NHWC."""
    x, weight = inputs[0], inputs[1]
    window = _attributes(ctx, node, ctx.shape(x)[2:], weight.shape[2:])
    return _kernel(ctx, node, x, weight, _bias(ctx, node, inputs), window, "NCHW")


def _bias(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> ir.Array | None:
    bias = inputs[2] if len(inputs) > 2 else None
    if bias is not None and not is_constant(bias):
        raise ctx.fail(node, "its bias is computed at run time")
    return bias


def _kernel(
    ctx: Lowering, node: ir.Node, x: Any, weight: ir.Array, bias: ir.Array | None, window: dict[str, Any], layout: str
) -> Any:
    kernel = compute.conv2d(
        ctx.machine, ctx.shape(x), weight, bias, group=int(ir.attribute(node, "group", 1)), layout=layout, **window
    )
    own = ctx.shape(x)
    return call(ctx, "conv2d", kernel, ctx.tensor(x), own[1:3] if layout == "NHWC" else own[2:])


def _unscheduled(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    x, weight = ctx.tensor(inputs[0]), ctx.tensor(inputs[1])
    spatial = ctx.shape(x)[2:]
    kernel = [d if isinstance(d, int) else 0 for d in ctx.shape(weight)[2:]]
    window = _attributes(ctx, node, spatial, kernel)
    operator = {1: relax.op.nn.conv1d, 2: relax.op.nn.conv2d, 3: relax.op.nn.conv3d}.get(len(spatial))
    if operator is None:
        raise ctx.fail(node, f"a convolution over {len(spatial)} spatial dimensions")
    ctx.notes.append(f"compiled with TVM's own kernel, not a scheduled one: node {ir.node_id(node)}")
    y = ctx.emit(
        operator(
            x,
            weight,
            strides=window["strides"],
            padding=window["pads"],
            dilation=window["dilations"],
            groups=int(ir.attribute(node, "group", 1)),
        )
    )
    if len(inputs) > 2 and inputs[2] is not None:
        y = ctx.emit(relax.op.add(y, ctx.reshape(inputs[2], [1, ctx.shape(inputs[2])[0], *[1] * len(spatial)])))
    return y


def conv_transpose(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    x, weight = inputs[0], inputs[1]
    if len(ctx.shape(x)) != 4 or not is_constant(weight) or ctx.dtype(x) != "float32":
        raise ctx.fail(node, "only two spatial dimensions, constant weights and float32 are known")
    return permute(ctx, conv_transpose_nhwc(ctx, node, [permute(ctx, x, _LAST), *inputs[1:]]), _FIRST)


def conv_transpose_nhwc(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """The weight is [I, O / group, KH, KW]. Where windows do not overlap it is a matrix product; else a convolution of the
    input with zeros between its pixels and the kernel turned round."""
    x, weight, bias = inputs[0], inputs[1], _bias(ctx, node, inputs)
    n, h, w, c = ctx.shape(x)
    group = int(ir.attribute(node, "group", 1))
    kernel = list(weight.shape[2:])
    strides = [int(s) for s in ir.attribute(node, "strides", [1, 1])]
    dilations = [int(d) for d in ir.attribute(node, "dilations", [1, 1])]
    extra = [int(p) for p in ir.attribute(node, "output_padding", [0, 0])]
    pads = _transposed_pads(ctx, node, (h, w), kernel, strides, dilations, extra)
    outputs = weight.shape[1] * group
    if kernel == strides and group == 1 and not any(pads) and not any(extra) and dilations == [1, 1]:
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
    turned = weight.reshape(group, c // group, weight.shape[1], *kernel)[..., ::-1, ::-1].transpose(0, 2, 1, 3, 4)
    turned = np.ascontiguousarray(turned.reshape(outputs, c // group, *kernel))
    reach = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
    around = [r - p for r, p in zip(reach, pads[:2], strict=True)] + [
        r - p + e for r, p, e in zip(reach, pads[2:], extra, strict=True)
    ]
    if min(around) < 0:
        raise ctx.fail(node, "it pads by more than its kernel reaches")
    window = {"strides": [1, 1], "dilations": dilations, "pads": around}
    return _kernel(ctx, node, spread, turned, bias, window, "NHWC")


def _transposed_pads(
    ctx: Lowering,
    node: ir.Node,
    spatial: Sequence[Dim],
    kernel: list[int],
    strides: list[int],
    dilations: list[int],
    extra: list[int],
) -> list[int]:
    pads = [int(p) for p in ir.attribute(node, "pads", [0, 0, 0, 0])]
    auto = ir.attribute(node, "auto_pad", "NOTSET")
    wanted = ir.attribute(node, "output_shape")
    if wanted is None and auto in ("NOTSET", "VALID"):
        return pads
    total = []
    for i, (extent, k, s, d) in enumerate(zip(spatial, kernel, strides, dilations, strict=True)):
        if wanted is None:
            total.append((k - 1) * d + 1 - s + extra[i])
        elif isinstance(extent, int):
            total.append(s * (extent - 1) + extra[i] + (k - 1) * d + 1 - int(wanted[i]))
        else:
            raise ctx.fail(node, "output_shape with a symbolic size")
    if min(total) < 0:
        raise ctx.fail(node, "its output_shape is larger than its windows reach")
    small, large = [t // 2 for t in total], [t - t // 2 for t in total]
    return large + small if auto == "SAME_LOWER" else small + large


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
    window = _attributes(ctx, node, own[1:3], kernel)
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
    if len(node.outputs) > 1 and (node.outputs[1].uses() or node.outputs[1].is_graph_output()):
        raise ctx.fail(node, "the indices of its maxima are used")
    return _between(ctx, node, inputs, average=False)


def average_pool(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    return _between(ctx, node, inputs, average=True)


def _between(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand], *, average: bool) -> Any:
    if len(ctx.shape(inputs[0])) != 4:
        raise ctx.fail(node, "only two spatial dimensions are known")
    return permute(ctx, _pool(average, ctx, node, permute(ctx, inputs[0], _LAST)), _FIRST)
