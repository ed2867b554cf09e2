"""Root mean square normalization before opset 23, as onnxruntime's SimplifiedLayerNormalization."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optc.compiler import ir
from optc.compiler.numerics import Numerics
from optc.compiler.rewrite import Builder, Const, Refuse, RewritePass, Rule
from optc.passes.fusion.norm_weights import weight_rule
from optc.passes.fusion.rms_norm import OPSET, divided, multiplied, normalized, weight_inside

SIMPLIFIED = "SimplifiedLayerNormalization"


@dataclass(frozen=True)
class OrtRmsNorm(RewritePass):
    """x / √(mean(x²) + ε) · γ over the last axis -> SimplifiedLayerNormalization(x, γ).

    onnxruntime has it in the standard domain. Only before opset 23, which has RMSNormalization. float32.
    """

    name = "ort-rms-norm"
    numerics = Numerics.REASSOCIATED

    def rules(self) -> Sequence[Rule]:
        return RULES


def _simplified(op: Builder, last: ir.Node, mean: ir.Node, x: ir.Value, epsilon: Const) -> Any:
    if op.opset >= OPSET:
        return Refuse(f"opset {op.opset} has RMSNormalization: fuse-rms-norm takes it")
    if x.dtype != ir.DataType.FLOAT:
        return Refuse(f"only float32, '{x.name}' is {x.dtype}")
    producer = x.producer()
    if producer is not None and ir.standard(producer, "Sub"):
        return Refuse(f"'{x.name}' is a difference: onnxruntime makes a LayerNormalization of it")
    return normalized(op, SIMPLIFIED, last, mean, x, epsilon)


RULES = (
    Rule("simplified-divided", divided, _simplified),
    Rule("simplified-multiplied", multiplied, _simplified),
    Rule("simplified-weight-inside", weight_inside, _simplified),
    weight_rule(SIMPLIFIED, "simplified"),
)
