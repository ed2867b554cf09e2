"""Operators of windows that are neither convolution nor pooling: Col2Im, DeformConv, LRN, MaxRoiPool."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tvm import relax, te, tirx

from optc.compiler import ir
from optc.targets.tvm.lower.convolution import with_bias
from optc.targets.tvm.lower.lowering import Dim, Lowering, Operand
from optc.targets.tvm.lower.movement import product
from optc.targets.tvm.lower.sampling import bilinear
from optc.targets.tvm.lower.sliding import Window, window_of


def local_response(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """x / (bias + alpha / size * sum of squares over `size` channels around) ^ beta."""
    x, dtype, size = inputs[0], ctx.dtype(inputs[0]), int(ir.attribute(node, "size"))
    alpha, beta = float(ir.attribute(node, "alpha", 1e-4)), float(ir.attribute(node, "beta", 0.75))
    bias = tirx.const(float(ir.attribute(node, "bias", 1.0)), dtype)

    def compute(x: Any) -> Any:
        k = te.reduce_axis((0, size), name="k")

        def squares(n: Any, c: Any, *at: Any) -> Any:
            place = c + k - (size - 1) // 2
            value = tirx.if_then_else(tirx.all(place >= 0, place < x.shape[1]), x(n, place, *at), tirx.const(0, dtype))
            return te.sum(value * value, axis=k)

        total = te.compute(x.shape, squares, name="squares")
        factor = tirx.const(alpha / size, dtype)
        return te.compute(x.shape, lambda *at: x(*at) / _raised(bias + factor * total(*at), beta), name="lrn")

    return ctx.te("lrn", compute, ctx.tensor(x))


def _raised(value: Any, power: float) -> Any:
    """value ^ power: of roots where the power is a few quarters, as LRN's mostly is, since `pow` is a call for each element."""
    quarters = 4 * power
    if quarters not in range(1, 8):
        return tirx.pow(value, tirx.const(power, value.ty.dtype))
    root = tirx.sqrt(value)
    parts = [part for bit, part in ((4, value), (2, root), (1, tirx.sqrt(root))) if int(quarters) & bit]
    result = parts[0]
    for part in parts[1:]:
        result = result * part
    return result


