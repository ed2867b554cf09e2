"""Every spelling of Softmax and LogSoftmax becomes one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optc.compiler import ir
from optc.compiler.numerics import Numerics
from optc.compiler.pattern import Var
from optc.compiler.rewrite import Builder, PatternBuilder, Refuse, RewritePass, Rule
from optc.passes.fusion.moments import reduced_axes
from optc.passes.fusion.scalars import is_float, same_shape


@dataclass(frozen=True)
class FuseSoftmax(RewritePass):
    """exp(x - max x) / Σ exp(x - max x) -> Softmax(x), x - max x - log Σ exp(x - max x) -> LogSoftmax(x), along one axis.

    Without the maximum it stays: there exp overflows where Softmax does not. So does the logarithm of a Softmax: where that is 0
    it is infinite, and LogSoftmax is not.
    """

    name = "fuse-softmax"
    numerics = Numerics.REASSOCIATED

    def rules(self) -> Sequence[Rule]:
        return RULES


def _shifted(op: PatternBuilder, x: Any) -> Any:
    return op.Sub(x, op.ReduceMax(x, Var("max_axes", optional=True), keepdims=1, name="maximum"))


def _sum(op: PatternBuilder, x: Any) -> Any:
    return op.ReduceSum(x, Var("sum_axes", optional=True), keepdims=1, name="sum")


def _divided(op: PatternBuilder, x: Any) -> Any:
    exponents = op.Exp(_shifted(op, x))
    return op.Div(exponents, _sum(op, exponents), name="last")


def _multiplied(op: PatternBuilder, x: Any) -> Any:
    exponents = op.Exp(_shifted(op, x))
    return op.Mul(exponents, op.Reciprocal(_sum(op, exponents)), name="last")


def _logarithm(op: PatternBuilder, x: Any) -> Any:
    shifted = _shifted(op, x)
    return op.Sub(shifted, op.Log(_sum(op, op.Exp(shifted))), name="last")


def _to(op_type: str) -> Any:
    def rewrite(op: Builder, maximum: ir.Node, sum: ir.Node, last: ir.Node, x: ir.Value) -> Any:
        axes = reduced_axes(maximum)
        if axes is None or len(axes) != 1 or reduced_axes(sum) != axes:
            return Refuse("its maximum and its sum are not along one and the same axis")
        if not is_float(x) or not same_shape(x, last) or x.shape is None:
            return Refuse("its shape is not known")
        if op.opset < 13 and axes[0] != len(x.shape) - 1:
            return Refuse(f"{op_type} of opset {op.opset} is over all axes from one on")
        return getattr(op, op_type)(x, axis=axes[0])

    return rewrite


RULES = (
    Rule("softmax-divided", _divided, _to("Softmax")),
    Rule("softmax-multiplied", _multiplied, _to("Softmax")),
    Rule("log-softmax", _logarithm, _to("LogSoftmax")),
)
