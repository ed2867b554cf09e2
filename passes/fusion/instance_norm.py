"""Every spelling of instance normalization becomes one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optc.compiler import ir
from optc.compiler.contents import dims
from optc.compiler.numerics import Numerics
from optc.compiler.rewrite import Builder, Const, PatternBuilder, Refuse, RewritePass, Rule
from optc.passes.fusion.moments import inverse_root, mean, ones, root, statistics, variance
from optc.passes.fusion.norm_weights import bias_rule, weight_rule


@dataclass(frozen=True)
class FuseInstanceNorm(RewritePass):
    """(x - mean(x)) / √(variance(x) + ε) · γ + β over everything behind the channels -> InstanceNormalization(x, γ, β).

    γ and β are one value a channel, or missing. Of [N, C, L] without a γ of [C, 1] nobody can say that axis 1 holds channels:
    that is layer normalization.
    """

    name = "fuse-instance-norm"
    numerics = Numerics.REASSOCIATED

    def rules(self) -> Sequence[Rule]:
        return RULES


def standardized(op: PatternBuilder, x: Any, epsilon: Any) -> Any:
    """(x - E[x]) / √(E[(x - E[x])²] + ε), the alternatives."""
    average = mean(op, x, "mean")
    centred = op.Sub(x, average)
    shifted = op.Add(variance(op, x, centred, average), epsilon)
    return op.any_of(op.Div(centred, root(op, shifted), name="last"), op.Mul(centred, inverse_root(op, shifted), name="last"))


def _divided(op: PatternBuilder, x: Any, epsilon: Const) -> Any:
    return standardized(op, x, epsilon).alternatives[0]


def _multiplied(op: PatternBuilder, x: Any, epsilon: Const) -> Any:
    return standardized(op, x, epsilon).alternatives[1]


def _weighted(op: PatternBuilder, x: Any, weight: Const, epsilon: Const) -> Any:
    return op.Mul(standardized(op, x, epsilon), weight, name="weighted")


def _to_instance_norm(op: Builder, last: ir.Node, mean: ir.Node, variance: ir.Node, x: ir.Value, epsilon: Const) -> Any:
    axes, shape = statistics(last, x, epsilon, mean, variance), dims(x)
    if isinstance(axes, Refuse):
        return axes
    if shape is None or axes != tuple(range(2, len(shape))) or not isinstance(shape[1], int):
        return Refuse(f"it normalizes over the axes {list(axes)}, not over all behind a known number of channels")
    weight = op.match.values.get("weight")
    if len(shape) == 3 and isinstance(shape[2], int) and not _by_channel(weight, shape[1]):
        return Refuse("nothing says that axis 1 holds channels: fuse-layer-norm takes it")
    y = op.InstanceNormalization(x, ones(x, (shape[1],)), ones(x, (shape[1],)) * 0, epsilon=float(epsilon.item()))
    return y if weight is None else op.Mul(y, weight)


def _by_channel(weight: ir.Value | None, channels: int) -> bool:
    found = ir.const(weight)
    return found is not None and found.ndim >= 2 and found.shape[-2:] == (channels, 1) and found.size == channels


RULES = (
    Rule("instance-norm-weighted", _weighted, _to_instance_norm),
    Rule("instance-norm-divided", _divided, _to_instance_norm),
    Rule("instance-norm-multiplied", _multiplied, _to_instance_norm),
    weight_rule("InstanceNormalization", "instance-norm", channels=True),
    bias_rule("InstanceNormalization", "instance-norm", channels=True),
)
