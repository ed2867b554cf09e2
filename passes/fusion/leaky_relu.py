"""Every spelling of a rectifier with a slope becomes LeakyRelu or PRelu."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from optc.compiler import ir, shape_rules
from optc.compiler.contents import dims
from optc.compiler.numerics import Numerics
from optc.compiler.rewrite import Builder, Const, PatternBuilder, Refuse, RewritePass, Rule
from optc.passes.fusion.scalars import activates, same_shape, scalar


@dataclass(frozen=True)
class FuseLeakyRelu(RewritePass):
    """Max(x, α·x), 0 < α < 1, and Where(x > 0, x, α·x) -> LeakyRelu(x); Relu(x) + α·Relu(-x) -> PRelu(x, -α).

    α is a constant; of more than one number, as of one for each channel, PRelu has it.
    """

    name = "fuse-leaky-relu"
    numerics = Numerics.REASSOCIATED

    def rules(self) -> Sequence[Rule]:
        return RULES


def _maximum(op: PatternBuilder, x: Any, slope: Const) -> Any:
    return op.Max(x, op.Mul(x, slope))


def _from_maximum(op: Builder, x: ir.Value, slope: Const) -> Any:
    alpha = scalar(slope, x)
    if not activates(x):
        return Refuse(f"'{x.name}' is {x.dtype}")
    if alpha is None or not 0 < alpha < 1:
        return Refuse("its slope is not one number between 0 and 1")
    return op.LeakyRelu(x, alpha=alpha)


def _chosen(op: PatternBuilder, x: Any, slope: Const) -> Any:
    positive = op.any_of(op.Greater(x, 0.0), op.GreaterOrEqual(x, 0.0), op.Less(0.0, x), op.LessOrEqual(0.0, x))
    return op.Where(positive, x, op.Mul(x, slope), name="last")


def _chosen_negative(op: PatternBuilder, x: Any, slope: Const) -> Any:
    negative = op.any_of(op.Less(x, 0.0), op.LessOrEqual(x, 0.0), op.Greater(0.0, x), op.GreaterOrEqual(0.0, x))
    return op.Where(negative, op.Mul(x, slope), x, name="last")


def _from_choice(op: Builder, last: ir.Node, x: ir.Value, slope: Const) -> Any:
    return _sloped(op, last, x, slope)


def _difference(op: PatternBuilder, x: Any, slope: Const) -> Any:
    return op.Sub(op.Relu(x), op.Mul(op.Relu(op.any_of(op.Neg(x), op.Mul(x, -1.0))), slope), name="last")


def _sum(op: PatternBuilder, x: Any, slope: Const) -> Any:
    """As Keras writes it, with the negative slope."""
    return op.Add(op.Relu(x), op.Mul(op.Relu(op.any_of(op.Neg(x), op.Mul(x, -1.0))), slope), name="last")


def _from_sum(op: Builder, last: ir.Node, x: ir.Value, slope: Const) -> Any:
    return _sloped(op, last, x, np.negative(slope))


def _sloped(op: Builder, last: ir.Node, x: ir.Value, slope: ir.Array) -> Any:
    if not activates(x) or not same_shape(x, last):
        return Refuse(f"'{x.name}' is {x.dtype}, or a constant in it may change the shape")
    if not np.isfinite(slope).all():
        return Refuse("its slope is not finite")
    alpha = scalar(slope, x)
    if alpha is not None:
        return op.LeakyRelu(x, alpha=alpha) if op.opset >= 6 else Refuse(f"LeakyRelu of opset {op.opset} is another")
    shape = dims(x)
    if op.opset < 9 or shape is None or shape_rules.broadcast_dims([shape, slope.shape]) != shape:
        return Refuse("its slopes do not broadcast to it")
    return op.PRelu(x, slope)


RULES = (
    Rule("leaky-relu-maximum", _maximum, _from_maximum),
    Rule("leaky-relu-chosen", _chosen, _from_choice),
    Rule("leaky-relu-chosen-negative", _chosen_negative, _from_choice),
    Rule("prelu-difference", _difference, _from_choice),
    Rule("prelu-sum", _sum, _from_sum),
)
