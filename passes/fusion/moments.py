"""What decomposed normalizations are made of, in the words of every exporter: means, squares, roots, and axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from optc.compiler import ir, shape_rules
from optc.compiler.contents import dims
from optc.compiler.pattern import PatternBuilder, Var
from optc.compiler.rewrite import Refuse

FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
"""Of a float64 the operators would compute the statistics in float32."""


def mean(op: PatternBuilder, x: Any, name: str) -> Any:
    """The mean over axes that stay, given as an attribute or as an input."""
    return op.ReduceMean(x, Var(f"{name}_axes", optional=True), keepdims=1, name=name)


def square(op: PatternBuilder, x: Any) -> Any:
    return op.any_of(op.Mul(x, x), op.Pow(x, 2.0))


def root(op: PatternBuilder, x: Any) -> Any:
    return op.any_of(op.Sqrt(x), op.Pow(x, 0.5))


def inverse_root(op: PatternBuilder, x: Any) -> Any:
    return op.any_of(op.Reciprocal(root(op, x)), op.Div(1.0, root(op, x)), op.Pow(x, -0.5))


def variance(op: PatternBuilder, x: Any, centred: Any, average: Any) -> Any:
    """E[(x - E[x])²], or E[x²] - E[x]² as JAX computes it; its node with the axes is called `variance`."""
    difference = op.Sub(mean(op, square(op, x), "variance"), square(op, average))
    return op.any_of(mean(op, square(op, centred), "variance"), difference, op.Relu(difference), op.Max(difference, 0.0))


def reduced_axes(node: ir.Node) -> tuple[int, ...] | None:
    """The axes that a reduction reduces, counted from 0, in order; None where they or the rank are not known."""
    value = node.inputs[0]
    rank = len(value.shape) if value is not None and value.shape is not None else None
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        found = ir.const(node.inputs[1])
        if found is None:
            return None
        given: Sequence[int] | None = [int(a) for a in found.ravel()]
    else:
        given = ir.attribute(node, "axes")
    if rank is None or (not given and ir.attribute(node, "noop_with_empty_axes", 0)):
        return None
    return tuple(range(rank)) if not given else tuple(sorted(a % rank for a in given))


def statistics(last: ir.Node, x: ir.Value, epsilon: ir.Array, *reductions: ir.Node) -> tuple[int, ...] | Refuse:
    """The axes over which x is normalized by `reductions`, where the result of `last` is as large as x."""
    axes = reduced_axes(reductions[0])
    if axes is None or not axes:
        return Refuse("the axes of the mean, or the rank, are not known")
    if any(reduced_axes(r) != axes for r in reductions[1:]):
        return Refuse("the mean and the variance are over different axes")
    if dims(x) is None or dims(x) != shape_rules.result(last):
        return Refuse("a constant in it may change the shape")
    if epsilon.size != 1 or not np.isfinite(epsilon).all() or np.any(epsilon < 0):
        return Refuse("its epsilon is not one number")
    if x.dtype not in FLOATS:
        return Refuse(f"'{x.name}' is {x.dtype}: its statistics would be computed in float32")
    return axes


def trailing(axes: Sequence[int], x: ir.Value) -> tuple[int, ...] | Refuse:
    """The extents of the axes, where they are the last ones of x and numbers."""
    shape = dims(x)
    if shape is None or tuple(axes) != tuple(range(len(shape) - len(axes), len(shape))):
        return Refuse(f"it normalizes over the axes {list(axes)}, not over the last ones")
    return extents_of(axes, x)


def extents_of(axes: Sequence[int], x: ir.Value) -> tuple[int, ...] | Refuse:
    """The extents of the axes, where they are numbers."""
    shape = dims(x)
    found = [shape[a] for a in axes] if shape is not None else []
    extents = tuple(d for d in found if isinstance(d, int))
    if shape is None or len(extents) != len(axes):
        return Refuse(f"how many elements of '{x.name}' it normalizes together is not known")
    return extents


def spread(c: ir.Array, extents: Sequence[int], rank: int | None) -> ir.Array | None:
    """A constant that multiplies or is added, as one value for each of the last `extents`; None where it is none of that."""
    if c.ndim > (len(extents) if rank is None else rank):
        return None
    lead = max(c.ndim - len(extents), 0)
    inner = c.shape[lead:]
    if any(d != 1 for d in c.shape[:lead]) or any(d not in (1, e) for d, e in zip(inner[::-1], extents[::-1], strict=False)):
        return None
    return np.ascontiguousarray(np.broadcast_to(c.reshape(inner), tuple(extents)))


def ones(value: ir.Value, shape: Sequence[int]) -> Any:
    """A weight that changes nothing."""
    return np.ones(tuple(shape), value.dtype.numpy() if value.dtype is not None else np.float32)
