"""Every spelling of root mean square normalization becomes one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optc.compiler import ir
from optc.compiler.numerics import Numerics
from optc.compiler.rewrite import Builder, Const, PatternBuilder, Refuse, RewritePass, Rule
from optc.passes.fusion.moments import inverse_root, mean, ones, root, square, statistics, trailing
from optc.passes.fusion.norm_weights import cast_rule, shared_rule, weight_rule

OPSET = 23


@dataclass(frozen=True)
class FuseRmsNorm(RewritePass):
    """x / √(mean(x²) + ε) · γ over the last axes, in every order -> RMSNormalization(x, γ).

    As LLaMA, T5 and their like write it, with the casts around it in half precision; γ may be missing. Needs opset 23 and known
    extents of the axes. A bound under the norm, x / max(‖x‖, ε), is another function and stays.
    """

    name = "fuse-rms-norm"
    numerics = Numerics.REASSOCIATED

    def rules(self) -> Sequence[Rule]:
        return RULES


def mean_square(op: PatternBuilder, x: Any, epsilon: Any) -> Any:
    """E[x²] + ε."""
    return op.Add(mean(op, square(op, x), "mean"), epsilon)


def divided(op: PatternBuilder, x: Any, weight: Any, epsilon: Const) -> Any:
    return op.Div(op.any_of(x, op.Mul(x, weight)), root(op, mean_square(op, x, epsilon)), name="last")


def multiplied(op: PatternBuilder, x: Any, weight: Any, epsilon: Const) -> Any:
    return op.Mul(op.any_of(x, op.Mul(x, weight)), inverse_root(op, mean_square(op, x, epsilon)), name="last")


def weight_inside(op: PatternBuilder, x: Any, weight: Any, epsilon: Const) -> Any:
    return op.Mul(x, op.Mul(inverse_root(op, mean_square(op, x, epsilon)), weight), name="last")


def _to_rms_norm(op: Builder, last: ir.Node, mean: ir.Node, x: ir.Value, epsilon: Const) -> Any:
    if op.opset < OPSET:
        return Refuse(f"RMSNormalization is in opset {OPSET}, the model has {op.opset}: put convert-opset before")
    return normalized(op, "RMSNormalization", last, mean, x, epsilon)


def normalized(op: Builder, op_type: str, last: ir.Node, mean: ir.Node, x: ir.Value, epsilon: ir.Array) -> Any:
    """The operator with a weight that changes nothing, times the weight that the pattern bound, if it did."""
    axes = statistics(last, x, epsilon, mean)
    if isinstance(axes, Refuse):
        return axes
    extents = trailing(axes, x)
    if isinstance(extents, Refuse):
        return extents
    y = getattr(op, op_type)(x, ones(x, extents), axis=-len(axes), epsilon=float(epsilon.item()))
    weight = op.match.values.get("weight")
    return y if weight is None else op.Mul(y, weight)


RULES = (
    Rule("rms-norm-divided", divided, _to_rms_norm),
    Rule("rms-norm-multiplied", multiplied, _to_rms_norm),
    Rule("rms-norm-weight-inside", weight_inside, _to_rms_norm),
    weight_rule("RMSNormalization", "rms-norm"),
    shared_rule("RMSNormalization", "rms-norm"),
    cast_rule("RMSNormalization", "rms-norm"),
)
