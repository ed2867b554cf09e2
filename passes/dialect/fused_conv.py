"""Convolutions with the sum and the activation behind them, as onnxruntime's FusedConv."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optc.compiler import ir
from optc.compiler.contents import dims
from optc.compiler.numerics import Numerics
from optc.compiler.rewrite import Builder, PatternBuilder, Refuse, RewritePass, Rule
from optc.passes.dialect.activations import DOMAIN, FUSED, activated, parameters


@dataclass(frozen=True)
class OrtFusedConv(RewritePass):
    """activation(Conv(x, w, b)) -> com.microsoft.FusedConv(x, w, b), for Relu, Clip, LeakyRelu, Sigmoid, Tanh and HardSigmoid.

    With `sums` also activation(Conv(x, w, b) + z) -> FusedConv(x, w, b, z). float32 only.
    """

    sums: bool = False

    name = "ort-fused-conv"
    numerics = Numerics.REASSOCIATED

    def rules(self) -> Sequence[Rule]:
        behind = [Rule(f"fused-conv-{a.lower()}", _activation(a), _fused) for a in FUSED]
        added = [Rule(f"fused-conv-sum-{a.lower()}", _sum(a), _with_sum) for a in FUSED] if self.sums else []
        return (*behind, *added)


def _activation(op_type: str) -> Any:
    def pattern(op: PatternBuilder, x: Any, w: Any, b: Any | None) -> Any:
        return activated(op, op_type, op.Conv(x, w, b, name="conv"))

    return pattern


def _sum(op_type: str) -> Any:
    def pattern(op: PatternBuilder, x: Any, w: Any, b: Any | None, z: Any) -> Any:
        return activated(op, op_type, op.Add(op.Conv(x, w, b, name="conv"), z))

    return pattern


def _fused(op: Builder, conv: ir.Node, activation: ir.Node, x: ir.Value, w: ir.Value, b: ir.Value | None) -> Any:
    return _build(op, conv, activation, x, w, b, None)


def _with_sum(op: Builder, conv: ir.Node, activation: ir.Node, x: ir.Value, w: ir.Value, b: ir.Value | None, z: ir.Value) -> Any:
    shape = dims(z)
    if shape is None or shape != dims(conv.outputs[0]):
        return Refuse(f"'{z.name}' may be of another shape than the convolution")
    return _build(op, conv, activation, x, w, b, z)


def _build(op: Builder, conv: ir.Node, activation: ir.Node, *inputs: ir.Value | None) -> Any:
    x = inputs[0]
    if x is None or x.dtype != ir.DataType.FLOAT:
        return Refuse("onnxruntime fuses convolutions of float32 only")
    given = parameters(activation)
    if given is None:
        return Refuse("its bounds are not two numbers")
    made = op.domain(DOMAIN)
    return made.FusedConv(*inputs, activation=activation.op_type, activation_params=given or None, **conv.attributes)
