"""Resize and Upsample: nearest and linear, over any axes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from tvm import te, tirx

from optc.compiler import ir
from optc.targets.tvm.lower.lowering import Dim, Lowering, Operand, is_constant
from optc.targets.tvm.lower.movement import axes_of

_REAL = "float32"


def resize(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """Scales must be constants; sizes may be symbolic."""
    x = inputs[0]
    own = ctx.shape(x)
    mode = ir.attribute(node, "mode", "nearest")
    old = node.op_type == "Upsample" or ctx.opset < 11
    transform = "asymmetric" if old else ir.attribute(node, "coordinate_transformation_mode", "half_pixel")
    rounding = "floor" if old else ir.attribute(node, "nearest_mode", "round_prefer_floor")
    if mode not in ("nearest", "linear") or transform == "tf_crop_and_resize" or ir.attribute(node, "antialias", 0):
        raise ctx.fail(node, f"mode={mode} with {transform} is not known")
    if ir.attribute(node, "keep_aspect_ratio_policy", "stretch") != "stretch":
        raise ctx.fail(node, "keep_aspect_ratio_policy is not known")
    axes = list(range(len(own))) if "axes" not in node.attributes else axes_of(ctx, node, [x], len(own)) or []
    scales, dims = _sizes(ctx, node, inputs, axes, old)
    moved = [a for a in range(len(own)) if not (ctx.same(own[a], dims[a]) and scales[a] in (None, 1.0))]
    if not moved:
        return x
    fixed = {a: scales[a] for a in moved}

    def compute(x: Any, dims: Any) -> Any:
        def element(*at: Any) -> Any:
            taps = [_taps(at[a], x.shape[a], dims[a], fixed[a], mode, transform, rounding) for a in moved]
            total: Any = None
            for corner in itertools.product(*taps):
                index, weight = list(at), None
                for a, (i, share) in zip(moved, corner, strict=True):
                    index[a] = i
                    weight = share if weight is None or share is None else weight * share
                value = x(*index) if weight is None else x(*index) * weight
                total = value if total is None else total + value
            return total

        return te.compute(tuple(dims), element, name="resize")

    return ctx.te("resize", compute, ctx.tensor(x), dims)


def _sizes(
    ctx: Lowering, node: ir.Node, inputs: Sequence[Operand], axes: list[int], old: bool
) -> tuple[list[float | None], list[Dim]]:
    """A scale an axis (None: output / input) and the output's dimensions."""
    own = ctx.shape(inputs[0])
    scales: list[float | None] = [1.0] * len(own)
    dims: list[Dim] = list(own)
    at = 1 if old else 2
    given = inputs[at] if len(inputs) > at else None
    if given is None and "scales" in node.attributes:
        found: Sequence[float] | None = ir.attribute(node, "scales")
    elif given is None or (is_constant(given) and given.size == 0):
        found = None
    elif is_constant(given):
        found = [float(s) for s in given]
    else:
        raise ctx.fail(node, "its scales are computed at run time")
    if found is not None:
        for axis, scale in zip(axes, found, strict=True):
            scales[axis], dims[axis] = float(scale), _scaled(own[axis], float(scale))
    else:
        for axis, size in zip(axes, ctx.integers(node, inputs[3], "sizes"), strict=True):
            scales[axis], dims[axis] = None, size
    return scales, [ctx.opaque(d) for d in dims]


def _scaled(extent: Dim, scale: float) -> Dim:
    if scale == int(scale):
        return extent * int(scale)
    if isinstance(extent, int):
        return int(extent * scale)
    inverse = 1 / scale
    if inverse == int(inverse):
        return extent // int(inverse)
    return tirx.Cast("int64", tirx.floor(tirx.Cast("float64", extent) * tirx.const(scale, "float64")))


def _taps(i: Any, size: Any, out: Any, scale: float | None, mode: str, transform: str, rounding: str) -> list[tuple[Any, Any]]:
    """The source indices along one axis, with their weights (None: 1)."""
    if mode == "nearest" and transform == "asymmetric" and rounding == "floor" and scale is not None and scale == int(scale):
        return [(i // int(scale), None)]
    place = _place(i, size, out, scale, transform)
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


def _place(i: Any, size: Any, out: Any, scale: float | None, transform: str) -> Any:
    """The source coordinate of output index i."""
    here, inputs, outputs = (tirx.Cast(_REAL, v) for v in (i, size, out))
    half = tirx.const(0.5, _REAL)
    ratio = inputs / outputs if scale is None else tirx.const(1 / scale, _REAL)
    if transform == "asymmetric":
        return here * ratio
    if transform == "align_corners":
        return tirx.if_then_else(
            out > 1, here * (inputs - tirx.const(1, _REAL)) / (outputs - tirx.const(1, _REAL)), tirx.const(0, _REAL)
        )
    if transform == "tf_half_pixel_for_nn":
        return (here + half) * ratio
    centred = (here + half) * ratio - half
    if transform == "pytorch_half_pixel":
        return tirx.if_then_else(out > 1, centred, tirx.const(0, _REAL))
    if transform == "half_pixel_symmetric":
        whole = inputs / ratio
        return inputs * half * (tirx.const(1, _REAL) - outputs / whole) + centred
    return centred
