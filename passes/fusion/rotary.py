"""Rotary position embeddings, however an exporter wrote them, become one operator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from optc.compiler import ir
from optc.compiler.edit import Editor
from optc.compiler.numerics import Numerics
from optc.compiler.pipeline import Pass
from optc.compiler.replace import replace_values
from optc.compiler.rewrite import Builder, Refuse
from optc.passes.attention import angles
from optc.passes.attention.walk import MisfitError, known_rank, made_by, operand, scaled, sizes

OPSET = 23


@dataclass(frozen=True)
class Rotation:
    """x·cos + turned(x)·sin, where `turned` swaps the halves of each head, or its neighbours, and negates the first.

    `axis`: that of the heads in x; `nodes` compute it.
    """

    x: ir.Value
    cos: angles.Angles
    sin: angles.Angles
    interleaved: bool
    axis: int
    nodes: tuple[ir.Node, ...]


@dataclass(frozen=True)
class FuseRotary(Pass):
    """x·cos + rotate_half(x)·sin -> RotaryEmbedding (opset 23), halves or neighbours turned, all of a head or its first elements.

    Cosines and sines are rows for each position, or gathered from a constant table, or from the first rows of one; then each half
    of them is given once.
    """

    name = "fuse-rotary"
    numerics = Numerics.REASSOCIATED

    def run(self, edit: Editor) -> None:
        for graph in ir.all_graphs(edit.graph):
            rows: dict[Any, ir.Value] = {}
            for node in [n for n in graph if ir.standard(n, "Add", "Concat")]:
                if node.graph is None:
                    continue
                try:
                    result = _sum(edit, node, rows) if node.op_type == "Add" else _partial(edit, node)
                except MisfitError as misfit:
                    if misfit.depth > 1:  # every other sum is none
                        edit.refuse(node, self.name, misfit.reason)
                    continue
                if isinstance(result, Refuse):
                    edit.refuse(node, self.name, result.reason)


def _sum(edit: Editor, node: ir.Node, known: dict[Any, ir.Value]) -> Any:
    found = _rotation(node)
    if edit.opset() < OPSET:
        return Refuse(f"RotaryEmbedding is in opset {OPSET}, the model has {edit.opset()}: put convert-opset before")
    if (found.cos.ids is None) != (found.sin.ids is None) or found.cos.ids is not found.sin.ids:
        return Refuse("cosines and sines are of different positions")
    made: dict[Any, ir.Value] = {}
    result = replace_values(edit, node.outputs, found.nodes, lambda op: _rotary(op, found, known, made))
    if not isinstance(result, Refuse):
        known.update(made)
    return result


def _rotation(node: ir.Node) -> Rotation:
    """Raises MisfitError with the reason where an Add is none."""
    left, right = (made_by(v, "Mul") for v in node.inputs)
    if left is None or right is None:
        raise MisfitError(f"{ir.node_id(node)} does not add two products")
    for plain, other in ((left, right), (right, left)):
        for turned, sin in (other.inputs, other.inputs[::-1]):
            found = _turned(turned)
            if found is None or sin is None:
                continue
            x, interleaved, nodes = found
            cos = next((b for a, b in (plain.inputs, plain.inputs[::-1]) if a is x), None)
            if cos is None:
                raise MisfitError(f"{ir.node_id(plain)} does not multiply '{x.name}', which {ir.node_id(other)} turns", 2)
            axis = _axis(x, cos)
            halves = [angles.find(v, axis, interleaved) for v in (cos, sin)]
            _alike(x, axis, halves)
            return Rotation(x, halves[0], halves[1], interleaved, axis, (node, plain, other, *nodes))
    raise MisfitError(f"{ir.node_id(node)} adds no turned halves")


def _axis(x: ir.Value, cos: ir.Value) -> int:
    """1 for x [B, N, S, H], 2 for [B, S, N, H]."""
    own, table = sizes(x, 4), sizes(cos, 4)
    if table[1] == 1 and table[2] == own[2]:
        return 1
    if table[2] == 1 and table[1] == own[1]:
        return 2
    raise MisfitError(f"'{cos.name}' has no row for each position of '{x.name}'", 2)


def _alike(x: ir.Value, axis: int, halves: Sequence[angles.Angles]) -> None:
    """Raises MisfitError where the rows are not one for each batch and position: RotaryEmbedding broadcasts nothing."""
    own = sizes(x, 4)
    batch, length, width = own[0], own[3 - axis], own[3]
    for side in halves:
        places = sizes(side.ids) if side.ids is not None else sizes(side.rows)[:2]
        if places != (batch, length):
            raise MisfitError(f"there are angles for {places} positions, not {(batch, length)}", 2)
        half = side.table.shape[1] if side.table is not None else sizes(side.rows)[2]
        if not isinstance(width, int) or half * 2 != width:
            raise MisfitError(f"there are {half} angles for heads of {width} elements", 2)


def _turned(value: ir.Value | None) -> tuple[ir.Value, bool, list[ir.Node]] | None:
    """(x, whether neighbours, nodes) where the value is x with its halves, or neighbours, swapped and the first negated."""
    node, interleaved, nodes = made_by(value, "Concat"), False, []
    flatten = made_by(value, "Reshape", "Flatten")
    if node is None and flatten is not None:
        node, interleaved, nodes = made_by(flatten.inputs[0], "Concat"), True, [flatten]
    if node is None or value is None or len(node.inputs) != 2 or known_rank(value) is None:
        return None
    if ir.attribute(node, "axis") not in (-1, (known_rank(node.outputs[0]) or 0) - 1):
        return None
    pieces = []
    for piece in node.inputs:
        single = made_by(piece, "Unsqueeze") if interleaved else None
        nodes += [single] if single is not None else []
        pieces.append(single.inputs[0] if single is not None else piece)
    negated, first = pieces
    minus = made_by(negated, "Neg", "Mul")
    if minus is None or first is None or (minus.op_type == "Mul" and (scaled(negated) or (0,))[0] != -1):
        return None
    second = minus.inputs[0] if minus.op_type == "Neg" else (scaled(negated) or (0, None))[1]
    low, high = _part(first, interleaved), _part(second, interleaved)
    if low is None or high is None or low[0] is not high[0] or (low[1], high[1]) != (0, 1):
        return None
    return low[0], interleaved, [node, minus, *nodes, *low[2], *(n for n in high[2] if n not in low[2])]


def _part(value: ir.Value | None, interleaved: bool) -> tuple[ir.Value, int, list[ir.Node]] | None:
    """(x, 0 or 1, nodes) where the value is the first or second half of x, or every other element from the first or second on."""
    node = made_by(value, "Slice", "Split")
    x = node.inputs[0] if node is not None else None
    if node is None or value is None or x is None or known_rank(x) is None:
        return None
    whole, own = sizes(x), sizes(value)
    if not isinstance(whole[-1], int) or own != (*whole[:-1], whole[-1] // 2) or whole[-1] % 2:
        return None
    if node.op_type == "Split":
        last = ir.attribute(node, "axis", 0) in (-1, len(whole) - 1) and len(node.outputs) == 2
        return (x, value.index() or 0, [node]) if last and not interleaved else None
    starts, ends, axes, steps = (ir.const(operand(node, i)) for i in (1, 2, 3, 4))
    if starts is None or ends is None or axes is None or starts.size != 1 or int(axes[0]) not in (-1, len(whole) - 1):
        return None
    start, step = int(starts[0]) % whole[-1], 1 if steps is None else int(steps[0])
    if interleaved:
        return (x, start, [node]) if step == 2 and start in (0, 1) else None
    return (x, start * 2 // whole[-1], [node]) if step == 1 and start in (0, whole[-1] // 2) else None


def _rotary(op: Builder, found: Rotation, known: dict[Any, ir.Value], made: dict[Any, ir.Value]) -> Any:
    if found.cos.table is not None:
        operands = [*(_table(op, side, found.interleaved, known, made) for side in (found.cos, found.sin)), found.cos.ids]
    else:
        operands = [angles.rows(op, side, known, made) for side in (found.cos, found.sin)]
    attributes = {"interleaved": 1 if found.interleaved else None}
    if found.axis == 1:
        return op.RotaryEmbedding(found.x, *operands, **attributes)
    heads, width = sizes(found.x)[2:]
    split = made_by(found.x, "Reshape")
    flat = split.inputs[0] if split is not None else None
    if split is None or sizes(flat) != (*sizes(found.x)[:2], heads * width):
        return Refuse(f"heads are the third axis of '{found.x.name}', and not just split off")
    turned = op.RotaryEmbedding(flat, *operands, num_heads=heads, **attributes)
    return op.Reshape(turned, split.inputs[1])


def _table(op: Builder, side: angles.Angles, interleaved: bool, known: dict[Any, ir.Value], made: dict[Any, ir.Value]) -> Any:
    """A table of half the width, cut as the whole one was: positions may count from its end. One for all that share the cut."""
    if side.cut is None:
        return _stepped(side)
    key = (*side.cut.inputs, interleaved, *((n.op_type, n.inputs[1:], str(dict(n.attributes))) for n in side.steps))
    if key not in known and key not in made:
        made[key] = op.Slice(_stepped(side), *side.cut.inputs[1:])
    return known.get(key) or made[key]


def _stepped(side: angles.Angles) -> ir.Array | None:
    """The table after the steps that its rows go through."""
    table = side.table
    for node in side.steps:
        if table is None:
            return None
        if node.op_type == "Cast":
            table = table.astype(ir.DataType(ir.attribute(node, "to")).numpy())
        elif node.op_type in ("Mul", "Div"):
            factor = ir.const(node.inputs[1])
            table = table * factor if node.op_type == "Mul" else table / factor
        else:
            table = np.cos(table) if node.op_type == "Cos" else np.sin(table) if node.op_type == "Sin" else table
    return table


def _partial(edit: Editor, node: ir.Node) -> Any:
    """Concat(RotaryEmbedding(x[.., :r]), x[.., r:]) -> RotaryEmbedding(x) of the first r elements."""
    first, rest = (node.inputs[0], node.inputs[1]) if len(node.inputs) == 2 else (None, None)
    rotary = made_by(first, "RotaryEmbedding")
    if rotary is None or rotary.inputs[0] is None or first is None or rest is None:
        raise MisfitError(f"{ir.node_id(node)} joins no rotated part")
    low, high = (made_by(v, "Slice", "Split") for v in (rotary.inputs[0], rest))
    x = low.inputs[0] if low is not None else None
    width = sizes(x, 4, 2)[3] if x is not None else None
    part, left = sizes(rotary.inputs[0], 4)[3], sizes(rest, 4)[3]
    fits = low is not None and high is not None and x is high.inputs[0] and part + left == width
    if not fits or not _begins(rotary.inputs[0], 0) or not _begins(rest, part) or len(set(first.consumers())) != 1:
        return Refuse(f"'{rest.name}' is not what is left of '{rotary.inputs[0].name}'")
    if first.is_graph_output() or ir.attribute(node, "axis") not in (-1, 3):
        return Refuse(f"'{first.name}' is seen elsewhere, or joined along another axis")
    attributes = {**rotary.attributes, "rotary_embedding_dim": part}
    sources = [n for n in (node, rotary, low, high) if n is not None]
    return replace_values(
        edit, node.outputs, sources, lambda op: op.RotaryEmbedding(x, *(operand(rotary, i) for i in (1, 2, 3)), **attributes)
    )


def _begins(value: ir.Value, start: int) -> bool:
    """Whether the value is a piece of the last of four axes that begins there."""
    node = value.producer()
    if node is None or node.op_type == "Split":
        return node is not None and ir.attribute(node, "axis", 0) in (-1, 3) and (value.index() == (1 if start else 0))
    starts, axes, steps = (ir.const(operand(node, i)) for i in (1, 3, 4))
    if starts is None or axes is None or starts.size != 1 or int(axes[0]) not in (-1, 3):
        return False
    return int(starts[0]) == start and (steps is None or int(steps[0]) == 1)
