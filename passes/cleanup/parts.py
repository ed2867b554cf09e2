"""Rules of canonicalize for what takes tensors apart and joins them: Slice, Gather, Split, Concat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from optc.compiler import ir
from optc.compiler.contents import contents_at, dims, known_array
from optc.compiler.rewrite import Builder, Refuse, Rule
from optc.passes.cleanup.operands import axes_of, one_node, only_use, rank

_FAR = (1 << 31) - 1
"""An end from here on is that of the axis."""


@dataclass(frozen=True)
class Cut:
    """What a Slice with constant operands takes: start, end and step of each axis, counted from the front, that it does not take
    whole."""

    axes: tuple[int, ...]
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    steps: tuple[int, ...]


def cut(node: ir.Node) -> Cut | None:
    """The constant operands of a Slice; None where one is computed, or the rank is unknown."""
    total = rank(node.inputs[0])
    if total is None:
        return None
    if "starts" in node.attributes:
        starts, ends = ir.attribute(node, "starts"), ir.attribute(node, "ends")
        axes, steps = ir.attribute(node, "axes"), None
    else:
        given: list[tuple[int, ...] | None] = []
        for value in (*node.inputs[1:], *[None] * (5 - len(node.inputs))):
            held = known_array(contents_at(node).of(value)) if value is not None and value.name else None
            if held is None and value is not None and value.name:
                return None
            given.append(None if held is None else tuple(int(x) for x in held.ravel()))
        starts, ends, axes, steps = given
    if starts is None or ends is None:
        return None
    axes = range(len(starts)) if axes is None else [a % total for a in axes]
    given_steps = steps if steps is not None else (1,) * len(axes)
    parts = [p for p in zip(axes, starts, ends, given_steps, strict=True) if p[1] or p[2] < _FAR or p[3] != 1]
    return Cut(*(tuple(p[i] for p in parts) for i in range(4)))


def _slice_of_slice(op: Builder, x: ir.Value, node: ir.Node) -> Any:
    """Along different axes, or along one from the front on: x[a:b][c:d] is x[a+c : min(b, a+d)]."""
    inner = x.producer()
    if inner is None or not ir.standard(inner, "Slice") or not only_use(x):
        return None
    first, second = cut(inner), cut(node)
    if first is None or second is None:
        return Refuse("where one of two slices begins or ends is computed")
    taken = {a: (s, e, k) for a, s, e, k in zip(first.axes, first.starts, first.ends, first.steps, strict=True)}
    for axis, start, end, step in zip(second.axes, second.starts, second.ends, second.steps, strict=True):
        if axis in taken:
            a, b, k = taken[axis]
            if k != 1 or min(a, start, end) < 0 or step < 0 or (b < 0 and end < _FAR):
                return Refuse(f"both cut axis {axis}, and not from the front on")
            start, end = a + start, b if end >= _FAR else min(b, a + end)
        taken[axis] = (start, end, step)
    op.also(inner)
    if not taken:
        return inner.inputs[0]
    axes = sorted(taken)
    starts, ends, steps = ([taken[a][i] for a in axes] for i in range(3))
    source = inner.inputs[0]
    if op.opset < 10:
        return op.Slice(source, starts=starts, ends=ends, axes=axes)
    operands = [np.array(part, np.int64) for part in (starts, ends, axes)]
    return op.Slice(source, *operands, *([np.array(steps, np.int64)] if any(k != 1 for k in steps) else []))


def _index(node: ir.Node) -> tuple[int, int] | None:
    """Axis and index of a Slice that takes one element of one axis."""
    found, known = cut(node), dims(node.inputs[0])
    if found is None or known is None or len(found.axes) != 1 or found.steps != (1,):
        return None
    axis, start, end = found.axes[0], found.starts[0], found.ends[0]
    extent = known[axis]
    if isinstance(extent, int):
        taken = range(extent)[start:end]
        return (axis, taken[0]) if len(taken) == 1 else None
    return (axis, start) if start >= 0 and end == start + 1 else None


def _squeeze_of_slice(op: Builder, x: ir.Value, node: ir.Node) -> Any:
    """Squeeze(Slice(x, i, i + 1)) -> Gather(x, i)."""
    inner = x.producer()
    if inner is None or not ir.standard(inner, "Slice") or not only_use(x):
        return None
    at, axes = _index(inner), axes_of(node)
    if at is None or axes != (at[0],):
        return None
    op.also(inner)
    return op.Gather(inner.inputs[0], np.array(at[1], np.int64), axis=at[0])


def _unsqueeze_of_gather(op: Builder, x: ir.Value, node: ir.Node) -> Any:
    """Unsqueeze(Gather(x, i)) -> Gather(x, [i]), of a constant scalar i, where the axis comes back."""
    inner = x.producer()
    if inner is None or not ir.standard(inner, "Gather") or not only_use(x):
        return None
    index, axes, total = ir.const(inner.inputs[1]), axes_of(node, made=True), rank(inner.inputs[0])
    if index is None or index.ndim != 0 or total is None or axes != (ir.attribute(inner, "axis", 0) % total,):
        return None
    op.also(inner)
    return op.Gather(inner.inputs[0], index.reshape(1), axis=axes[0])


def _concat_axis(node: ir.Node) -> int | None:
    total = next((r for v in (*node.outputs, *node.inputs) if (r := rank(v)) is not None), None)
    return None if total is None else int(ir.attribute(node, "axis", 1)) % total


def _empty(value: ir.Value | None, axis: int) -> bool:
    known = dims(value)
    return known is not None and known[axis] == 0


def _concat(op: Builder, node: ir.Node) -> Any:
    """A Concat loses its empty operands, and takes in those of a Concat along the same axis."""
    axis = _concat_axis(node)
    if axis is None:
        return None
    operands: list[ir.Value | None] = []
    for value in node.inputs:
        inner = value.producer() if value is not None else None
        if value is not None and inner is not None and _joins(inner, node, axis) and only_use(value):
            op.also(inner)
            operands += inner.inputs
        else:
            operands.append(value)
    kept = [v for v in operands if not _empty(v, axis)] or operands[:1]
    return op.Concat(*kept, axis=axis) if kept != list(node.inputs) else _whole_again(node, axis)


def _joins(inner: ir.Node, node: ir.Node, axis: int) -> bool:
    return ir.standard(inner, "Concat") and inner.graph is node.graph and _concat_axis(inner) == axis


def _whole_again(node: ir.Node, axis: int) -> ir.Value | None:
    """All parts of a Split in their order -> what was split."""
    split = node.inputs[0].producer() if node.inputs[0] is not None else None
    if split is None or not ir.standard(split, "Split") or list(node.inputs) != list(split.outputs):
        return None
    total = rank(split.inputs[0])
    return split.inputs[0] if total is not None and int(ir.attribute(split, "axis", 0)) % total == axis else None


def _sum(op: Builder, node: ir.Node) -> Any:
    """Sum(a, b) -> Add(a, b), of which there are more rules."""
    if len(node.inputs) != 2 or op.opset < 8:
        return None
    return op.Add(*node.inputs)


PARTS: tuple[Rule, ...] = (
    Rule("slice-of-slice", one_node("Slice", 5), _slice_of_slice),
    Rule("squeeze-of-slice", one_node("Squeeze", 2), _squeeze_of_slice),
    Rule("unsqueeze-of-gather", one_node("Unsqueeze", 2), _unsqueeze_of_gather),
    Rule("concat-of-concat", lambda op: op.Concat(..., name="node"), _concat),
    Rule("sum-of-two", lambda op: op.Sum(..., name="node"), _sum),
)
