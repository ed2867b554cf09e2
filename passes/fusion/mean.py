"""Sums divided by how many they are become means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from optc.compiler import ir
from optc.compiler.contents import dims
from optc.compiler.numerics import Numerics
from optc.compiler.pattern import Var
from optc.compiler.rewrite import Builder, Const, PatternBuilder, Refuse, RewritePass, Rule
from optc.passes.fusion.moments import reduced_axes
from optc.passes.fusion.scalars import is_float, scalar


@dataclass(frozen=True)
class FuseMean(RewritePass):
    """Σx / n and Σx · 1/n -> ReduceMean(x), where n is the number of elements summed: as JAX computes means."""

    name = "fuse-mean"
    numerics = Numerics.REASSOCIATED

    def rules(self) -> Sequence[Rule]:
        return (Rule("mean-divided", _sum_divided, _mean), Rule("mean-scaled", _sum_scaled, _mean_of_scaled))


_AXES = Var("axes", optional=True)


def _sum_divided(op: PatternBuilder, x: Any, n: Const) -> Any:
    return op.Div(op.ReduceSum(x, _AXES, name="sum"), n)


def _sum_scaled(op: PatternBuilder, x: Any, n: Const) -> Any:
    return op.Mul(op.ReduceSum(x, _AXES, name="sum"), n)


def _mean(op: Builder, sum: ir.Node, x: ir.Value, n: Const) -> Any:
    return _if_count(op, sum, x, scalar(n, sum.outputs[0]))


def _mean_of_scaled(op: Builder, sum: ir.Node, x: ir.Value, n: Const) -> Any:
    factor = scalar(n, sum.outputs[0])
    return _if_count(op, sum, x, 1 / factor if factor else None)


def _if_count(op: Builder, sum: ir.Node, x: ir.Value, count: float | None) -> Any:
    axes, shape = reduced_axes(sum), dims(x)
    if axes is None or shape is None or not all(isinstance(shape[a], int) for a in axes) or not is_float(x):
        return Refuse("how many elements it sums is not known")
    elements = prod(int(d) for a in axes if isinstance(d := shape[a], int))
    if count is None or abs(count - elements) > 1e-6 * elements or not elements:
        return Refuse(f"it sums {elements} elements, and divides by another number")
    return reduced(op, "ReduceMean", sum, x, axes)


def reduced(op: Builder, op_type: str, sum: ir.Node, x: ir.Value, axes: tuple[int, ...]) -> Any:
    """The reduction over the axes, with them where the opset has them."""
    keep = ir.attribute(sum, "keepdims", 1)
    build = getattr(op, op_type)
    return build(x, np.array(axes, np.int64), keepdims=keep) if op.opset >= 18 else build(x, axes=list(axes), keepdims=keep)
