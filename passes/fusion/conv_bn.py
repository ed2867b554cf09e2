"""Fold BatchNormalization into the convolution before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from optc.compiler import ir
from optc.compiler.numerics import Numerics
from optc.compiler.rewrite import Builder, Const, PatternBuilder, Refuse, RewritePass


@dataclass(frozen=True)
class FuseConvBatchNorm(RewritePass):
    """BatchNormalization(Conv(x, w, b)) -> Conv(x, w·s, β + (b - μ)·s), where s = γ / √(σ² + ε)."""

    name = "fuse-conv-bn"
    numerics = Numerics.REASSOCIATED

    def pattern(
        self, op: PatternBuilder, x: Any, w: Const, b: Const | None, gamma: Const, beta: Const, mean: Const, var: Const
    ) -> Any:
        return op.BatchNormalization(op.Conv(x, w, b, name="conv"), gamma, beta, mean, var, name="bn")

    def rewrite(
        self,
        op: Builder,
        conv: ir.Node,
        bn: ir.Node,
        x: ir.Value,
        w: Const,
        b: Const | None,
        gamma: Const,
        beta: Const,
        mean: Const,
        var: Const,
    ) -> Any:
        if bn.attributes.get_int("training_mode", 0):
            return Refuse("it is in training mode")
        if op.opset < 7:
            return Refuse(f"BatchNormalization of opset {op.opset} may be in training mode")
        if gamma.shape != w.shape[:1]:
            return Refuse(f"it scales by an array of shape {list(gamma.shape)}, not by one value a channel")
        s = gamma / np.sqrt(var + np.asarray(bn.attributes.get_float("epsilon", 1e-5), var.dtype))
        bias = beta + ((b if b is not None else 0) - mean) * s
        return op.Conv(x, (w * s.reshape(-1, *[1] * (w.ndim - 1))).astype(w.dtype), bias.astype(w.dtype), **conv.attributes)
