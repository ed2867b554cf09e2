"""Resize and Upsample, over any axes: nearest and linear in one pass, longer filters (cubic, antialias) an axis at a time."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tvm import te, tirx

from optc.compiler import ir
from optc.targets.tvm.lower import filters
from optc.targets.tvm.lower import scales as sc
from optc.targets.tvm.lower.elementwise import elementwise
from optc.targets.tvm.lower.fed_axes import number
from optc.targets.tvm.lower.lowering import Dim, Lowering, Operand, is_constant

_REAL = "float32"


@dataclass(frozen=True)
class _Axis:
    """How one axis is read: its scale, and for tf_crop_and_resize its part of roi (numbers or positions)."""

    axis: int
    scale: sc.Scale
    transform: str
    region: tuple[Any, Any] | None = None

    def scaled(self, bits: Any) -> _Axis:
        """With a scale that was fed as the number it is, in a kernel that is given its bits."""
        return replace(self, scale=sc.real(bits).astype(_REAL))

    def place(self, i: Any, size: Any, out: Any, roi: Any) -> Any:
        """The source coordinate of output index i."""
        if self.region is None:
            return _place(i, size, out, self.scale, self.transform)
        start, end = (roi[r].astype(_REAL) if isinstance(r, int) else tirx.const(r, _REAL) for r in self.region)
        here, last, outputs = (tirx.Cast(_REAL, v) for v in (i, size - 1, out - 1))
        inner = start * last + here * (end - start) * last / outputs
        return tirx.if_then_else(out > 1, inner, tirx.const(0.5, _REAL) * (start + end) * last)


def resize(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """Scales, sizes and a region of interest may be computed at run time."""
    x = inputs[0]
    own, dtype = ctx.shape(x), ctx.dtype(x)
    mode = ir.attribute(node, "mode", "nearest")
    old = node.op_type == "Upsample" or ctx.opset < 11
    transform = "asymmetric" if old else ir.attribute(node, "coordinate_transformation_mode", "half_pixel")
    rounding = "floor" if old else ir.attribute(node, "nearest_mode", "round_prefer_floor")
    smooth = bool(ir.attribute(node, "antialias", 0)) and mode != "nearest"
    if mode != "nearest" and dtype not in ("float16", "float32", "float64"):
        raise ctx.fail(node, f"mode={mode} of {dtype}")
    axes = [int(a) % len(own) for a in ir.attribute(node, "axes", range(len(own)))]
    scales, dims = sc.sizes(ctx, node, inputs, axes, old)
    crops = transform == "tf_crop_and_resize"
    regions, roi = _regions(ctx, node, inputs, axes) if crops else ({}, None)
    whole = [a for a in axes if roi is None and regions.get(a, (0.0, 1.0)) == (0.0, 1.0)]
    still = [a for a in whole if not sc.is_fed(scales[a]) and scales[a] in (None, 1.0) and ctx.same(own[a], dims[a])]
    moved = [a for a in axes if a not in still]
    if not moved:
        return x
    read = [_Axis(a, scales[a], transform, regions.get(a)) for a in sorted(moved)]
    if dtype == "float16":
        x = elementwise(ctx, "cast", lambda v: v.astype(_REAL), x)
    if mode == "cubic" or smooth:
        for each in read:
            x = _filtered(ctx, node, x, each, dims[each.axis], roi, mode, smooth)
        taps: tuple[str, str] | None = None
    else:
        taps = (mode, rounding)
    beyond = float(ir.attribute(node, "extrapolation_value", 0.0)) if crops else None
    if taps is not None or crops:
        x = _mapped(ctx, x, own, dims, read, roi, taps, beyond)
    return elementwise(ctx, "cast", lambda v: v.astype(dtype), x) if dtype == "float16" else x


def _mapped(
    ctx: Lowering,
    x: Operand,
    own: Sequence[Dim],
    dims: Sequence[Dim],
    read: Sequence[_Axis],
    roi: Any,
    taps: tuple[str, str] | None,
    beyond: float | None,
) -> Any:
    """Each element from its one or two neighbours an axis (taps None: x is resized already), or `beyond` outside the image."""
    given = [r.scale for r in read if sc.is_fed(r.scale)]

    def compute(x: Any, own: Any, dims: Any, bits: Any, *rest: Any) -> Any:
        region, left = rest[0] if rest else None, iter(bits)
        fixed = {r.axis: r.scaled(next(left)) if sc.is_fed(r.scale) else r for r in read}

        def element(*at: Any) -> Any:
            places = {a: r.place(at[a], own[a], dims[a], region) for a, r in fixed.items()}
            value = x(*at)
            if taps is not None:
                found = [_taps(at[a], own[a], places[a], r.scale, r.transform, *taps) for a, r in fixed.items()]
                value = _weighted(x, at, list(fixed), found)
            if beyond is None:
                return value
            inside = [c for a, p in places.items() for c in (p >= 0, p <= tirx.Cast(_REAL, own[a] - 1))]
            return tirx.if_then_else(tirx.all(*inside), value, tirx.const(beyond, x.dtype))

        return te.compute(tuple(dims), element, name="resize")

    return ctx.te("resize", compute, ctx.tensor(x), [number(d) for d in own], list(dims), given, *([] if roi is None else [roi]))


def _weighted(x: Any, at: Sequence[Any], axes: Sequence[int], taps: Sequence[Sequence[tuple[Any, Any]]]) -> Any:
    total: Any = None
    for corner in itertools.product(*taps):
        index, weight = list(at), None
        for a, (i, share) in zip(axes, corner, strict=True):
            index[a] = i
            weight = share if weight is None or share is None else weight * share
        value = x(*index) if weight is None else x(*index) * weight.astype(x.dtype)
        total = value if total is None else total + value
    return total


def _filtered(ctx: Lowering, node: ir.Node, x: Operand, read: _Axis, out: Dim, roi: Any, mode: str, smooth: bool) -> Any:
    """One axis by a filter: its weights are a table [out, taps], computed once for all lines."""
    own, axis = ctx.shape(x), read.axis
    size = own[axis]
    coefficient = float(ir.attribute(node, "cubic_coeff_a", -0.75))
    scale = read.scale
    if smooth and scale is None:
        known = isinstance(size, int) and isinstance(out, int)
        scale = out / size if known else sc.ratio(ctx, out, size)
    fed = sc.is_fed(scale)
    reach = sc.reach(ctx, scale, filters.SUPPORT[mode]) if smooth and fed else 0
    given = [scale] if fed else []
    own_fed = sc.is_fed(read.scale)

    def parts(bits: Any, reach: Any) -> tuple[_Axis, filters.Filter]:
        """How the axis is read, and the filter, in a kernel."""
        axis = read.scaled(bits[0]) if own_fed else read
        if smooth and fed:
            return axis, filters.stretched(mode, coefficient, sc.real(bits[0]).astype(_REAL), reach)
        return axis, filters.of(mode, coefficient, min(scale or 1.0, 1.0) if smooth else 1.0)

    excluded = bool(ir.attribute(node, "exclude_outside", 0))

    def table(size: Any, out: Any, bits: Any, reach: Any, *rest: Any) -> Any:
        axis, found = parts(bits, reach)

        def raw(o: Any, t: Any) -> Any:
            place = axis.place(o, size, out, rest[0] if rest else None)
            low = tirx.floor(place)
            at = low.astype("int64") + found.first + t
            weight = found.weight(tirx.Cast(_REAL, t + found.first) - (place - low))
            return tirx.if_then_else(tirx.all(at >= 0, at < size), weight, tirx.const(0, _REAL)) if excluded else weight

        return te.compute((out, found.taps), raw, name="weights")

    def lows(size: Any, out: Any, bits: Any, reach: Any, *rest: Any) -> Any:
        axis, found = parts(bits, reach)

        def low(o: Any) -> Any:
            return tirx.floor(axis.place(o, size, out, rest[0] if rest else None)).astype("int64") + found.first

        return te.compute((out,), low, name="first")

    def normal(w: Any) -> Any:
        t = te.reduce_axis((0, w.shape[1]), name="t")
        total = te.compute((w.shape[0], 1), lambda o, _: te.sum(w(o, t), axis=t), name="total")
        return te.compute(w.shape, lambda o, t: w(o, t) / total(o, 0), name="normal")

    operands = (number(size), number(out), given, number(reach), *([] if roi is None else [roi]))
    weights = ctx.te("weights", table, *operands)
    if smooth or excluded:
        weights = ctx.te("normal", normal, weights)
    first = ctx.te("first", lows, *operands)

    def compute(x: Any, w: Any, first: Any, dims: Any) -> Any:
        t = te.reduce_axis((0, w.shape[1]), name="t")

        def element(*at: Any) -> Any:
            index = _inside(first(at[axis]) + t, x.shape[axis])
            return te.sum(x(*at[:axis], index, *at[axis + 1 :]) * w(at[axis], t).astype(x.dtype), axis=t)

        return te.compute(tuple(dims), element, name="filtered")

    dims = [out if i == axis else d for i, d in enumerate(own)]
    return ctx.te("filtered", compute, ctx.tensor(x), weights, first, dims)


def _regions(
    ctx: Lowering, node: ir.Node, inputs: Sequence[Operand], axes: Sequence[int]
) -> tuple[dict[int, tuple[Any, Any]], Any]:
    """The start and end of each axis: numbers, or where they stand in the roi, which then comes as a variable."""
    roi = inputs[1] if len(inputs) > 1 else None
    if roi is None:
        raise ctx.fail(node, "tf_crop_and_resize without a roi")
    if is_constant(roi):
        return {a: (float(roi[i]), float(roi[len(axes) + i])) for i, a in enumerate(axes)}, None
    return {a: (i, len(axes) + i) for i, a in enumerate(axes)}, ctx.tensor(roi)


def _taps(i: Any, size: Any, place: Any, scale: sc.Scale, transform: str, mode: str, rounding: str) -> list[tuple[Any, Any]]:
    """The source indices along one axis, with their weights (None: 1)."""
    whole = isinstance(scale, float) and scale == int(scale)
    if mode == "nearest" and transform == "asymmetric" and rounding == "floor" and whole:
        return [(i // int(scale), None)]
    if mode == "nearest":
        if rounding == "round_prefer_floor":
            place = tirx.ceil(place - tirx.const(0.5, _REAL))
        elif rounding == "round_prefer_ceil":
            place = tirx.floor(place + tirx.const(0.5, _REAL))
        else:
            place = tirx.floor(place) if rounding == "floor" else tirx.ceil(place)
        return [(_inside(place.astype("int64"), size), None)]
    low = tirx.floor(place)
    share = place - low
    index = low.astype("int64")
    return [(_inside(index, size), tirx.const(1, _REAL) - share), (_inside(index + 1, size), share)]


def _inside(i: Any, size: Any) -> Any:
    return tirx.max(tirx.min(i, size - 1), tirx.IntImm("int64", 0))


def _place(i: Any, size: Any, out: Any, scale: sc.Scale, transform: str) -> Any:
    """The source coordinate of output index i."""
    here, inputs, outputs = (tirx.Cast(_REAL, v) for v in (i, size, out))
    half = tirx.const(0.5, _REAL)

    def scaled(at: Any) -> Any:
        """By the ratio of the extents: multiplied first, so that what lies between two elements is not moved by a rounding."""
        if scale is None:
            return at * inputs / outputs
        return at * tirx.const(1 / scale, _REAL) if isinstance(scale, float) else at / scale

    if transform == "asymmetric":
        return scaled(here)
    if transform == "align_corners":
        return tirx.if_then_else(
            out > 1, here * (inputs - tirx.const(1, _REAL)) / (outputs - tirx.const(1, _REAL)), tirx.const(0, _REAL)
        )
    if transform == "tf_half_pixel_for_nn":
        return scaled(here + half)
    centred = scaled(here + half) - half
    if transform == "pytorch_half_pixel":
        return tirx.if_then_else(out > 1, centred, tirx.const(0, _REAL))
    if transform == "half_pixel_symmetric":
        whole = outputs if scale is None else inputs * (tirx.const(scale, _REAL) if isinstance(scale, float) else scale)
        return inputs * half * (tirx.const(1, _REAL) - outputs / whole) + centred
    return centred
