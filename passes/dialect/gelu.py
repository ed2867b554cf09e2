"""Gelu in the words of onnxruntime: Gelu, BiasGelu, FastGelu and QuickGelu."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optc.compiler import ir
from optc.compiler.contents import dims
from optc.compiler.numerics import Numerics
from optc.compiler.rewrite import Builder, Const, PatternBuilder, Refuse, RewritePass, Rule
from optc.passes.dialect.activations import DOMAIN


@dataclass(frozen=True)
class OrtGelu(RewritePass):
    """Gelu(x) -> com.microsoft.Gelu or FastGelu, Gelu(x + b) -> BiasGelu or FastGelu(x, b), x·Sigmoid(α·x) -> QuickGelu(x).

    float32 only.
    """

    name = "ort-gelu"
    numerics = Numerics.REASSOCIATED

    def rules(self) -> Sequence[Rule]:
        return RULES


def _standard(approximate: str) -> Any:
    def pattern(op: PatternBuilder, x: Any) -> Any:
        return op.Gelu(x, approximate=approximate)

    return pattern


def _own(op_type: str) -> Any:
    def pattern(op: PatternBuilder, x: Any) -> Any:
        return getattr(op.domain(ir.DOMAIN), op_type)(x)

    return pattern


def _erf(op: Builder, x: ir.Value) -> Any:
    return _only_floats(x) or op.domain(DOMAIN).Gelu(x)


def _fast(op: Builder, x: ir.Value) -> Any:
    if not dims(x):
        return Refuse(f"'{x.name}' may be a scalar, which onnxruntime's FastGelu refuses")
    return _only_floats(x) or op.domain(DOMAIN).FastGelu(x)


def _biased(op_type: str) -> Any:
    def pattern(op: PatternBuilder, x: Any, b: Any) -> Any:
        return getattr(op.domain(DOMAIN), op_type)(op.Add(x, b))

    return pattern


def _with_bias(op_type: str) -> Any:
    def rewrite(op: Builder, x: ir.Value, b: ir.Value) -> Any:
        shape, bias = dims(x), dims(b)
        if shape is None or bias is None or len(shape) < 2 or len(bias) != 1 or bias != shape[-1:]:
            return Refuse(f"'{b.name}' is not one value for each of the last axis")
        return _only_floats(x) or getattr(op.domain(DOMAIN), op_type)(x, b)

    return rewrite


def _sigmoid(op: PatternBuilder, x: Any) -> Any:
    return op.Mul(x, op.Sigmoid(x))


def _scaled_sigmoid(op: PatternBuilder, x: Any, alpha: Const) -> Any:
    return op.Mul(x, op.Sigmoid(op.Mul(x, alpha)))


def _swish(op: PatternBuilder, x: Any) -> Any:
    return op.Swish(x, name="swish")


def _quick(op: Builder, x: ir.Value) -> Any:
    return _only_floats(x) or op.domain(DOMAIN).QuickGelu(x, alpha=1.0)


def _quick_scaled(op: Builder, x: ir.Value, alpha: Const) -> Any:
    if alpha.size != 1 or x.shape is None or alpha.ndim > len(x.shape):
        return Refuse("its factor is not one number")
    return _only_floats(x) or op.domain(DOMAIN).QuickGelu(x, alpha=float(alpha.item()))


def _quick_swish(op: Builder, swish: ir.Node, x: ir.Value) -> Any:
    return _only_floats(x) or op.domain(DOMAIN).QuickGelu(x, alpha=float(ir.attribute(swish, "alpha", 1.0)))


def _only_floats(x: ir.Value) -> Refuse | None:
    return None if x.dtype == ir.DataType.FLOAT else Refuse(f"onnxruntime has it for float32 only, '{x.name}' is {x.dtype}")


RULES = (
    Rule("gelu", _standard("none"), _erf),
    Rule("gelu-tanh", _standard("tanh"), _fast),
    Rule("own-gelu", _own("Gelu"), _erf),
    Rule("own-gelu-tanh", _own("GeluTanh"), _fast),
    Rule("bias-gelu", _biased("Gelu"), _with_bias("BiasGelu")),
    Rule("bias-gelu-tanh", _biased("FastGelu"), _with_bias("FastGelu")),
    Rule("quick-gelu", _sigmoid, _quick),
    Rule("quick-gelu-scaled", _scaled_sigmoid, _quick_scaled),
    Rule("quick-gelu-swish", _swish, _quick_swish),
)
