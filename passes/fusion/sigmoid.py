"""Every spelling of the logistic function becomes one, and what it gates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optc.compiler import ir
from optc.compiler.numerics import Numerics
from optc.compiler.rewrite import Builder, Const, PatternBuilder, Refuse, RewritePass, Rule
from optc.passes.fusion.scalars import is_float, same_shape, scalar

OPSET = 24


@dataclass(frozen=True)
class FuseSigmoid(RewritePass):
    """1 / (1 + exp(-x)) -> Sigmoid(x), x / (1 + exp(-x)) -> x·Sigmoid(x), and from opset 24 on x·Sigmoid(α·x) -> Swish(x).

    α is a number, or missing. Where exp(-x) overflows both are 0.
    """

    name = "fuse-sigmoid"
    numerics = Numerics.REASSOCIATED

    def rules(self) -> Sequence[Rule]:
        return RULES


def _denominator(op: PatternBuilder, x: Any) -> Any:
    return op.Add(op.Exp(op.any_of(op.Neg(x), op.Mul(x, -1.0))), 1.0, name="sum")


def _divided(op: PatternBuilder, x: Any) -> Any:
    return op.Div(1.0, _denominator(op, x), name="last")


def _reciprocal(op: PatternBuilder, x: Any) -> Any:
    return op.Reciprocal(_denominator(op, x))


def _sigmoid(op: Builder, sum: ir.Node, x: ir.Value) -> Any:
    last = op.match.named.get("last", sum)
    if not is_float(x) or not same_shape(x, last):
        return Refuse("a constant in it may change the shape")
    return op.Sigmoid(x)


def _gated_by_division(op: PatternBuilder, x: Any) -> Any:
    return op.Div(x, _denominator(op, x), name="last")


def _product(op: Builder, last: ir.Node, x: ir.Value) -> Any:
    if not is_float(x) or not same_shape(x, last):
        return Refuse("a constant in it may change the shape")
    return op.Mul(x, op.Sigmoid(x))


def _gated(op: PatternBuilder, x: Any) -> Any:
    return op.Mul(x, op.Sigmoid(x))


def _swish(op: Builder, x: ir.Value) -> Any:
    return _old(op) or op.Swish(x)


def _gated_by_multiple(op: PatternBuilder, x: Any, alpha: Const) -> Any:
    return op.Mul(x, op.Sigmoid(op.Mul(x, alpha)))


def _swish_of_multiple(op: Builder, x: ir.Value, alpha: Const) -> Any:
    factor = scalar(alpha, x)
    if factor is None:
        return Refuse("its factor is not one number")
    return _old(op) or op.Swish(x, alpha=factor)


def _old(op: Builder) -> Refuse | None:
    return Refuse(f"Swish is in opset {OPSET}, the model has {op.opset}: put convert-opset before") if op.opset < OPSET else None


RULES = (
    Rule("sigmoid-divided", _divided, _sigmoid),
    Rule("sigmoid-reciprocal", _reciprocal, _sigmoid),
    Rule("swish-divided", _gated_by_division, _product),
    Rule("swish", _gated, _swish),
    Rule("swish-scaled", _gated_by_multiple, _swish_of_multiple),
)
