"""Cosines and sines of a rotation back to what RotaryEmbedding takes: rows [B, S, H/2], or a table [M, H/2] and positions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from optc.compiler import ir
from optc.compiler.rewrite import Builder
from optc.passes.attention.walk import MisfitError, known_rank, made_by, operand, scalar, sizes, text


@dataclass(frozen=True)
class Angles:
    """`rows`, of half the width, after `steps`, which are nodes on whole rows; or the rows `ids` of a `table`, of which the Slice
    `cut` leaves only some."""

    rows: ir.Value | None = None
    steps: tuple[ir.Node, ...] = ()
    table: ir.Array | None = None
    ids: ir.Value | None = None
    cut: ir.Node | None = None


def find(value: ir.Value, axis: int, interleaved: bool) -> Angles:
    """Of a value that multiplies heads, with 1 at `axis`, that of the heads. Raises MisfitError."""
    whole = sizes(value)
    one = made_by(value, "Unsqueeze", "Reshape")
    rows = one.inputs[0] if one is not None else None
    if one is None or rows is None or known_rank(rows) != 3 or whole != (*sizes(rows)[:axis], 1, *sizes(rows)[axis:]):
        raise MisfitError(f"'{value.name}' {text(whole)} is not one row for each batch and position, with 1 for the heads", 2)
    steps: list[ir.Node] = []
    while True:
        node = rows.producer() if rows is not None else None
        if rows is None or node is None:
            raise MisfitError(f"'{value.name}' is not computed of halves that are alike", 2)
        if ir.standard(node, "Cos", "Sin", "Cast", "Identity") or (
            ir.standard(node, "Mul", "Div") and scalar(node.inputs[1]) is not None
        ):
            steps, rows = [node, *steps], node.inputs[0]
        elif ir.standard(node, "Gather"):
            return replace(_table(node, value, interleaved), steps=tuple(steps))
        else:
            return Angles(_half(rows, node, value, interleaved), tuple(steps))


def _half(rows: ir.Value, node: ir.Node, value: ir.Value, interleaved: bool) -> ir.Value:
    """What stands twice in rows [B, S, H]."""
    joined = node.inputs[0] if ir.standard(node, "Concat") and len(node.inputs) == 2 and _twice(node) else None
    if joined is not None and not interleaved and ir.attribute(node, "axis") in (-1, 2):
        return joined
    if interleaved and ir.standard(node, "Reshape"):
        spread = made_by(node.inputs[0], "Expand", "Tile", "Concat")
        one = made_by(spread.inputs[0], "Unsqueeze") if spread is not None else None
        inner = one.inputs[0] if one is not None else None
        if spread is not None and inner is not None and known_rank(inner) == 3 and _twice(spread):
            half = sizes(inner)
            if sizes(spread.outputs[0]) == (*half, 2) and sizes(rows) == (*half[:2], 2 * half[2]):
                return inner
    raise MisfitError(f"'{value.name}' is not computed of halves that are alike", 2)


def _twice(node: ir.Node) -> bool:
    return node.op_type != "Concat" or all(v is node.inputs[0] for v in node.inputs)


def _table(node: ir.Node, value: ir.Value, interleaved: bool) -> Angles:
    """Gather(table, ids) of a constant table whose halves are alike, or of as many of its rows as there are positions."""
    cut, ids = made_by(node.inputs[0], "Slice"), node.inputs[1]
    axes = ir.const(operand(cut, 3)) if cut is not None else None
    if axes is None or axes.tolist() not in ([0], [-2]):
        cut = None
    table = ir.const(node.inputs[0] if cut is None else cut.inputs[0])
    if table is None or table.ndim != 2 or ids is None or ir.attribute(node, "axis", 0) != 0 or ids.dtype != ir.DataType.INT64:
        raise MisfitError(f"'{value.name}' is not gathered by int64 positions from a constant table", 2)
    half = table.shape[1] // 2
    first, second = (table[:, ::2], table[:, 1::2]) if interleaved else (table[:, :half], table[:, half:])
    if not np.array_equal(first, second):
        raise MisfitError(f"the halves of the table of '{value.name}' are not alike", 2)
    return Angles(table=np.ascontiguousarray(first), ids=ids, cut=cut)


def rows(op: Builder, found: Angles, known: dict[Any, ir.Value], made: dict[Any, ir.Value]) -> Any:
    """Rows of half the width, by the steps that whole rows went through; `known` and `made` as for masks."""
    current: Any = found.rows
    for node in found.steps:
        key = (node.op_type, id(current), tuple(id(v) for v in node.inputs[1:]), str(dict(node.attributes)))
        if key not in known and key not in made:
            made[key] = getattr(op, node.op_type)(current, *node.inputs[1:], **node.attributes)
        current = known.get(key) or made[key]
    return current
