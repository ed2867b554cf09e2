"""Reading an image at coordinates that are computed: GridSample, RoiAlign, MaxRoiPool, AffineGrid."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from tvm import te, tirx

from optc.compiler import ir
from optc.targets.tvm.lower import filters, regions
from optc.targets.tvm.lower.elementwise import elementwise
from optc.targets.tvm.lower.lowering import Lowering, Operand


def grid_sample(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """x [N, C, spatial...], grid [N, out..., rank] with the last spatial axis first, in -1 to 1 -> [N, C, out...]."""
    x, grid = inputs[0], inputs[1]
    own, places = ctx.shape(x), ctx.shape(grid)
    rank, dtype = len(own) - 2, ctx.dtype(x)
    mode = str(ir.attribute(node, "mode", "linear")).removeprefix("bi")  # before opset 20: bilinear, bicubic
    padding = ir.attribute(node, "padding_mode", "zeros")
    corners = bool(ir.attribute(node, "align_corners", 0))
    if dtype not in ("float16", "float32", "float64") or ctx.dtype(grid) != dtype:
        raise ctx.fail(node, f"samples of {dtype} at coordinates of {ctx.dtype(grid)}")
    if mode not in ("linear", "nearest", "cubic") or (mode == "cubic" and rank != 2):
        raise ctx.fail(node, f"mode={mode} over {rank} axes")
    if dtype == "float16":
        x, grid = (elementwise(ctx, "cast", lambda v: v.astype("float32"), v) for v in (x, grid))

    def compute(x: Any, grid: Any) -> Any:
        real = x.dtype

        def placed(size: Any, value: Any) -> Any:
            one, half = tirx.const(1, real), tirx.const(0.5, real)
            size = tirx.Cast(real, size)
            place = (value + one) * half * (size - one) if corners else ((value + one) * size - one) * half
            if mode == "cubic":
                return place  # its taps are bounded one by one
            if padding == "border":
                return tirx.max(tirx.min(place, size - one), tirx.const(0, real))
            return _reflected(place, size, corners) if padding == "reflection" else place

        def element(n: Any, c: Any, *at: Any) -> Any:
            sides = x.shape[2:]
            found = [placed(e, grid(n, *at, rank - 1 - i)) for i, e in enumerate(sides)]
            return _interpolated(found, mode, real, lambda index: _bounded(x, (n, c), index, padding, corners, real))

        return te.compute((*x.shape[:2], *grid.shape[1:-1]), element, name="grid_sample")

    if not ctx.same(own[0], places[0]):
        grid = ctx.assume_shape(ctx.tensor(grid), [own[0], *places[1:]])
    y = ctx.te("grid_sample", compute, ctx.tensor(x), ctx.tensor(grid))
    return elementwise(ctx, "cast", lambda v: v.astype(dtype), y) if dtype == "float16" else y


def _reflected(place: Any, size: Any, corners: bool) -> Any:
    """Folded back at the centres of the outermost elements, or at their edges, and cut to the image."""
    half, one, zero = (tirx.const(v, place.ty.dtype) for v in (0.5, 1, 0))
    low, span = (zero, size - one) if corners else (-half, size)
    wide = tirx.max(span, one)
    far = tirx.abs(place - low)
    turns = tirx.floor(far / wide)
    rest = far - turns * wide
    even = tirx.floor(turns * half) * tirx.const(2, place.ty.dtype) == turns
    folded = tirx.Select(even, rest + low, wide - rest + low)
    return tirx.Select(span > zero, tirx.max(tirx.min(folded, size - one), zero), zero)


def _interpolated(places: Sequence[Any], mode: str, real: str, read: Any) -> Any:
    """The value at the places: read(index) of the elements around them."""
    if mode == "nearest":
        return read([tirx.nearbyint(p).astype("int64") for p in places])
    taps = []
    weight = filters.linear if mode == "linear" else filters.cubic(-0.75)
    for place in places:
        low = tirx.floor(place)
        share, index = place - low, low.astype("int64")
        span = (0, 1) if mode == "linear" else (-1, 0, 1, 2)
        taps.append([(index + t, weight(share - tirx.const(t, real))) for t in span])
    total: Any = None
    for corner in itertools.product(*taps):
        value = read([i for i, _ in corner])
        for _, share in corner:
            value = value * share
        total = value if total is None else total + value
    return total


def _bounded(x: Any, lead: Sequence[Any], index: Sequence[Any], padding: str, corners: bool, real: str) -> Any:
    """The element at an index that may lie outside the image."""
    zero = tirx.IntImm("int64", 0)
    sides = x.shape[2:]
    if padding == "reflection":
        index = [
            _reflected(i.astype(real), tirx.Cast(real, e), corners).astype("int64") for i, e in zip(index, sides, strict=True)
        ]
    inside = [tirx.max(tirx.min(i, e - 1), zero) for i, e in zip(index, sides, strict=True)]
    value = x(*lead, *inside)
    if padding != "zeros":
        return value
    here = tirx.all(*[c for i, e in zip(index, sides, strict=True) for c in (i >= 0, i < e)])
    return tirx.if_then_else(here, value, tirx.const(0, real))


def affine_grid(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """theta [N, rank, rank + 1], size (N, C, spatial...) -> [N, spatial..., rank]."""
    theta = inputs[0]
    size = [ctx.opaque(d) for d in ctx.integers(node, inputs[1], "size")]
    corners = bool(ir.attribute(node, "align_corners", 0))
    dtype = ctx.dtype(theta)
    rank = len(size) - 2

    def compute(theta: Any, dims: Any) -> Any:
        def base(i: Any, extent: Any) -> Any:
            here, whole, one = tirx.Cast(dtype, i), tirx.Cast(dtype, extent), tirx.const(1, dtype)
            two = tirx.const(2, dtype)
            if corners:
                return tirx.if_then_else(extent > 1, here * two / (whole - one) - one, -one)
            return (here * two + one) / whole - one

        def element(n: Any, *at: Any) -> Any:
            *place, row = at
            total = theta(n, row, rank)
            for column in range(rank):
                axis = rank - 1 - column
                total = total + theta(n, row, column) * base(place[axis], dims[1 + axis])
            return total

        return te.compute((*dims, rank), element, name="affine_grid")

    dims = [tirx.IntImm("int64", d) if isinstance(d, int) else d for d in [size[0], *size[2:]]]
    own = ctx.shape(theta)
    var = ctx.tensor(theta) if ctx.same(own[0], size[0]) else ctx.assume_shape(ctx.tensor(theta), [size[0], *own[1:]])
    return ctx.te("affine_grid", compute, var, dims)


def roi_align(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """x [N, C, H, W], rois [R, 4] (x1, y1, x2, y2), their images [R] -> [R, C, output_height, output_width]."""
    x, rois, images = inputs
    ratio = int(ir.attribute(node, "sampling_ratio", 0))
    height, width = (int(ir.attribute(node, f"output_{side}", 1)) for side in ("height", "width"))
    mode, dtype = ir.attribute(node, "mode", "avg"), ctx.dtype(x)
    default = "half_pixel" if ctx.opset >= 16 else "output_half_pixel"
    aligned = ir.attribute(node, "coordinate_transformation_mode", default) == "half_pixel"
    scale = float(ir.attribute(node, "spatial_scale", 1.0))
    if dtype not in ("float32", "float64"):
        raise ctx.fail(node, f"regions of {dtype}")
    count = ctx.shape(rois)[0]
    held = ctx.tensor(images)
    if not ctx.same(count, ctx.shape(held)[0]):
        held = ctx.assume_shape(held, [count])
    if ratio <= 0:
        return regions.adaptive(ctx, x, rois, held, regions.Form(height, width, scale, aligned, mode == "max"))

    def compute(x: Any, rois: Any, images: Any) -> Any:
        half, factor = tirx.const(0.5 if aligned else 0.0, dtype), tirx.const(scale, dtype)
        iy, ix = te.reduce_axis((0, ratio), name="iy"), te.reduce_axis((0, ratio), name="ix")

        def sample(r: Any, c: Any, h: Any, w: Any) -> Any:
            places = []
            for cell, step, count, at in ((h, iy, height, 1), (w, ix, width, 0)):
                start, end = rois(r, at) * factor - half, rois(r, at + 2) * factor - half
                size = end - start if aligned else tirx.max(end - start, tirx.const(1, dtype))
                bin_ = size / tirx.const(count, dtype)
                inner = (tirx.Cast(dtype, step) + tirx.const(0.5, dtype)) * bin_ / tirx.const(ratio, dtype)
                places.append(start + tirx.Cast(dtype, cell) * bin_ + inner)
            return regions.sampled(x, (images(r), c), places, dtype, mode == "max")

        if mode == "max":
            shape = (rois.shape[0], x.shape[1], height, width)
            return te.compute(shape, lambda *at: te.max(sample(*at), axis=[iy, ix]), name="roi_align")
        shape = (rois.shape[0], x.shape[1], height, width)
        total = te.compute(shape, lambda *at: te.sum(sample(*at), axis=[iy, ix]), name="roi_sum")
        return te.compute(shape, lambda *at: total(*at) / tirx.const(ratio * ratio, dtype), name="roi_align")

    return ctx.te("roi_align", compute, ctx.tensor(x), ctx.tensor(rois), held)


def bilinear(x: Any, lead: Sequence[Any], places: Sequence[Any]) -> Any:
    """The value between the elements around the places; what lies outside the image counts as zero."""
    return _interpolated(places, "linear", x.dtype, lambda index: _bounded(x, lead, index, "zeros", False, x.dtype))
