"""A constant added to each channel after a convolution becomes its bias."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from optc.compiler import ir
from optc.compiler.numerics import Numerics
from optc.compiler.rewrite import Builder, Const, PatternBuilder, Refuse, RewritePass


@dataclass(frozen=True)
class FuseConvAdd(RewritePass):
    """Add(Conv(x, w, b), c) -> Conv(x, w, b + c), for a constant c of one value a channel, [C, 1, 1], or one for all."""

    name = "fuse-conv-add"
    numerics = Numerics.REASSOCIATED

    def pattern(self, op: PatternBuilder, x: Any, w: Any, b: Const | None, c: Const) -> Any:
        return op.Add(op.Conv(x, w, b, name="conv"), c)

    def rewrite(self, op: Builder, conv: ir.Node, x: ir.Value, w: ir.Value, b: Const | None, c: Const) -> Any:
        if w.shape is None or not isinstance(w.shape[0], int):
            return Refuse(f"the number of channels of '{w.name}' is unknown")
        channels, rank = w.shape[0], len(w.shape)
        fits = ((1,) * rank, (1, channels, *[1] * (rank - 2)))
        if c.ndim > rank or (1,) * (rank - c.ndim) + c.shape not in fits:
            return Refuse(f"a constant of shape {list(c.shape)} is not one value for each of {channels} channels")
        bias = np.broadcast_to(c.reshape(-1), (channels,))
        return op.Conv(x, w, bias if b is None else b + bias, **conv.attributes)
