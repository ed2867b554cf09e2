"""Every spelling of hard swish becomes one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from optc.compiler import ir, shape_rules
from optc.compiler.contents import dims
from optc.compiler.numerics import Numerics
from optc.compiler.rewrite import Builder, PatternBuilder, Refuse, RewritePass, Rule

SIXTH = 1 / 6


@dataclass(frozen=True)
class FuseHardSwish(RewritePass):
    """x·Clip(x + 3, 0, 6)/6 in its usual orders -> x·HardSigmoid(x), and from opset 14 on HardSwish(x)."""

    name = "fuse-hard-swish"
    numerics = Numerics.REASSOCIATED

    def rules(self) -> Sequence[Rule]:
        spellings = {"product-divided": _product_divided, "gate-divided": _gate_divided, "product-scaled": _product_scaled}
        return (
            *(Rule(f"hard-swish-{name}", pattern, _gate) for name, pattern in spellings.items()),
            Rule("hard-swish", _gated, _hard_swish),
        )


def _clipped(op: PatternBuilder, x: Any) -> Any:
    return op.any_of(op.Clip(op.Add(x, 3.0), 0.0, 6.0), op.Clip(op.Add(x, 3.0), min=0.0, max=6.0))


def _product_divided(op: PatternBuilder, x: Any) -> Any:
    return op.Div(op.Mul(x, _clipped(op, x)), 6.0, name="last")


def _gate_divided(op: PatternBuilder, x: Any) -> Any:
    gate = _clipped(op, x)
    return op.Mul(x, op.any_of(op.Div(gate, 6.0), op.Mul(gate, SIXTH)), name="last")


def _product_scaled(op: PatternBuilder, x: Any) -> Any:
    return op.Mul(op.Mul(x, _clipped(op, x)), SIXTH, name="last")


def _gate(op: Builder, last: ir.Node, x: ir.Value) -> Any:
    if dims(x) is None or dims(x) != shape_rules.result(last):
        return Refuse("a constant in it may change the shape")
    return op.Mul(x, op.HardSigmoid(x, alpha=SIXTH, beta=0.5))


def _gated(op: PatternBuilder, x: Any) -> Any:
    return op.Mul(x, op.HardSigmoid(x, name="gate"), name="last")


def _hard_swish(op: Builder, gate: ir.Node, x: ir.Value) -> Any:
    alpha, beta = ir.attribute(gate, "alpha", 0.2), ir.attribute(gate, "beta", 0.5)
    if not np.isclose(alpha, SIXTH, rtol=1e-6) or beta != 0.5:
        return Refuse(f"its slope is {alpha:g} and its offset {beta:g}, not 1/6 and 1/2")
    if op.opset < 14:
        return Refuse(f"HardSwish is in opset 14, the model has {op.opset}")
    return op.HardSwish(x)
