"""Rules of canonicalize for sequences that are made and read at once, as exporters of scripts write split, unbind and cat."""

from __future__ import annotations

from typing import Any

import numpy as np

from optc.compiler import ir
from optc.compiler.contents import dims
from optc.compiler.rewrite import Builder, Refuse, Rule
from optc.passes.cleanup.operands import one_node, rank


def _made(x: ir.Value, op_type: str) -> ir.Node | None:
    node = x.producer()
    return node if node is not None and ir.standard(node, op_type) else None


def _concat(op: Builder, x: ir.Value, node: ir.Node) -> Any:
    """ConcatFromSequence(SequenceConstruct(a, b)) -> Concat(a, b)."""
    inner = _made(x, "SequenceConstruct")
    if inner is None:
        return None
    if ir.attribute(node, "new_axis", 0):
        return Refuse("it stacks along a new axis")
    op.also(inner)
    return op.Concat(*inner.inputs, axis=ir.attribute(node, "axis"))


def _at(op: Builder, x: ir.Value, a: ir.Value, node: ir.Node) -> Any:
    """An element of what was put together is that; one of what was split is a Gather or a Slice."""
    position = ir.const(a)
    if position is None:
        return Refuse("which element is computed")
    index = int(position.reshape(-1)[0])
    joined = _made(x, "SequenceConstruct")
    if joined is not None:
        return joined.inputs[index] if -len(joined.inputs) <= index < len(joined.inputs) else Refuse("it is out of range")
    split = _made(x, "SplitToSequence")
    return None if split is None else _part(op, split, index)


def _part(op: Builder, split: ir.Node, index: int) -> Any:
    value, total = split.inputs[0], rank(split.inputs[0])
    known = dims(value)
    if value is None or total is None or known is None or op.opset < 11:
        return Refuse("the rank of what is split is unknown")
    axis = int(ir.attribute(split, "axis", 0)) % total
    given = split.inputs[1] if len(split.inputs) > 1 else None
    op.also(split)
    if given is None:
        keep = ir.attribute(split, "keepdims", 1)
        return op.Gather(value, np.array([index] if keep else index, np.int64), axis=axis)
    sizes, extent = ir.const(given), known[axis]
    if sizes is None:
        return Refuse("the sizes of the parts are computed")
    if sizes.ndim == 0:
        if index < 0 and not isinstance(extent, int):
            return Refuse("how many parts there are is known at run time")
        size = int(sizes)
        index = index if index >= 0 or not isinstance(extent, int) else index + -(-extent // size)
        start, end = index * size, (index + 1) * size
    else:
        ends = np.cumsum(sizes)
        start, end = int(ends[index] - sizes[index]), int(ends[index])
    if isinstance(extent, int) and not 0 <= start < extent:
        return Refuse("it is out of range")
    if not isinstance(extent, int) and sizes.ndim == 0:
        return Refuse("there may be fewer parts")
    return op.Slice(value, *(np.array([i], np.int64) for i in (start, end, axis)))


SEQUENCES: tuple[Rule, ...] = (
    Rule("concat-of-sequence", one_node("ConcatFromSequence", 1), _concat),
    Rule("element-of-sequence", one_node("SequenceAt", 2), _at),
)