def columns_to_image(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """x [N, C * taps, windows], image shape, block shape -> [N, C, image...]: every element the sum of the taps that cover it."""
    image = [ctx.opaque(d) for d in ctx.integers(node, inputs[1], "image_shape")]
    block = [ctx.opaque(d) for d in ctx.integers(node, inputs[2], "block_shape")]
    window = window_of(ctx, node, image, block)
    n, rows, _ = ctx.shape(inputs[0])
    channels = ctx.opaque(rows // product(block))
    counts = [ctx.opaque(e) for e in window.extents(image)]
    x = ctx.tensor(inputs[0])
    lines = ctx.reshape(x, [n, channels, *block, *counts])
    rank = len(block)

    def compute(x: Any, image: Any) -> Any:
        taps = [te.reduce_axis((0, b), name=f"t{i}") for i, b in enumerate(x.shape[2 : 2 + rank])]

        def element(n: Any, c: Any, *at: Any) -> Any:
            places = [o + b - t * d for o, b, t, d in zip(at, window.before, taps, window.dilations, strict=True)]
            index = [tirx.floordiv(p, s) for p, s in zip(places, window.strides, strict=True)]
            inside = []
            for p, i, s, count in zip(places, index, window.strides, x.shape[2 + rank :], strict=True):
                inside += [p >= 0, i < count, tirx.floormod(p, s) == 0]
            return te.sum(tirx.if_then_else(tirx.all(*inside), x(n, c, *taps, *index), tirx.const(0, x.dtype)), axis=taps)

        return te.compute((*x.shape[:2], *image), element, name="image")

    return ctx.te("col2im", compute, lines, [tirx.IntImm("int64", d) if isinstance(d, int) else d for d in image])


def deformable(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """Two spatial axes: taps are read between elements, at places moved by offsets [N, groups * taps * 2, OH, OW]."""
    x, weight, offset = inputs[:3]
    mask = inputs[4] if len(inputs) > 4 else None
    own, (outputs, each, *kernel), dtype = ctx.shape(x), ctx.shape(weight), ctx.dtype(x)
    if len(own) != 4 or not all(isinstance(d, int) for d in (outputs, each, *kernel)) or dtype not in ("float32", "float64"):
        raise ctx.fail(node, "only two spatial dimensions, weights of known shape, float32 and float64 are known")
    group, groups = int(ir.attribute(node, "group", 1)), int(ir.attribute(node, "offset_group", 1))
    window = window_of(ctx, node, own[2:], kernel)
    taps = math.prod(kernel)
    extents = [ctx.opaque(e) for e in window.extents(own[2:])]
    lead = [own[0], groups, taps]
    moved = _fitted(ctx, offset, [own[0], groups * taps * 2, *extents], [*lead, 2, *extents])
    given = [] if mask is None else [_fitted(ctx, mask, [own[0], groups * taps, *extents], [*lead, *extents])]
    gathered = _gathered(ctx, x, moved, given, window, [group, each, groups, *extents])
    area = ctx.opaque(extents[0] * extents[1])
    columns = ctx.reshape(gathered, [own[0], group, each * taps, area])
    matrix = ctx.reshape(weight, [group, outputs // group, each * taps])
    y = ctx.emit(relax.op.matmul(matrix, columns))
    ctx.count(y, each * taps)
    y = ctx.reshape(y, [own[0], outputs, *extents])
    return with_bias(ctx, y, [x, weight, inputs[3] if len(inputs) > 3 else None])


def _fitted(ctx: Lowering, operand: Operand, shape: Sequence[Dim], split: Sequence[Dim]) -> Any:
    var = ctx.tensor(operand)
    return ctx.reshape(var if ctx.same_shape(ctx.shape(var), shape) else ctx.assume_shape(var, shape), split)


def _gathered(ctx: Lowering, x: Operand, moved: Any, mask: Sequence[Any], window: Window, sizes: Sequence[Dim]) -> Any:
    group, each, groups, *extents = sizes
    per = group * each // groups
    kw = window.kernel[1]

    def compute(x: Any, moved: Any, dims: Any, before: Any, *mask: Any) -> Any:
        def element(n: Any, g: Any, k: Any, t: Any, h: Any, w: Any) -> Any:
            channel = g * each + k
            owner = channel // per
            places = []
            for i, (o, tap) in enumerate(((h, t // kw), (w, t % kw))):
                start = o * window.strides[i] + tap * window.dilations[i] - before[i]
                places.append(tirx.Cast(x.dtype, start) + moved(n, owner, t, i, h, w))
            value = bilinear(x, (n, channel), places)
            return value * mask[0](n, owner, t, h, w) if mask else value

        return te.compute((x.shape[0], *dims), element, name="gathered")

    dims = [group, each, math.prod(window.kernel), *extents]
    exprs = [[tirx.IntImm("int64", d) if isinstance(d, int) else d for d in each_] for each_ in (dims, window.before)]
    return ctx.te("gathered", compute, ctx.tensor(x), moved, *exprs, *mask, pattern=8)


def max_roi_pool(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """x [N, C, H, W], rois [R, 5] (image, x1, y1, x2, y2): the maxima of cells, which are found row by row, then across rows."""
    x, rois, dtype = inputs[0], inputs[1], ctx.dtype(inputs[0])
    height, width = (int(v) for v in ir.attribute(node, "pooled_shape"))
    scale = float(ir.attribute(node, "spatial_scale", 1.0))
    if dtype != "float32":
        raise ctx.fail(node, f"regions of {dtype}")
    lowest = tirx.min_value(dtype)  # what te.max starts with

    def bounds(rois: Any, r: Any, cell: Any, at: int, count: int, extent: Any) -> tuple[Any, Any]:
        start, end = (_rounded(rois(r, a) * tirx.const(scale, dtype)) for a in (at, at + 2))
        size = tirx.max(end - start + tirx.const(1, dtype), tirx.const(1, dtype)) / tirx.const(count, dtype)
        here = tirx.Cast(dtype, cell)
        first = tirx.floor(here * size).astype("int64") + start.astype("int64")
        last = tirx.ceil((here + tirx.const(1, dtype)) * size).astype("int64") + start.astype("int64")
        zero = tirx.IntImm("int64", 0)
        return tuple(tirx.max(tirx.min(v, extent), zero) for v in (first, last))

    def compute(x: Any, rois: Any) -> Any:
        i, j = te.reduce_axis((0, x.shape[2]), name="i"), te.reduce_axis((0, x.shape[3]), name="j")

        def across(r: Any, c: Any, h: Any, w: Any) -> Any:
            low, high = bounds(rois, r, w, 1, width, x.shape[3])
            return te.max(tirx.if_then_else(tirx.all(j >= low, j < high), x(rois(r, 0).astype("int64"), c, h, j), lowest), axis=j)

        rows = te.compute((rois.shape[0], x.shape[1], x.shape[2], width), across, name="rows")

        def down(r: Any, c: Any, h: Any, w: Any) -> Any:
            low, high = bounds(rois, r, h, 2, height, x.shape[2])
            return te.max(tirx.if_then_else(tirx.all(i >= low, i < high), rows(r, c, i, w), lowest), axis=i)

        cells = te.compute((rois.shape[0], x.shape[1], height, width), down, name="cells")
        none = tirx.const(0, dtype)  # of an empty cell
        return te.compute(cells.shape, lambda *at: tirx.Select(cells(*at) == lowest, none, cells(*at)), name="roi_pool")

    return ctx.te("roi_pool", compute, ctx.tensor(x), ctx.tensor(rois))


def _rounded(x: Any) -> Any:
    """To the nearest integer, halves away from zero."""
    half = tirx.const(0.5, x.ty.dtype)
    return tirx.Select(x < tirx.const(0, x.ty.dtype), tirx.ceil(x - half), tirx.floor(x + half))
