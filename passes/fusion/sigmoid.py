"""Every spelling of the logistic function becomes one, also where it gates its own operand.

x·Sigmoid(x) stays: Swish is in opset 24, where onnxruntime 1.32 has no kernel for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optc.compiler import ir
from optc.compiler.numerics import Numerics
from optc.compiler.rewrite import Builder, PatternBuilder, Refuse, RewritePass, Rule
from optc.passes.fusion.scalars import is_float, same_shape


@dataclass(frozen=True)
class FuseSigmoid(RewritePass):
    """1 / (1 + exp(-x)) -> Sigmoid(x), and x / (1 + exp(-x)) -> x·Sigmoid(x). Where exp(-x) overflows both are 0."""

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


RULES = (
    Rule("sigmoid-divided", _divided, _sigmoid),
    Rule("sigmoid-reciprocal", _reciprocal, _sigmoid),
    Rule("swish-divided", _gated_by_division, _product),
)
