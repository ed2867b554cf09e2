"""Shape arithmetic: what is known of the elements of small integer tensors, as dimensions (compiler/symbolic.py).

`contents(graph).of(value)` follows Shape, Gather, Slice, Concat and their like back to constants and to the shapes of values.
"""

from __future__ import annotations

import numpy as np

from optc.compiler import ir
from optc.compiler.analysis import analysis
from optc.compiler.content_rules import RULES
from optc.compiler.dimensions import INCONSISTENT, INTEGERS, SMALL, Array, dims, known_array, objects

__all__ = ["INTEGERS", "RULES", "SMALL", "Array", "Contents", "contents", "contents_at", "dims", "known_array"]

COUNTS = (None, ir.DataType.BOOL, ir.DataType.INT32, ir.DataType.INT64)
"""Types in which sizes are computed: narrow and unsigned ones wrap round."""
DEPTH = 64
"""How far back shape arithmetic is followed."""


@analysis
def contents(graph: ir.Graph) -> Contents:
    """The shape arithmetic of a graph, shared by the passes between which it does not change."""
    return Contents()


def contents_at(node: ir.Node) -> Contents:
    """What is remembered where a node is. Edits that keep what values hold leave it true, so that a rule may ask in its pass."""
    return contents(node.graph) if isinstance(node.graph, ir.Graph) else Contents()


class Contents:
    """Contents of values, remembered while the graph does not change. What `outer` remembers is taken from it."""

    def __init__(self, outer: Contents | None = None) -> None:
        self._known: dict[ir.Value, Array | None] = {}
        self._outer = outer
        self._depth = 0

    def of(self, value: ir.Value | None) -> Array | None:
        """The elements, an array of objects (int or symbolic.Expr) in the value's shape; None where they cannot be known."""
        found = self.partly(value)
        return None if found is None or any(x is None for x in found.flat) else found

    def partly(self, value: ir.Value | None) -> Array | None:
        """As `of`, but None stands for the elements that cannot be known; None where the shape cannot."""
        if value is None or (value.dtype is not None and value.dtype not in INTEGERS):
            return None
        if self._outer is not None and value in self._outer._known:
            return self._outer._known[value]
        if value not in self._known:
            if self._depth >= DEPTH:
                return None
            self._depth += 1
            self._known[value] = self._find(value)
            self._depth -= 1
        return self._known[value]

    def _find(self, value: ir.Value) -> Array | None:
        held = ir.const_tensor(value)
        if held is not None:
            return objects(held.numpy()) if held.size <= SMALL and held.dtype in INTEGERS else None
        node = value.producer()
        found = None
        if node is not None and node.domain in ("", "ai.onnx") and node.op_type in RULES and value.dtype in COUNTS:
            try:
                found = RULES[node.op_type](self, node)
            except INCONSISTENT:
                return None
            found = found[value.index() or 0] if isinstance(found, list) else found
        if found is None or not _fits(found, value.dtype):
            return _unknown(value)
        return found if found.size <= SMALL else None


def _fits(content: Array, dtype: ir.DataType | None) -> bool:
    """Whether no number is out of the dtype's range: there integers wrap, and are not what exact arithmetic says."""
    if dtype is None or dtype == ir.DataType.BOOL:
        return True
    low, high = int(dtype.min), int(dtype.max)
    return all(low <= x <= high for x in content.flat if isinstance(x, int))


def _unknown(value: ir.Value) -> Array | None:
    """Elements of which nothing is known, where there is a known number of them."""
    shape = [d for d in dims(value) or (SMALL + 1,) if isinstance(d, int)]
    if value.dtype is None or len(shape) != len(value.shape or (None,)) or (size := int(np.prod(shape))) > SMALL:
        return None
    return objects([None] * size).reshape(shape)
