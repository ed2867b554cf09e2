"""Every spelling of Mish becomes one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from optc.compiler import ir
from optc.compiler.numerics import Numerics
from optc.compiler.rewrite import Builder, PatternBuilder, Refuse, RewritePass
from optc.passes.fusion.scalars import activates, same_shape

OPSET = 18


@dataclass(frozen=True)
class FuseMish(RewritePass):
    """x·tanh(Softplus(x)), also with log(1 + exp(x)) for Softplus -> Mish(x), from opset 18 on.

    log(1 + exp(x)) alone stays: where exp(x) overflows it is infinite, and Softplus is not; its tanh is 1 in both cases.
    """

    name = "fuse-mish"
    numerics = Numerics.REASSOCIATED

    def pattern(self, op: PatternBuilder, x: Any) -> Any:
        return op.Mul(x, op.Tanh(op.any_of(op.Softplus(x), op.Log(op.Add(op.Exp(x), 1.0)))), name="last")

    def rewrite(self, op: Builder, last: ir.Node, x: ir.Value) -> Any:
        if op.opset < OPSET:
            return Refuse(f"Mish is in opset {OPSET}, the model has {op.opset}: put convert-opset before")
        if not activates(x) or not same_shape(x, last):
            return Refuse(f"'{x.name}' is {x.dtype}, or a constant in it may change the shape")
        return op.Mish(x)
