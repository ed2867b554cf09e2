"""Masks that let each query see the keys up to its own place: a triangular constant, Trilu, or a comparison of ranges."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from optc.compiler import ir, symbolic
from optc.compiler.contents import Contents
from optc.compiler.pattern import attribute_or_default
from optc.passes.attention.scores import Mask
from optc.passes.attention.walk import known_rank, made_by, operand, sizes, uniform

_NEGLIGIBLE = -1e4
_VIEWS = ("Unsqueeze", "Squeeze", "Reshape", "Expand", "Identity", "Cast")


@dataclass(frozen=True)
class Triangle:
    """True where j <= i + `offset`, for row i and column j; with `inside` False, elsewhere. `shape`: rows and columns, where it
    was cut from a larger one."""

    offset: symbolic.Dim
    inside: bool = True
    shape: tuple[symbolic.Dim, symbolic.Dim] | None = None


@dataclass(frozen=True)
class Line:
    """The number `start` + i in row i, or with `column` in column j."""

    start: symbolic.Dim
    column: bool


def triangle(mask: Mask, opset: int) -> Triangle | None:
    """What a mask lets through, where that is a triangle: `offset` keys does the first query see besides its own.

    A piece cut from a constant is taken to be as large as it is asked for: where the constant is smaller, the model fails.
    """
    found = _added(mask.value, opset) if mask.fill is None else _condition(mask.value, opset)
    if found is None or found.inside != (mask.keep or mask.fill is None):
        return None
    if found.shape is None:
        rows, columns = sizes(mask.value)[-2:]
        return replace(found, shape=(rows, columns))
    return found


def _added(value: ir.Value, opset: int) -> Triangle | None:
    """Of a mask that is 0 or so low that it leaves no weight."""
    held = ir.const(value)
    if held is not None:
        if held.ndim < 2 or held.size != held.shape[-2] * held.shape[-1] or not np.all((held == 0) | (held <= _NEGLIGIBLE)):
            return None
        return _constant(held.reshape(held.shape[-2:]) == 0)
    value = _through_views(value)
    if (band := made_by(value, "Trilu")) is not None and band.inputs[0] is not None:
        low, k = uniform(band.inputs[0]), _diagonal(band)
        upper = attribute_or_default(band, "upper", opset)
        return Triangle(k - 1) if upper and k is not None and low is not None and low <= _NEGLIGIBLE else None
    chosen = made_by(value, "Where")
    if chosen is None or chosen.inputs[0] is None:
        return None
    a, b = (uniform(v) for v in chosen.inputs[1:])
    found = _condition(chosen.inputs[0], opset)
    if found is None or a is None or b is None:
        return None
    seen, hidden = (a, b) if found.inside else (b, a)
    return replace(found, inside=True) if seen == 0 and hidden <= _NEGLIGIBLE else None


def _condition(value: ir.Value, opset: int) -> Triangle | None:
    """Of a value that is true, or not 0, in a triangle."""
    held = ir.const(value)
    if held is not None:
        fits = held.ndim >= 2 and held.size == held.shape[-2] * held.shape[-1]
        return _constant(held.reshape(held.shape[-2:]) != 0) if fits else None
    inner = _through_views(value)
    if inner is not value:
        return _condition(inner, opset)
    node = value.producer()
    if node is None or node.inputs[0] is None:
        return None
    if ir.standard(node, "Not"):
        found = _condition(node.inputs[0], opset)
        return None if found is None else replace(found, inside=not found.inside)
    if ir.standard(node, "Equal") and uniform(node.inputs[1]) in (0, 1):
        found = _condition(node.inputs[0], opset) if _is_zero_or_one(node.inputs[0]) else None
        return found if found is None or uniform(node.inputs[1]) == 1 else replace(found, inside=not found.inside)
    if ir.standard(node, "Trilu"):
        filled, k = uniform(node.inputs[0]), _diagonal(node)
        if filled is None or filled == 0 or k is None:
            return None
        return Triangle(k - 1, inside=False) if attribute_or_default(node, "upper", opset) else Triangle(k)
    if ir.standard(node, "Slice"):
        return _sliced(node, opset)
    return _compared(node) if ir.standard(node, "Less", "LessOrEqual", "Greater", "GreaterOrEqual") else None


def _is_zero_or_one(value: ir.Value) -> bool:
    """Whether a value is a triangle of ones, as Trilu makes it, or bool."""
    node = made_by(_through_views(value), "Trilu")
    return value.dtype == ir.DataType.BOOL or (node is not None and uniform(node.inputs[0]) == 1)


def _through_views(value: ir.Value) -> ir.Value:
    """A value before leading axes and casts; its last two axes are the same."""
    while (node := made_by(value, *_VIEWS)) is not None and node.inputs[0] is not None:
        inner = node.inputs[0]
        rank, own = known_rank(inner), known_rank(value)
        if rank is None or own is None or min(rank, own) < 2 or sizes(inner)[-2:] != sizes(value)[-2:]:
            break
        if any(d != 1 for d in sizes(inner)[:-2]):
            break
        value = inner
    return value


def _constant(seen: Any) -> Triangle | None:
    """Of a constant matrix of bools: the widest triangle that it is."""
    first = int(np.sum(seen[0])) - 1
    for inside in (True, False):
        k = first if inside else seen.shape[1] - 2 - first
        if np.array_equal(seen == inside, np.tril(np.ones(seen.shape, bool), k)):
            return Triangle(k, inside)
    return None


def _sliced(node: ir.Node, opset: int) -> Triangle | None:
    """A piece of a triangle is one, its offset that of the rows less that of the columns."""
    x, c = node.inputs[0], Contents()
    found, rank = _condition(x, opset) if x is not None else None, known_rank(x)
    starts, ends, axes, steps = (c.of(operand(node, i)) for i in (1, 2, 3, 4))
    if x is None or found is None or rank is None or starts is None or ends is None or axes is None:
        return None
    if steps is not None and any(s != 1 for s in steps.flat):
        return None
    total, shape = found.offset, list(found.shape or sizes(x)[-2:])
    for start, end, axis in zip(starts.flat, ends.flat, axes.flat, strict=True):
        place = int(axis) % rank - (rank - 2)
        if not symbolic.nonnegative(start) or place < 0:
            return None
        total = total - start if place else total + start
        whole = isinstance(end, int) and end > 1 << 30
        if not whole and not symbolic.nonnegative(end):
            return None
        shape[place] = (shape[place] if whole else end) - start
    return replace(found, offset=total, shape=(shape[0], shape[1]))


def _diagonal(node: ir.Node) -> int | None:
    k = operand(node, 1)
    held = ir.const(k)
    return 0 if k is None else None if held is None else int(held.reshape(()))


def _compared(node: ir.Node) -> Triangle | None:
    """i + a >= j + b and its like."""
    left, right = (_line(v) for v in node.inputs)
    if left is None or right is None or left.column == right.column:
        return None
    row, column = (right, left) if left.column else (left, right)
    gap = row.start - column.start
    # as column op row
    name = node.op_type if left.column else {"Less": "Greater", "Greater": "Less"}.get(node.op_type.removesuffix("OrEqual"), "")
    name = name if left.column else name + ("OrEqual" if node.op_type.endswith("OrEqual") else "")
    return {
        "LessOrEqual": Triangle(gap),
        "Less": Triangle(gap - 1),
        "Greater": Triangle(gap, inside=False),
        "GreaterOrEqual": Triangle(gap - 1, inside=False),
    }[name]


def _line(value: ir.Value | None, depth: int = 6) -> Line | None:
    """Of consecutive numbers in rows [.., S, 1] or columns [.., T]."""
    if value is None or not depth or known_rank(value) is None:
        return None
    shape = sizes(value)
    node = made_by(value, "Range", "Add", "Sub", *_VIEWS)
    if node is None or node.inputs[0] is None:
        return None
    if node.op_type == "Range":
        start, step = Contents().of(node.inputs[0]), uniform(node.inputs[2])
        return Line(start.reshape(-1)[0], True) if start is not None and step == 1 else None
    if node.op_type in ("Add", "Sub"):
        by = Contents().of(node.inputs[1])
        inner = _line(node.inputs[0], depth - 1)
        if inner is None or by is None or by.size != 1:
            return None
        amount = by.reshape(-1)[0]
        return replace(inner, start=inner.start + amount if node.op_type == "Add" else inner.start - amount)
    inner, before = _line(node.inputs[0], depth - 1), sizes(node.inputs[0])
    if inner is None or (node.op_type == "Expand" and before != shape):
        return None
    extent = before[-1] if inner.column else before[-2]
    if shape[-1:] == (extent,) and all(d == 1 for d in shape[:-1]) and (inner.column or extent == 1):
        return replace(inner, column=True)
    if len(shape) > 1 and shape[-2:] == (extent, 1) and all(d == 1 for d in shape[:-2]):
        return replace(inner, column=False)
    return None
