"""Zeros padded round the input of a convolution become its own padding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from optc.compiler import ir
from optc.compiler.numerics import Numerics
from optc.compiler.rewrite import Builder, Const, PatternBuilder, Refuse, RewritePass


@dataclass(frozen=True)
class FusePadConv(RewritePass):
    """Conv(Pad(x, p), w, b) -> Conv(x, w, b) with p added to its pads, where p pads heights and widths with zeros."""

    name = "fuse-pad-conv"
    numerics = Numerics.REASSOCIATED

    def pattern(self, op: PatternBuilder, x: Any, pads: Const | None, value: Const | None, w: Any, b: Any | None) -> Any:
        return op.Conv(op.Pad(x, pads, value, mode="constant", name="pad"), w, b, auto_pad="NOTSET", name="conv")

    def rewrite(
        self,
        op: Builder,
        pad: ir.Node,
        conv: ir.Node,
        x: ir.Value,
        pads: Const | None,
        value: Const | None,
        w: ir.Value,
        b: ir.Value | None,
    ) -> Any:
        if pads is None and "pads" not in pad.attributes:
            return Refuse("it is of opset 1")
        added = np.array(ir.attribute(pad, "pads"), np.int64) if pads is None else pads
        filled = ir.attribute(pad, "value", 0.0) if value is None else value
        if np.any(filled):
            return Refuse("it does not pad with zeros")
        rank = added.size // 2
        spatial = [*added[2:rank], *added[rank + 2 :]]
        if np.any(added[:2]) or np.any(added[rank : rank + 2]) or min(spatial, default=0) < 0:
            return Refuse(f"pads {added.tolist()} are not those of a convolution")
        own = ir.attribute(conv, "pads") or (0,) * len(spatial)
        return op.Conv(x, w, b, **{**conv.attributes, "pads": [int(p + q) for p, q in zip(own, spatial, strict=True)]})
