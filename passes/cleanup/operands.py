"""What rules of clean-up ask of a node, whatever the opset: axes, bounds, a pattern that is one node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from optc.compiler import ir
from optc.compiler.contents import contents_at, known_array
from optc.compiler.rewrite import Builder, PatternBuilder

_AXES_AS_INPUT = {"Squeeze": 13, "Unsqueeze": 13, "ReduceSum": 13}
"""From which opset on axes are an input; other reductions: 18."""


def one_node(op_type: str, inputs: int, **attributes: Any) -> Callable[..., Any]:
    """The pattern of one operator with up to so many inputs: `x`, then optional `a`, `b`, `c`, `d`; its name is `node`."""

    def pattern(op: PatternBuilder, x: Any, a: Any | None, b: Any | None, c: Any | None, d: Any | None) -> Any:
        return getattr(op, op_type)(*(x, a, b, c, d)[:inputs], name="node", **attributes)

    return pattern


def rank(value: ir.Value | None) -> int | None:
    return len(value.shape) if value is not None and value.shape is not None else None


def axes_of(node: ir.Node, *, made: bool = False) -> tuple[int, ...] | None:
    """The constant axes of a node, counted from the front; `made`: they are axes of its result. None: unknown, or none given."""
    if len(node.inputs) > 1:
        held = known_array(contents_at(node).of(node.inputs[1]))
        given = None if held is None else tuple(int(a) for a in held.ravel())
    else:
        given = ir.attribute(node, "axes")
    if given is None or all(a >= 0 for a in given):
        return given
    known = rank(node.inputs[0])
    if known is None:
        return None
    total = known + len(given) if made else known
    return tuple(a % total for a in given)


def with_axes(op: Builder, op_type: str, x: ir.Value, axes: Sequence[int], **attributes: Any) -> Any:
    """A node with axes as its opset has them, an input or an attribute."""
    if op.opset >= _AXES_AS_INPUT.get(op_type, 18):
        return getattr(op, op_type)(x, np.array(axes, np.int64), **attributes)
    return getattr(op, op_type)(x, axes=list(axes), **attributes)


def parted(op: Builder, x: ir.Value, sizes: Sequence[int], axis: int) -> Any:
    """The parts of a Split, with their sizes as its opset has them, an input or an attribute."""
    if op.opset >= 13:
        return op.Split(x, np.array(sizes, np.int64), outputs=len(sizes), axis=axis)
    return op.Split(x, outputs=len(sizes), axis=axis, split=list(sizes))


def bounds_of(node: ir.Node) -> tuple[float | None, float | None] | None:
    """The constant bounds of a Clip (None: there is none); None where one of them is computed or no number."""
    found: list[float | None] = []
    for i, name in ((1, "min"), (2, "max")):
        given = node.inputs[i] if len(node.inputs) > i else None
        held = ir.const(given) if given is not None and given.name else ir.attribute(node, name)
        if held is None and given is not None and given.name:
            return None
        value = None if held is None else np.asarray(held).reshape(-1)
        if value is not None and (value.size != 1 or value[0] != value[0]):
            return None
        found.append(None if value is None else value[0].item())
    return found[0], found[1]


def only_use(value: ir.Value) -> bool:
    """Whether one node alone reads the value, once, and it is no output of the graph."""
    return len(value.uses()) == 1 and not value.is_graph_output()
