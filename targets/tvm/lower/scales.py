"""The scales and sizes of a Resize, known at compile time or fed.

A scale that is fed or follows from what is fed is a dimension to TVM: the bits of a float64, as wide as a dimension.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import tirx

from optc.compiler import ir
from optc.targets.tvm.lower.fed_axes import number
from optc.targets.tvm.lower.lowering import Dim, Lowering, Operand, is_constant

Scale = Any  # float, None (output / input), or the bits of a float64: an integer variable


def is_fed(scale: Scale) -> bool:
    return not (scale is None or isinstance(scale, float))


def real(bits: Any) -> Any:
    """The float64 of these bits."""
    return tirx.reinterpret("float64", bits)


def bits_of(ctx: Lowering, value: Any) -> Dim:
    """A number that follows from what is fed, as the bits of a float64."""
    return ctx.opaque(tirx.reinterpret("int64", value), plain=True)


def ratio(ctx: Lowering, out: Dim, size: Dim) -> Dim:
    """output / input, as bits."""
    return bits_of(ctx, _wide(out) / _wide(tirx.max(number(size), number(1))))


def reach(ctx: Lowering, scale: Dim, support: int) -> Dim:
    """How far from a coordinate a filter reaches that is stretched by a scale below 1: ceil(support / scale)."""
    factor = tirx.min(real(scale), tirx.const(1, "float64"))
    return ctx.opaque(tirx.Cast("int64", tirx.ceil(tirx.const(support, "float64") / factor)), plain=True)


def _wide(dim: Dim) -> Any:
    return tirx.Cast("float64", number(dim))


def sizes(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand], axes: list[int], old: bool) -> tuple[list[Scale], list[Dim]]:
    """A scale for each dimension and the output's dimensions."""
    own = ctx.shape(inputs[0])
    scales: list[Scale] = [1.0] * len(own)
    dims: list[Dim] = list(own)
    found = _scales(ctx, node, inputs, old)
    if found is not None:
        for axis, scale in zip(axes, found, strict=True):
            scales[axis], dims[axis] = scale, _scaled(own[axis], scale)
        return scales, [ctx.opaque(d) for d in dims]
    wanted = ctx.integers(node, inputs[3], "sizes")
    policy = ir.attribute(node, "keep_aspect_ratio_policy", "stretch")
    for axis, size in zip(axes, wanted, strict=True):
        scales[axis], dims[axis] = None, size
    if policy != "stretch":
        scale, kept = _proportional(ctx, [own[a] for a in axes], wanted, policy == "not_larger")
        for axis, size in zip(axes, kept, strict=True):
            scales[axis], dims[axis] = scale, size
    return scales, [ctx.opaque(d) for d in dims]


def _scales(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand], old: bool) -> list[Scale] | None:
    """Those that are given; None where sizes are."""
    at = 1 if old else 2
    given = inputs[at] if len(inputs) > at else None
    if given is None:
        return [float(s) for s in ir.attribute(node, "scales")] if "scales" in node.attributes else None
    if is_constant(given):
        return [float(s) for s in given] if given.size else None
    if ctx.shape(given) == [0]:
        return None
    return list(ctx.integers(node, given, "scales", bits=True))


def _proportional(ctx: Lowering, sides: Sequence[Dim], wanted: Sequence[Dim], smallest: bool) -> tuple[Scale, list[Dim]]:
    """One scale for all sides, so that none is larger (or smaller) than wanted; halves round up."""
    if all(isinstance(d, int) and d > 0 for d in (*sides, *wanted)):
        each = (w / d for w, d in zip(wanted, sides, strict=True))
        scale = float(min(each) if smallest else max(each))
        return scale, [math.floor(scale * side + 0.5) for side in sides]
    ratios = [_wide(w) / _wide(tirx.max(number(d), number(1))) for w, d in zip(wanted, sides, strict=True)]
    common = ratios[0]
    for ratio in ratios[1:]:
        common = tirx.min(common, ratio) if smallest else tirx.max(common, ratio)
    kept = [tirx.Cast("int64", tirx.floor(common * _wide(side) + tirx.const(0.5, "float64"))) for side in sides]
    return bits_of(ctx, common), [ctx.opaque(d, plain=True) for d in kept]


def _scaled(extent: Dim, scale: Scale) -> Dim:
    """The product in float32, as ONNX's shape inference has it: 0.7 of 10 is 7."""
    if not is_fed(scale):
        if scale == int(scale):
            return extent * int(scale)
        if isinstance(extent, int):
            return int(np.float32(extent) * np.float32(scale))
        inverse = 1 / scale
        if inverse == int(inverse):
            return extent // int(inverse)
    factor = real(scale).astype("float32") if is_fed(scale) else tirx.const(scale, "float32")
    return tirx.Cast("int64", tirx.floor(tirx.Cast("float32", number(extent)) * factor))
