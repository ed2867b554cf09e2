"""Every spelling of group normalization becomes one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from optc.compiler import ir, shape_rules
from optc.compiler.contents import dims
from optc.compiler.numerics import Numerics
from optc.compiler.rewrite import Builder, Const, PatternBuilder, Refuse, RewritePass, Rule
from optc.passes.fusion.instance_norm import standardized
from optc.passes.fusion.moments import ones, statistics
from optc.passes.fusion.norm_weights import bias_rule, weight_rule

OPSET = 21


@dataclass(frozen=True)
class FuseGroupNorm(RewritePass):
    """Reshape(InstanceNormalization(Reshape(x, [N, G, ...]))) · γ + β -> GroupNormalization(x, γ, β), also decomposed.

    γ and β are one value a channel, or missing. Needs opset 21: before, they were one value a group.
    """

    name = "fuse-group-norm"
    numerics = Numerics.REASSOCIATED

    def rules(self) -> Sequence[Rule]:
        return RULES


def _instance(op: PatternBuilder, x: Any, groups: Any, scale: Const, offset: Const, shape: Any) -> Any:
    inner = op.InstanceNormalization(op.Reshape(x, groups, name="split"), scale, offset, name="norm")
    return op.Reshape(inner, shape, name="back")


def _from_instance(op: Builder, split: ir.Node, norm: ir.Node, back: ir.Node, x: ir.Value, scale: Const, offset: Const) -> Any:
    return _to_group_norm(op, split, back, x, ir.attribute(norm, "epsilon", 1e-5), scale, offset)


def _decomposed(op: PatternBuilder, x: Any, groups: Any, epsilon: Const, shape: Any) -> Any:
    return op.Reshape(standardized(op, op.Reshape(x, groups, name="split"), epsilon), shape, name="back")


def _from_decomposed(
    op: Builder, split: ir.Node, last: ir.Node, mean: ir.Node, variance: ir.Node, back: ir.Node, x: ir.Value, epsilon: Const
) -> Any:
    parts = split.outputs[0]
    axes = statistics(last, parts, epsilon, mean, variance)
    if isinstance(axes, Refuse):
        return axes
    if parts.shape is None or axes != tuple(range(2, len(parts.shape))):
        return Refuse(f"it normalizes over the axes {list(axes)}, not over all behind the groups")
    return _to_group_norm(op, split, back, x, float(epsilon.item()), None, None)


def _to_group_norm(
    op: Builder, split: ir.Node, back: ir.Node, x: ir.Value, epsilon: float, scale: Const | None, offset: Const | None
) -> Any:
    if op.opset < OPSET:
        return Refuse(f"GroupNormalization is in opset {OPSET}, the model has {op.opset}: put convert-opset before")
    shape, parts = dims(x), shape_rules.result(split)
    if shape is None or parts is None or len(shape) < 3 or len(parts) < 3 or shape != shape_rules.result(back):
        return Refuse("its shapes are not known, or the result has another")
    channels, groups = shape[1], parts[1]
    if parts[0] != shape[0] or not isinstance(channels, int) or not isinstance(groups, int) or channels % groups:
        return Refuse(f"{list(parts)} are no groups of the channels of {list(shape)}")
    each = channels // groups
    gamma = ones(x, (channels,)) if scale is None else np.repeat(scale, each)
    beta = ones(x, (channels,)) * 0 if offset is None else np.repeat(offset, each)
    return op.GroupNormalization(x, gamma, beta, num_groups=groups, epsilon=epsilon)


RULES = (
    Rule("group-norm-of-instances", _instance, _from_instance),
    Rule("group-norm-decomposed", _decomposed, _from_decomposed),
    weight_rule("GroupNormalization", "group-norm", channels=True),
    bias_rule("GroupNormalization", "group-norm", channels=True),
)
