"""Layer normalization over axes that are not the last: through transposes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from optc.compiler import ir
from optc.compiler.contents import dims
from optc.compiler.rewrite import Builder, Const, PatternBuilder, Refuse, Rule
from optc.passes.fusion.moments import spread


def moved_last(axes: Sequence[int], rank: int) -> list[int]:
    """The order of axes in which the given ones are the last."""
    return [*(a for a in range(rank) if a not in axes), *axes]


def inverse(order: Sequence[int]) -> list[int]:
    return [int(i) for i in np.argsort(order)]


def _affine(kind: str) -> Rule:
    """Mul or Add behind the transpose of a normalization: in front of it, and so a weight or a bias of it."""

    def pattern(op: PatternBuilder, x: Any, gamma: Const, beta: Const | None, c: Const) -> Any:
        norm = op.LayerNormalization(x, gamma, beta, name="norm")
        return getattr(op, kind)(op.Transpose(norm, name="back"), c)

    def rewrite(op: Builder, norm: ir.Node, back: ir.Node, x: ir.Value, gamma: Const, beta: Const | None, c: Const) -> Any:
        shape, order = dims(x), ir.attribute(back, "perm")
        if shape is None or order is None or c.ndim > len(shape):
            return Refuse("the rank or the order of its axes is not known")
        aligned = c.reshape((1,) * (len(shape) - c.ndim) + c.shape).transpose(inverse(order))
        found = spread(aligned, gamma.shape, len(shape))
        if found is None or found.dtype != gamma.dtype:
            return Refuse(f"a constant of shape {list(c.shape)} is not one value for each normalized element")
        if kind == "Add":
            y = op.LayerNormalization(x, gamma, found if beta is None else beta + found, **norm.attributes)
        else:
            y = op.LayerNormalization(x, gamma * found, None if beta is None else beta * found, **norm.attributes)
        return op.Transpose(y, perm=order)

    return Rule(f"layer-norm-transposed-{kind.lower()}", pattern, rewrite)


TRANSPOSED = (_affine("Mul"), _affine("Add"))
