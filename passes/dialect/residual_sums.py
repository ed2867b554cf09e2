"""Residual sums before normalizations, so that onnxruntime leaves them there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from optc.compiler import ir
from optc.compiler.contents import dims
from optc.compiler.numerics import Numerics
from optc.compiler.rewrite import Builder, PatternBuilder, Refuse, RewritePass
from optc.passes.dialect.rms_norm import SIMPLIFIED

NORMS = ("LayerNormalization", SIMPLIFIED)


@dataclass(frozen=True)
class ResidualSums(RewritePass):
    """LayerNormalization(Add(x, skip), ..) -> LayerNormalization(Sum(x, skip), ..), of two values of one shape.

    It is the same sum. Of an Add onnxruntime makes one SkipLayerNormalization, whose CPU kernel takes longer than a sum and a
    LayerNormalization do (in 1.32 twice as long); it does so only where it knows both shapes, which after `optc opt` it does.
    """

    name = "residual-sums"
    numerics = Numerics.BITWISE

    def pattern(self, op: PatternBuilder, x: Any, skip: Any) -> Any:
        return op.Add(x, skip, name="add")

    def rewrite(self, op: Builder, add: ir.Node, x: ir.Value, skip: ir.Value) -> Any:
        (total,) = add.outputs
        if not any(user.op_type in NORMS and user.inputs[0] is total for user in ir.users(total)):
            return None
        if dims(x) is None or dims(x) != dims(skip):
            return Refuse("the two may be of different shapes")
        return op.Sum(x, skip)
