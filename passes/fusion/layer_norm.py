"""Every spelling of layer normalization becomes one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optc.compiler import ir
from optc.compiler.numerics import Numerics
from optc.compiler.rewrite import Builder, Const, PatternBuilder, Refuse, RewritePass, Rule
from optc.passes.fusion.keras_layer_norm import KERAS
from optc.passes.fusion.layer_norm_over import TRANSPOSED, inverse, moved_last
from optc.passes.fusion.moments import FLOATS, extents_of, inverse_root, mean, ones, root, statistics, variance
from optc.passes.fusion.norm_weights import bias_rule, cast_rule, shared_rule, weight_rule

OPSET = 17


@dataclass(frozen=True)
class FuseLayerNorm(RewritePass):
    """(x - mean(x)) / √(variance(x) + ε) · γ + β, in every order -> LayerNormalization(x, γ, β), over other axes transposed.

    The roots, squares and means may be spelled in any way, γ may stand before, inside or behind the division, γ and β may be
    missing; in half precision the casts around it go too. What is multiplied or added afterwards becomes γ and β only where it
    is one value for each normalized element. So does Keras' way, as a batch normalization. Needs opset 17 and known extents.
    """

    name = "fuse-layer-norm"
    numerics = Numerics.REASSOCIATED

    def rules(self) -> Sequence[Rule]:
        return RULES


def _centred(op: PatternBuilder, x: Any) -> tuple[Any, Any, Any]:
    """x - E[x], maybe in another precision; the mean; and the variance plus epsilon."""
    average = mean(op, x, "mean")
    difference = op.Sub(x, average)
    centred = op.any_of(difference, op.Cast(difference, name="raised"))
    return centred, average, variance(op, x, centred, average)


def _divided(op: PatternBuilder, x: Any, weight: Any, epsilon: Const) -> Any:
    centred, _, spread_of = _centred(op, x)
    return op.Div(op.any_of(centred, op.Mul(centred, weight)), root(op, op.Add(spread_of, epsilon)), name="last")


def _multiplied(op: PatternBuilder, x: Any, weight: Any, epsilon: Const) -> Any:
    centred, _, spread_of = _centred(op, x)
    return op.Mul(op.any_of(centred, op.Mul(centred, weight)), inverse_root(op, op.Add(spread_of, epsilon)), name="last")


def _weight_inside(op: PatternBuilder, x: Any, weight: Any, epsilon: Const) -> Any:
    """As JAX computes it."""
    centred, _, spread_of = _centred(op, x)
    return op.Mul(centred, op.Mul(inverse_root(op, op.Add(spread_of, epsilon)), weight), name="last")


def _folded(op: PatternBuilder, x: Any, weight: Any, bias: Any, epsilon: Const) -> Any:
    """x·s + (β - E[x]·s), s = γ / √..., as TensorFlow's batch_normalization computes it."""
    _, average, spread_of = _centred(op, x)
    inverse = inverse_root(op, op.Add(spread_of, epsilon))
    scale = op.any_of(op.Mul(inverse, weight), inverse)
    return op.Add(op.Mul(x, scale), op.Sub(bias, op.Mul(average, scale)), name="last")


def _distributed(op: PatternBuilder, x: Any, weight: Any, epsilon: Const) -> Any:
    _, average, spread_of = _centred(op, x)
    inverse = inverse_root(op, op.Add(spread_of, epsilon))
    scale = op.any_of(op.Mul(inverse, weight), inverse)
    return op.Sub(op.Mul(x, scale), op.Mul(average, scale), name="last")


def _to_layer_norm(op: Builder, last: ir.Node, mean: ir.Node, variance: ir.Node, x: ir.Value, epsilon: Const) -> Any:
    if op.opset < OPSET:
        return Refuse(f"LayerNormalization is in opset {OPSET}, the model has {op.opset}: put convert-opset before")
    axes = statistics(last, x, epsilon, mean, variance)
    if isinstance(axes, Refuse):
        return axes
    order, extents = moved_last(axes, len(x.shape or ())), extents_of(axes, x)
    if isinstance(extents, Refuse):
        return extents
    turned = order != sorted(order)
    if turned and len(axes) > 1:
        return Refuse(f"it normalizes over the axes {list(axes)}, neither one nor the last ones")
    bound, raised = op.match.values, op.match.named.get("raised")
    if raised is not None:
        to = ir.DataType(ir.attribute(raised, "to"))
        if to not in FLOATS:
            return Refuse(f"its variance is computed in {to}")
        x = op.Cast(x, to=int(to))
        x.dtype = to
    inner = op.Transpose(x, perm=order) if turned else x
    y = op.LayerNormalization(inner, ones(x, extents), axis=-len(axes), epsilon=float(epsilon.item()))
    y = op.Transpose(y, perm=inverse(order)) if turned else y
    if bound.get("weight") is not None:
        y = op.Mul(y, bound["weight"])
    return y if bound.get("bias") is None else op.Add(y, bound["bias"])


RULES = (
    Rule("layer-norm-divided", _divided, _to_layer_norm),
    Rule("layer-norm-multiplied", _multiplied, _to_layer_norm),
    Rule("layer-norm-weight-inside", _weight_inside, _to_layer_norm),
    Rule("layer-norm-folded", _folded, _to_layer_norm),
    Rule("layer-norm-distributed", _distributed, _to_layer_norm),
    KERAS,
    *TRANSPOSED,
    weight_rule("LayerNormalization", "layer-norm"),
    shared_rule("LayerNormalization", "layer-norm"),
    bias_rule("LayerNormalization", "layer-norm"),
    cast_rule("LayerNormalization", "layer-norm"),
)
