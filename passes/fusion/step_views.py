"""Steps of a sequence: values from which, or of which, a sequence is made by adding or taking away a dimension of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from optc.compiler import ir
from optc.compiler.contents import dims


@dataclass(frozen=True)
class Peeled:
    """What a value is a view of: `depth` leading dimensions of one more (or fewer), through the nodes of `path`."""

    value: ir.Value
    depth: int
    path: tuple[ir.Node, ...]


@dataclass(frozen=True)
class Whole:
    """A value that is the steps one after the other along an axis (0 or 1)."""

    value: ir.Value
    axis: int


def axes_of(node: ir.Node) -> int | None:
    """The one axis of a Squeeze or Unsqueeze; 0 for Identity."""
    if ir.standard(node, "Identity"):
        return 0
    given = ir.const(node.inputs[1]) if len(node.inputs) > 1 else np.array(ir.attribute(node, "axes") or (), np.int64)
    if given is None or given.size != 1:
        return None
    axis, shape = int(given.reshape(-1)[0]), dims(node.inputs[0])
    if axis >= 0:
        return axis
    return None if shape is None else axis + len(shape) + (node.op_type == "Unsqueeze")


def peeled(value: ir.Value | None) -> Peeled:
    """Through Squeeze and Unsqueeze of the leading dimension back to what is computed. Raises ValueError for no value."""
    if value is None:
        raise ValueError("no value is a view of none")
    depth, path, node = 0, [], value.producer()
    while node is not None and ir.standard(node, "Squeeze", "Unsqueeze", "Identity") and axes_of(node) == 0:
        source = node.inputs[0]
        if source is None:
            break
        depth += {"Squeeze": -1, "Unsqueeze": 1}.get(node.op_type, 0)
        path.append(node)
        value, node = source, source.producer()
    return Peeled(value, depth, tuple(path))


def sequence(steps: Sequence[ir.Value | None]) -> Whole | None:
    """The sequence [T, N, k] (axis 0) or [N, T, k] (axis 1) of which values [1, N, k] are all the steps, in order."""
    found = [None if v is None else _piece(v) for v in steps]
    wholes = {None if p is None else (p[0], p[1]) for p in found}
    if len(wholes) != 1 or None in wholes:
        return None
    whole, axis = next(p[:2] for p in found if p is not None)
    shape = dims(whole)
    count = len(steps)
    if shape is None or len(shape) != 3 or shape[axis] != count:
        return None
    return Whole(whole, axis) if [p[2] % count for p in found if p is not None] == list(range(count)) else None


def _piece(step: ir.Value) -> tuple[ir.Value, int, int] | None:
    """The sequence of which a value [1, N, k] is a step, along which axis, and which step."""
    view = peeled(step)
    node, value, depth = view.value.producer(), view.value, view.depth
    axis = 0
    if node is not None and ir.standard(node, "Squeeze") and axes_of(node) == 1 and depth == 1 and node.inputs[0] is not None:
        value, axis, depth = node.inputs[0], 1, 0  # [N, 1, k]
        node = value.producer()
    if node is None or node.inputs[0] is None or len(dims(node.inputs[0]) or ()) != 3:
        return None
    whole = node.inputs[0]
    if ir.standard(node, "Gather"):
        index, at = ir.const(node.inputs[1]), ir.attribute(node, "axis", 0) % 3
        if index is None or index.ndim != 0 or at not in (0, 1) or depth != 1 or axis:
            return None
        return whole, at, int(index.item())
    if depth != 0:
        return None
    if ir.standard(node, "Split") and ir.attribute(node, "axis", 0) % 3 == axis:
        return (whole, axis, value.index() or 0) if all((dims(v) or (0,) * 3)[axis] == 1 for v in node.outputs) else None
    if ir.standard(node, "Slice") and len(node.inputs) in (4, 5):
        bounds = [ir.const(v) for v in node.inputs[1:]]
        if any(b is None or b.size != 1 for b in bounds) or (dims(value) or (0,) * 3)[axis] != 1:
            return None
        start, _, along, stride = [int(b.item()) for b in (*bounds, np.ones(1))[:4] if b is not None]
        return (whole, axis, start) if along % 3 == axis and stride == 1 else None
    return None


def whole_of(node: ir.Node, states: Sequence[ir.Value]) -> Whole | None:
    """The result of a Concat of all these states [1, N, k], in order, as [T, N, k] or [N, T, k]."""
    if not ir.standard(node, "Concat") or len(node.inputs) != len(states):
        return None
    axis, result = ir.attribute(node, "axis"), node.outputs[0]
    if len(dims(result) or ()) != 3 or axis % 3 > 1:
        return None
    for value, state in zip(node.inputs, states, strict=True):
        maker = value.producer() if value is not None else None
        if value is None or maker is None:
            return None
        if axis % 3 == 1:
            if not ir.standard(maker, "Unsqueeze") or axes_of(maker) != 1:
                return None
            view, depth = peeled(maker.inputs[0]), -1
        else:
            view, depth = peeled(value), 0
        if view.value is not state or view.depth != depth:
            return None
    return Whole(result, axis % 3)
