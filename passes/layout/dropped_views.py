"""Views and reductions at the edges of a region whose maps lose an axis of extent 1: they take up the difference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from optc.compiler import ir
from optc.compiler.contents import Contents, dims
from optc.compiler.edit import Editor
from optc.compiler.rewrite import ir_attr
from optc.passes.cleanup.carried import REDUCTIONS
from optc.passes.cleanup.operands import axes_of
from optc.passes.layout.dropped_axis import RANK, fewer, set_axes


@dataclass(frozen=True)
class Exit:
    """What a reader of a map does where the map has lost its axis: `saved` nodes less, after `turn`."""

    saved: int
    turn: Callable[[Editor, ir.Value], None]


def entrance(node: ir.Node | None, axis: int) -> list[int] | None:
    """The axes that an Unsqueeze, or the shape that a Reshape gives a map without its axis; None: the node is no such view.

    No axes at all: the map without its axis is what the view is of.
    """
    if node is None or node.inputs[0] is None:
        return None
    if ir.standard(node, "Unsqueeze"):
        axes = axes_of(node, made=True)
        return None if axes is None or axis not in axes else [fewer(a, axis) for a in sorted(axes) if a != axis]
    if not ir.standard(node, "Reshape") or len(node.inputs) < 2:
        return None
    target, result = ir.const(node.inputs[1]), dims(node.outputs[0])
    if target is None or result is None or target.shape != (RANK,):
        return None
    copies = not ir.attribute(node, "allowzero", 0)
    found: list[int] = []
    for i, size in enumerate(target.tolist()):
        known = result[i]
        if size == 0 and copies and i > axis:  # an axis of the source by its number, which changes
            if not isinstance(known, int) or known == 0:
                return None
            size = known
        if i != axis:
            found.append(size)
    return found


def leaving(node: ir.Node, at: int, axis: int) -> Exit | None:
    """How a node that reads a map as its input `at` takes it without axis `axis`; None: it cannot."""
    if at or not ir.standard(node, node.op_type):
        return None
    kind = node.op_type
    if kind == "Flatten":
        given = int(ir.attribute(node, "axis", 1))
        first = fewer(given + RANK if given < 0 else given, axis)  # of the axes that become columns
        return Exit(0, lambda edit, _: edit.set_attribute(node, "axis", ir_attr("axis", first)))
    if kind == "Reshape" and len(node.inputs) > 1:
        return _reshape(node, axis)
    if kind == "Squeeze" or (kind in REDUCTIONS and not ir.attribute(node, "keepdims", 1)):
        axes = axes_of(node)
        if axes is None or axis not in axes:
            return None
        left = [fewer(a, axis) for a in axes if a != axis]
        if left:
            return Exit(0, lambda edit, _: set_axes(edit, node, left))
        return Exit(1, lambda edit, value: _take(edit, node, value)) if kind == "Squeeze" else None
    return None


def _take(edit: Editor, node: ir.Node, value: ir.Value) -> None:
    edit.replace(node.outputs[0], value)
    edit.remove(node)


def _reshape(node: ir.Node, axis: int) -> Exit | None:
    """Zeros of the target name axes of the map by their numbers, which change from the dropped one on."""
    known = Contents().partly(node.inputs[1])
    if ir.attribute(node, "allowzero", 0):
        return Exit(0, lambda edit, _: None)
    if known is None or known.ndim != 1:
        return None
    target, extents = list(known), dims(node.inputs[0]) or ()
    for i in range(axis, len(target)):
        if isinstance(target[i], int) and target[i] == 0:
            extent = extents[i] if i < len(extents) else None
            if not isinstance(extent, int) or extent == 0 or ir.const_tensor(node.inputs[1]) is None:
                return None
            target[i] = extent
        elif not isinstance(target[i], int):
            return None
    if target == list(known):
        return Exit(0, lambda edit, _: None)
    return Exit(0, lambda edit, _: edit.set_input(node, 1, edit.initializer(np.array(target, np.int64), f"{node.name}_shape")))
