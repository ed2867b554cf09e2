"""Group normalization by kernels that onnxruntime's CPU provider has: there is none for GroupNormalization itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from optc.compiler import ir
from optc.compiler.contents import dims
from optc.compiler.numerics import Numerics
from optc.compiler.rewrite import Builder, Const, PatternBuilder, Refuse, RewritePass


@dataclass(frozen=True)
class OrtGroupNorm(RewritePass):
    """GroupNormalization(x, γ, β) -> Reshape(InstanceNormalization(Reshape(x, [N, G, -1])))·γ + β. float32."""

    name = "ort-group-norm"
    numerics = Numerics.REASSOCIATED

    def pattern(self, op: PatternBuilder, x: Any, gamma: Const, beta: Const) -> Any:
        return op.GroupNormalization(x, gamma, beta, name="norm")

    def rewrite(self, op: Builder, norm: ir.Node, x: ir.Value, gamma: Const, beta: Const) -> Any:
        shape, groups = dims(x), ir.attribute(norm, "num_groups")
        if shape is None or x.dtype != ir.DataType.FLOAT or gamma.shape != shape[1:2]:
            return Refuse("it is not of float32, or the shape of its input or weight is not known")
        one, zero = np.ones(groups, np.float32), np.zeros(groups, np.float32)
        parts = op.Reshape(x, np.array([0, groups, -1]))
        y = op.InstanceNormalization(parts, one, zero, epsilon=ir.attribute(norm, "epsilon", 1e-5))
        free = [i for i, d in enumerate(shape) if not isinstance(d, int)]
        whole = np.array([d if isinstance(d, int) else -1 for d in shape]) if len(free) <= 1 else op.Shape(x)
        each = (-1, *[1] * (len(shape) - 2))
        return op.Add(op.Mul(op.Reshape(y, whole), gamma.reshape(each)), beta.reshape(each))
