"""Every spelling of hard swish and hard sigmoid becomes one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from optc.compiler import ir
from optc.compiler.numerics import Numerics
from optc.compiler.rewrite import Builder, Const, PatternBuilder, Refuse, RewritePass, Rule
from optc.passes.fusion.scalars import activates, same_shape, scalar

SIXTH = 1 / 6


@dataclass(frozen=True)
class FuseHardSwish(RewritePass):
    """x·Clip(x + 3, 0, 6)/6 in its usual orders -> x·HardSigmoid(x), and from opset 14 on HardSwish(x).

    Also the gate alone, Clip(x + 3, 0, 6)/6 or Clip(αx + β, 0, 1) -> HardSigmoid(x).
    """

    name = "fuse-hard-swish"
    numerics = Numerics.REASSOCIATED

    def rules(self) -> Sequence[Rule]:
        return (
            Rule("hard-swish-product-divided", _product_divided, _gate),
            Rule("hard-swish-product-scaled", _product_scaled, _gate),
            Rule("hard-sigmoid-divided", _divided, _hard_sigmoid),
            Rule("hard-sigmoid-scaled", _scaled, _hard_sigmoid),
            Rule("hard-sigmoid-clipped", _clipped_line, _hard_sigmoid_line),
            Rule("hard-swish", _gated, _hard_swish),
        )


def _clipped(op: PatternBuilder, x: Any) -> Any:
    return op.any_of(op.Clip(op.Add(x, 3.0), 0.0, 6.0), op.Clip(op.Add(x, 3.0), min=0.0, max=6.0))


def _product_divided(op: PatternBuilder, x: Any) -> Any:
    return op.Div(op.Mul(x, _clipped(op, x)), 6.0, name="last")


def _product_scaled(op: PatternBuilder, x: Any) -> Any:
    return op.Mul(op.Mul(x, _clipped(op, x)), SIXTH, name="last")


def _gate(op: Builder, last: ir.Node, x: ir.Value) -> Any:
    if not same_shape(x, last) or not activates(x):
        return Refuse(f"'{x.name}' is {x.dtype}, or a constant in it may change the shape")
    return op.Mul(x, op.HardSigmoid(x, alpha=SIXTH, beta=0.5))


def _divided(op: PatternBuilder, x: Any) -> Any:
    return op.Div(_clipped(op, x), 6.0, name="last")


def _scaled(op: PatternBuilder, x: Any) -> Any:
    return op.Mul(_clipped(op, x), SIXTH, name="last")


def _hard_sigmoid(op: Builder, last: ir.Node, x: ir.Value) -> Any:
    if not same_shape(x, last) or not activates(x):
        return Refuse(f"'{x.name}' is {x.dtype}, or a constant in it may change the shape")
    return op.HardSigmoid(x, alpha=SIXTH, beta=0.5)


def _clipped_line(op: PatternBuilder, x: Any, slope: Const, offset: Const) -> Any:
    line = op.Add(op.any_of(op.Mul(x, slope), op.Div(x, slope, name="division")), offset, name="line")
    return op.Clip(line, 0.0, 1.0, name="last")


def _hard_sigmoid_line(op: Builder, line: ir.Node, x: ir.Value, slope: Const, offset: Const) -> Any:
    alpha, beta = scalar(slope, x), scalar(offset, x)
    if alpha is None or beta is None or not np.isfinite([alpha, beta]).all() or alpha == 0:
        return Refuse("its slope and its offset are not two numbers")
    if not activates(x):
        return Refuse(f"'{x.name}' is {x.dtype}")
    return op.HardSigmoid(x, alpha=1 / alpha if "division" in op.match.named else alpha, beta=beta)


def _gated(op: PatternBuilder, x: Any) -> Any:
    return op.Mul(x, op.HardSigmoid(x, name="gate"), name="last")


def _hard_swish(op: Builder, gate: ir.Node, x: ir.Value) -> Any:
    alpha, beta = ir.attribute(gate, "alpha", 0.2), ir.attribute(gate, "beta", 0.5)
    if not np.isclose(alpha, SIXTH, rtol=1e-6) or beta != 0.5:
        return Refuse(f"its slope is {alpha:g} and its offset {beta:g}, not 1/6 and 1/2")
    if op.opset < 14:
        return Refuse(f"HardSwish is in opset 14, the model has {op.opset}")
    return op.HardSwish(x)
