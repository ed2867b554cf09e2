"""Matrix products with the activation behind them, as onnxruntime's FusedGemm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optc.compiler import ir
from optc.compiler.numerics import Numerics
from optc.compiler.rewrite import Builder, PatternBuilder, Refuse, RewritePass, Rule
from optc.passes.dialect.activations import DOMAIN, IN_GEMM, PARAMETERS, activated, parameters


@dataclass(frozen=True)
class OrtFusedGemm(RewritePass):
    """activation(Gemm(a, b, c)) -> com.microsoft.FusedGemm(a, b, c), for the activations that it has.

    They are Relu, LeakyRelu, Sigmoid, Tanh, HardSigmoid, Elu, Celu, Softplus and Softsign; float32 only.
    """

    name = "ort-fused-gemm"
    numerics = Numerics.REASSOCIATED

    def rules(self) -> Sequence[Rule]:
        return tuple(Rule(f"fused-gemm-{a.lower()}", _activation(a), _fused) for a in IN_GEMM)


def _activation(op_type: str) -> Any:
    def pattern(op: PatternBuilder, a: Any, b: Any, c: Any | None) -> Any:
        return activated(op, op_type, op.Gemm(a, b, c, name="gemm"))

    return pattern


def _fused(op: Builder, gemm: ir.Node, activation: ir.Node, a: ir.Value, b: ir.Value, c: ir.Value | None) -> Any:
    if a.dtype != ir.DataType.FLOAT:
        return Refuse("onnxruntime fuses products of float32 only")
    names = (f"activation_{name}" for name in PARAMETERS.get(activation.op_type, ()))
    given = dict(zip(names, parameters(activation) or (), strict=True))
    return op.domain(DOMAIN).FusedGemm(a, b, c, activation=activation.op_type, **given, **gemm.attributes)
