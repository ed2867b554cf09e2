"""The operands of an attention operator, built from what was found."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from optc.compiler import ir
from optc.compiler.rewrite import Builder
from optc.compiler.shape_rules import broadcast_dims
from optc.passes.attention import masks
from optc.passes.attention.heads import Flat, Heads
from optc.passes.attention.masks import Place
from optc.passes.attention.scores import Mask
from optc.passes.attention.walk import operand, sizes
from optc.passes.cleanup.operands import parted, with_axes

LEAST = float(np.finfo(np.float32).tiny)
"""What a scale is at least: a smaller one is 0 where subnormal numbers are, and 0 stands for no scale in some operators."""


def split(op: Builder, side: Heads) -> Any:
    """[B, N, S, H]."""
    return side.value if side.perm == (0, 1, 2, 3) else op.Transpose(side.value, perm=list(side.perm))


def flat(op: Builder, side: Flat, parts: dict[Any, Any]) -> Any:
    """[B, S, N*H]; `parts` holds what was split already."""
    key = (id(side.value), side.parts, side.shape, side.perm)
    if key not in parts:
        whole = side.value if side.shape is None else op.Reshape(side.value, np.array(side.shape))
        if side.parts == 1:
            parts[key] = (whole if side.perm is None else op.Transpose(whole, perm=list(side.perm)),)
        else:
            width = side.shape[2] if side.shape is not None else sizes(side.value)[2]
            parts[key] = parted(op, whole, [width // side.parts] * side.parts, axis=2)
    found = parts[key][side.part]
    if side.rotary is None:
        return found
    caches = (operand(side.rotary, i) for i in (1, 2, 3))
    return op.RotaryEmbedding(found, *caches, **{**side.rotary.attributes, "num_heads": side.heads})


class Masked(Protocol):
    """What has masks, over scores of a shape; `places` are where numbers of queries and keys are found."""

    @property
    def masks(self) -> tuple[Mask, ...]: ...
    @property
    def shape(self) -> tuple[Any, ...]: ...
    @property
    def places(self) -> tuple[Place, tuple[Place, ...]]: ...
    @property
    def dtype(self) -> ir.DataType | None: ...


def mask(op: Builder, a: Masked, known: dict[Any, ir.Value], made: dict[Any, ir.Value], whole: bool = False) -> ir.Value | None:
    """What is added to the scores, with all their rows and columns; with `whole`, of four dimensions. `known` holds masks that
    were built before, `made` gets what is built now."""
    if not a.masks:
        return None
    own = broadcast_dims([sizes(m.value) for m in a.masks])
    key = (tuple((id(m.value), m.fill, m.keep) for m in a.masks), a.shape[2:], whole)
    if key not in known:
        total: Any = masks.combined(op, a.masks, a.dtype or ir.DataType.FLOAT)
        if whole and len(own) < 4:
            own, total = (*[1] * (4 - len(own)), *own), with_axes(op, "Unsqueeze", total, range(4 - len(own)))
        made[key] = masks.spread(op, total, own, a.shape, *a.places)
    return known.get(key) or made[key]
