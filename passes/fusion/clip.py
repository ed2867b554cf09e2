"""Every spelling of a bounded value becomes one Clip, of one bounded by zero alone Relu."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import ml_dtypes
import numpy as np

from optc.compiler import ir
from optc.compiler.numerics import Numerics
from optc.compiler.pattern import Var
from optc.compiler.rewrite import Builder, Const, PatternBuilder, Refuse, RewritePass, Rule
from optc.passes.fusion.scalars import is_float, scalar


@dataclass(frozen=True)
class FuseClip(RewritePass):
    """Min(Max(x, a), b) -> Clip(x, a, b), Max(x, 0) -> Relu(x), and what Clip and Relu bound twice is bounded once.

    Bounds are constants, one number each and not NaN. Clip without an upper bound is not Relu: it makes the largest number of
    infinity. Of floats only.
    """

    name = "fuse-clip"
    numerics = Numerics.BITWISE

    def rules(self) -> Sequence[Rule]:
        return RULES


def _min_of_max(op: PatternBuilder, x: Any, low: Const, high: Const) -> Any:
    return op.Min(op.Max(x, low), high)


def _max_of_min(op: PatternBuilder, x: Any, low: Const, high: Const) -> Any:
    return op.Max(op.Min(x, high), low)


def _from_min_of_max(op: Builder, x: ir.Value, low: Const, high: Const) -> Any:
    return _bounded(op, x, scalar(low, x), scalar(high, x))


def _from_max_of_min(op: Builder, x: ir.Value, low: Const, high: Const) -> Any:
    a, b = scalar(low, x), scalar(high, x)
    return Refuse("its bounds cross") if a is not None and b is not None and a > b else _bounded(op, x, a, b)


def _max(op: PatternBuilder, x: Any) -> Any:
    return op.Max(x, 0.0, name="max")


def _relu(op: Builder, max: ir.Node, x: ir.Value) -> Any:
    zero = next((v for v in max.inputs if v is not x), None)
    if op.opset < 6 or not is_float(x) or scalar(ir.const(zero), x) is None:
        return Refuse("it is of integers, or its zero may change the shape")
    return op.Relu(x)


def _min_of_relu(op: PatternBuilder, x: Any, high: Const) -> Any:
    return op.Min(op.Relu(x), high)


def _from_min_of_relu(op: Builder, x: ir.Value, high: Const) -> Any:
    return _bounded(op, x, 0.0, scalar(high, x))


def _clip(op: PatternBuilder, x: Any, name: str) -> Any:
    return op.Clip(x, Var(f"{name}_low", optional=True), Var(f"{name}_high", optional=True), name=name)


def _clip_of_relu(op: PatternBuilder, x: Any) -> Any:
    return _clip(op, op.Relu(x), "outer")


def _relu_of_clip(op: PatternBuilder, x: Any) -> Any:
    return op.Relu(_clip(op, x, "inner"))


def _clip_of_clip(op: PatternBuilder, x: Any) -> Any:
    return _clip(op, _clip(op, x, "inner"), "outer")


def _from_clip_of_relu(op: Builder, outer: ir.Node, x: ir.Value) -> Any:
    return _both(op, x, (0.0, inf), _bounds(outer, x))


def _from_relu_of_clip(op: Builder, inner: ir.Node, x: ir.Value) -> Any:
    return _both(op, x, _bounds(inner, x), (0.0, inf))


def _from_clip_of_clip(op: Builder, inner: ir.Node, outer: ir.Node, x: ir.Value) -> Any:
    return _both(op, x, _bounds(inner, x), _bounds(outer, x))


def _clip_at_infinity(op: PatternBuilder, x: Any) -> Any:
    return _clip(op, x, "clip")


def _is_relu(op: Builder, clip: ir.Node, x: ir.Value) -> Any:
    return op.Relu(x) if _bounds(clip, x) == (0.0, inf) and is_float(x) else None


def _both(op: Builder, x: ir.Value, first: tuple[float, float] | None, second: tuple[float, float] | None) -> Any:
    """x bounded twice."""
    if first is None or second is None:
        return Refuse("a bound is computed, or is no number")
    low, high = max(first[0], second[0]), min(first[1], second[1])
    if first[0] > first[1] or second[0] > second[1] or low > high:
        return Refuse("the bounds cross")
    return _bounded(op, x, low, high)


def _bounds(clip: ir.Node, x: ir.Value) -> tuple[float, float] | None:
    """The lower and the upper bound; one that is left out is the largest number of the type, not infinity."""
    if not is_float(x):
        return None
    found = []
    for i, (name, absent) in enumerate((("min", -_largest(x)), ("max", _largest(x)))):
        value = clip.inputs[i + 1] if len(clip.inputs) > i + 1 else None
        if value is None or not value.name:
            found.append(float(ir.attribute(clip, name, absent)))
            continue
        held = ir.const(value)
        if held is None or held.size != 1 or np.isnan(held).any():
            return None
        found.append(float(held.item()))
    return found[0], found[1]


def _largest(x: ir.Value) -> float:
    found: Any = ml_dtypes.finfo(x.dtype.numpy() if x.dtype is not None else np.float32)  # type: ignore[no-untyped-call]
    return float(found.max)


def _bounded(op: Builder, x: ir.Value, low: float | None, high: float | None) -> Any:
    if low is None or high is None:
        return Refuse("a bound is not one number")
    if not is_float(x) or x.dtype is None:
        return Refuse(f"'{x.name}' is {x.dtype}")
    least = None if low == -_largest(x) else low
    most = None if high == _largest(x) else high
    if op.opset < 11:
        return op.Clip(x, min=least, max=most) if op.opset >= 6 else Refuse(f"Clip of opset {op.opset} is another")
    kind = x.dtype.numpy()
    return op.Clip(x, *(None if bound is None else np.array(bound, kind) for bound in (least, most)))


RULES = (
    Rule("clip-min-of-max", _min_of_max, _from_min_of_max),
    Rule("clip-max-of-min", _max_of_min, _from_max_of_min),
    Rule("clip-min-of-relu", _min_of_relu, _from_min_of_relu),
    Rule("clip-of-relu", _clip_of_relu, _from_clip_of_relu),
    Rule("clip-relu-of", _relu_of_clip, _from_relu_of_clip),
    Rule("clip-of-clip", _clip_of_clip, _from_clip_of_clip),
    Rule("relu-max", _max, _relu),
    Rule("relu-clip", _clip_at_infinity, _is_relu),
)
