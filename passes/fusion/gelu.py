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
        orders = (_half_last, _half_first, _half_gate, _divided)
        found = []
        for gate in (_erf, _tanh):
            name, rewrite = f"gelu-{gate.__name__[1:]}", _rewrite(gate is _tanh)
            found += [Rule(f"{name}-{o.__name__[1:].replace('_', '-')}", _pattern(gate, o), rewrite) for o in orders]
            found.append(Rule(f"{name}-halves", _halves(gate), rewrite))
        return tuple(found)


def _erf(op: PatternBuilder, x: Any) -> Any:
    return op.Erf(_over_root_two(op, x, 1))


def _over_root_two(op: PatternBuilder, x: Any, sign: int) -> Any:
    """±x/√2, the root as exact as single precision or as people type it."""
    roots, inverses = (sign * sqrt(2), sign * 1.4142), (sign * sqrt(0.5), sign * 0.7071)
    return op.any_of(*(op.Div(x, r) for r in roots), *(op.Mul(x, r) for r in inverses))


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
        sums = [op.Add(gate(op, x), 1.0)]
        if gate is _erf:  # as a complement
            sums.append(op.Sub(1.0, op.Erf(_over_root_two(op, x, -1))))
        return order(op, x, op.any_of(*sums))

    return pattern


def _halves(gate: Any) -> Any:
    """x·(½ + ½·erf(x/√2))."""

    def pattern(op: PatternBuilder, x: Any) -> Any:
        half = op.any_of(op.Mul(gate(op, x), 0.5), op.Div(gate(op, x), 2.0))
        return op.Mul(x, op.Add(half, 0.5), name="last")

    return pattern


def _rewrite(tanh: bool) -> Any:
    def rewrite(op: Builder, last: ir.Node, x: ir.Value) -> Any:
        if dims(x) is None or dims(x) != shape_rules.result(last):
            return Refuse("a constant in it may change the shape")
        return gelu(op, x, tanh)

    return rewrite
