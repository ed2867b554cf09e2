"""Dimensions of values, and arrays of dimensions: what shape arithmetic is made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from optc.compiler import dimension_text, ir, symbolic
from optc.compiler.symbolic import Dim

SMALL = 64
"""Larger tensors are data, not shapes."""
INTEGERS = frozenset(
    ir.DataType[name] for name in ("BOOL", *(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)))
)
NOTED = "optc.shape"
"""Where a value keeps what was inferred of it while its shape says what the interface says."""

Array = ir.Array
Dims = tuple[Dim | None, ...]
"""What is known of a shape: None stands for an extent that cannot be said."""
NOTHING: Sequence[Dims | None] = ()
INCONSISTENT = (IndexError, ValueError, ZeroDivisionError)
"""What a rule raises at a node whose ranks, axes and sizes contradict each other: it is in a branch that no run takes."""


def dims(value: ir.Value | None) -> tuple[Dim, ...] | None:
    """The dimensions of a value; None: the rank is unknown.

    A dimension without a name counts as a name of its own, and so does a named one of a graph output: there the name is what
    an exporter called it, and nothing makes sure that it means the same as in an input. What was inferred of it counts.
    """
    if value is None or value.shape is None:
        return None
    shape, known = value.shape, None
    if value.is_graph_output() and not value.is_graph_input():
        known = value.meta.get(NOTED) or _by_rule(value)
        known = known if known is not None and len(known) == len(shape) else [None] * len(shape)
    return tuple(
        d if isinstance(d, int) else dimension_text.parse(n) if n is not None else own(value, i)
        for i, (d, n) in enumerate(zip(shape, (_text(d) for d in known or shape), strict=True))
    )


def own(value: ir.Value, axis: int) -> Dim:
    """A dimension that no other is known to equal."""
    return symbolic.name(f"{value.name}_d{axis}")


def _text(dim: Any) -> str | None:
    return None if dim is None else str(dim) if isinstance(dim, int | str) else dim.value


def _by_rule(value: ir.Value) -> Sequence[Any] | None:
    """The dimensions of a value that follow from the inputs of its node."""
    from optc.compiler import shape_rules  # it builds on this module
    from optc.compiler.contents import Contents

    node, at = value.producer(), value.index() or 0
    rules = shape_rules.outputs(Contents(), node) if node is not None else ()
    found = rules[at] if at < len(rules) else None
    return None if found is None else [None if d is None else symbolic.text(d) for d in found]


def known_array(array: Array | None) -> Array | None:
    """The content as an integer array where every element is a number (of uint64, one that int64 holds)."""
    if array is None or not all(isinstance(x, int) and x < 1 << 63 for x in array.flat):
        return None
    return array.astype(np.int64)


def objects(array: Any) -> Array:
    """An array of numbers and expressions as one of Python objects."""
    result = np.empty(np.shape(array), dtype=object)
    for i, x in np.ndenumerate(np.asarray(array, dtype=object)):
        result[i] = x if x is None or isinstance(x, symbolic.Expr) else int(x)
    return result


def product(factors: Iterable[Any]) -> Dim:
    total: Dim = 1
    for f in factors:
        total = total * f
    return total


def broadcast_dims(shapes: Sequence[Sequence[Dim | None]]) -> Dims:
    """Multidirectional broadcasting; None for a dimension that cannot be said."""
    rank = max(map(len, shapes), default=0)
    return tuple(_broadcast_dim([s[i - rank] for s in shapes if i >= rank - len(s)]) for i in range(rank))


def _broadcast_dim(column: Sequence[Dim | None]) -> Dim | None:
    known = [d for d in column if d is not None]
    total: Dim | None = 1
    for d in known:
        total = symbolic.broadcast(total, d) if total is not None else None
    if total is None:
        return next((d for d in known if symbolic.never_one(d)), None)
    return total if len(known) == len(column) or symbolic.never_one(total) else None


def matmul_dims(a: Sequence[Dim], b: Sequence[Dim]) -> Dims:
    rows, columns = a[-2:-1], b[-1:] if len(b) > 1 else ()
    return (*broadcast_dims([a[:-2], b[:-2]]), *rows, *columns)
