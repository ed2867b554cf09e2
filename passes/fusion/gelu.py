"""Every spelling of Gelu becomes one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi, sqrt
from typing import Any

from optc.compiler import ir, shape_rules
from optc.compiler.contents import dims
from optc.compiler.contrib.common import gelu
from optc.compiler.numerics import Numerics
from optc.compiler.rewrite import Builder, PatternBuilder, Refuse, RewritePass, Rule


@dataclass(frozen=True)
class FuseGelu(RewritePass):
    """x·½·(1 + erf(x/√2)), or with tanh(√(2/π)·(x + 0.044715·x³)) for erf, in every order -> Gelu(x).

    Standard Gelu from opset 20 on, before that `optc.Gelu` or `optc.GeluTanh` (float32).
    """

    name = "fuse-gelu"
    numerics = Numerics.REASSOCIATED

    def rules(self) -> Sequence[Rule]:
        return tuple(
            Rule(
                f"gelu-{gate.__name__[1:]}-{order.__name__[1:].replace('_', '-')}", _pattern(gate, order), _rewrite(gate is _tanh)
            )
            for gate in (_erf, _tanh)
            for order in (_half_last, _half_first, _half_gate, _divided)
        )


def _erf(op: PatternBuilder, x: Any) -> Any:
    return op.Erf(op.any_of(op.Div(x, sqrt(2)), op.Mul(x, sqrt(0.5))))


def _tanh(op: PatternBuilder, x: Any) -> Any:
    """tanh(√(2/π)·(x + 0.044715·x³)), the cube as a power or as products, or x factored out."""
    cube = op.any_of(op.Pow(x, 3.0), op.Mul(op.Mul(x, x), x))
    scaled = op.any_of(
        op.Mul(cube, 0.044715), op.Mul(op.Mul(op.Mul(x, 0.044715), x), x), op.Mul(op.Mul(op.Mul(x, x), 0.044715), x)
    )
    factored = op.Add(op.any_of(op.Mul(op.Mul(x, 0.044715), x), op.Mul(op.Mul(x, x), 0.044715)), 1.0)
    return op.Tanh(
        op.any_of(
            op.Mul(op.Add(x, scaled), sqrt(2 / pi)),
            op.Mul(op.Mul(x, sqrt(2 / pi)), factored),
            op.Mul(op.Mul(x, factored), sqrt(2 / pi)),
        )
    )


def _half_last(op: PatternBuilder, x: Any, gate: Any) -> Any:
    return op.Mul(op.Mul(x, gate), 0.5, name="last")


def _half_first(op: PatternBuilder, x: Any, gate: Any) -> Any:
    return op.Mul(op.any_of(op.Mul(x, 0.5), op.Div(x, 2.0)), gate, name="last")


def _half_gate(op: PatternBuilder, x: Any, gate: Any) -> Any:
    return op.Mul(x, op.any_of(op.Mul(gate, 0.5), op.Div(gate, 2.0)), name="last")


def _divided(op: PatternBuilder, x: Any, gate: Any) -> Any:
    return op.Div(op.Mul(x, gate), 2.0, name="last")


def _pattern(gate: Any, order: Any) -> Any:
    def pattern(op: PatternBuilder, x: Any) -> Any:
        return order(op, x, op.Add(gate(op, x), 1.0))

    return pattern


def _rewrite(tanh: bool) -> Any:
    def rewrite(op: Builder, last: ir.Node, x: ir.Value) -> Any:
        if dims(x) is None or dims(x) != shape_rules.result(last):
            return Refuse("a constant in it may change the shape")
        return gelu(op, x, tanh)

    return rewrite
