"""Convolutions with the sum and the activation behind them, as onnxruntime's FusedConv."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optc.compiler import ir, shape_rules
from optc.compiler.contents import dims
from optc.compiler.numerics import Numerics
from optc.compiler.rewrite import Builder, PatternBuilder, Refuse, RewritePass, Rule
from optc.passes.dialect.activations import DOMAIN, IN_CONV, activated, parameters

_BLOCKED = frozenset({"Conv", "FusedConv", "MaxPool", "AveragePool"})
"""What onnxruntime computes in blocks of channels; of a sum with anything else it would leave the convolution in plain layout."""


@dataclass(frozen=True)
class OrtFusedConv(RewritePass):
    """activation(Conv(x, w, b)) -> com.microsoft.FusedConv(x, w, b), for the activations that it has.

    They are Relu, Clip, LeakyRelu, Sigmoid, Tanh, HardSigmoid and HardSwish. With `sums` also Conv(x, w, b) + z becomes
    FusedConv(x, w, b, z), activated or not, where z is of the same shape and comes from a convolution or a pool. float32 only.
    """

    sums: bool = True

    name = "ort-fused-conv"
    numerics = Numerics.REASSOCIATED

    def rules(self) -> Sequence[Rule]:
        behind = [Rule(f"fused-conv-{a.lower()}", _activation(a), _fused) for a in IN_CONV]
        added = Rule("fused-conv-add", _sum, _with_sum)
        later = [Rule(f"fused-conv-sum-{a.lower()}", _activation_of_sum(a), _activated_sum) for a in IN_CONV]
        return (*behind, added, *later) if self.sums else behind


def _activation(op_type: str) -> Any:
    def pattern(op: PatternBuilder, x: Any, w: Any, b: Any | None) -> Any:
        return activated(op, op_type, op.Conv(x, w, b, name="conv"))

    return pattern


def _sum(op: PatternBuilder, x: Any, w: Any, b: Any | None, z: Any) -> Any:
    return op.Add(op.Conv(x, w, b, name="conv"), z)


def _activation_of_sum(op_type: str) -> Any:
    def pattern(op: PatternBuilder, x: Any, w: Any, b: Any | None, z: Any) -> Any:
        return activated(op, op_type, op.domain(DOMAIN).FusedConv(x, w, b, z, name="conv"))

    return pattern


def _fused(op: Builder, conv: ir.Node, activation: ir.Node) -> Any:
    return _build(op, conv, activation, *conv.inputs)


def _with_sum(op: Builder, conv: ir.Node, x: ir.Value, w: ir.Value, b: ir.Value | None, z: ir.Value) -> Any:
    shape, producer = dims(z), z.producer()
    if shape is None or shape != shape_rules.result(conv):
        return Refuse(f"'{z.name}' may be of another shape than the convolution")
    if producer is None or producer.op_type not in _BLOCKED:
        return Refuse(f"'{z.name}' does not come from a convolution or a pool")
    return _build(op, conv, None, x, w, b, z)


def _activated_sum(op: Builder, conv: ir.Node, activation: ir.Node) -> Any:
    if "activation" in conv.attributes:
        return Refuse("it has an activation already")
    return _build(op, conv, activation, *conv.inputs)


def _build(op: Builder, conv: ir.Node, activation: ir.Node | None, *inputs: ir.Value | None) -> Any:
    if inputs[0] is None or inputs[0].dtype != ir.DataType.FLOAT:
        return Refuse("onnxruntime fuses convolutions of float32 only")
    given: dict[str, Any] = {}
    if activation is not None:
        numbers = parameters(activation)
        if numbers is None:
            return Refuse("its bounds are not two numbers")
        given = {"activation": activation.op_type, "activation_params": numbers or None}
    return op.domain(DOMAIN).FusedConv(*inputs, **given, **conv.attributes)
