"""Shapes of Loop and Scan: extents of states that stay the same, and how many rows are gathered.

That an extent stays is shown by induction: if it is, at the start of a step, what it was before the loop, the body gives it back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from optc.compiler import ir, symbolic
from optc.compiler.contents import Contents, dims
from optc.compiler.dimensions import own
from optc.compiler.edit import Editor
from optc.compiler.symbolic import Dim

Infer = Callable[[ir.Graph, Contents], None]
State = tuple[ir.Value, ir.Value | None, ir.Value]
"""What the body is given, what the node is given for the first step, and what the body gives back."""


def infer(edit: Editor, node: ir.Node, known: Contents, graph: Infer) -> None:
    """Record the types in the body of a Loop or Scan; `graph` does that for a graph whose inputs are known."""
    (body,) = ir.bodies(node)
    for value, shape in _items(node, body):
        if value.shape != shape:
            edit.set_type(value, value.dtype, shape)
    carried = _states(node, body)
    kept = {(i, axis) for i, (inner, first, _) in enumerate(carried) for axis in range(_rank(inner, first))}
    while True:
        mark = edit.mark()
        for i, (inner, first, _) in enumerate(carried):
            _enter(edit, inner, first, [axis for j, axis in kept if j == i])
        graph(body, Contents(known))
        lost = {(i, axis) for i, axis in kept if not _stays(carried[i], axis)}
        if not lost:
            return
        edit.rollback(mark)
        kept -= lost


def _states(node: ir.Node, body: ir.Graph) -> list[State]:
    """Of a Scan of opset 8, which had batches, none."""
    loop = node.op_type == "Loop"
    scanned = 0 if loop else int(ir.attribute(node, "num_scan_inputs"))
    if not loop and len(body.inputs) != len(node.inputs):
        return []
    inner = list(body.inputs)[2:] if loop else list(body.inputs)[: len(node.inputs) - scanned]
    first, results = node.inputs[2 if loop else 0 :][: len(inner)], list(body.outputs)[1 if loop else 0 :]
    return list(zip(inner, first, results, strict=False))


def _rank(inner: ir.Value, first: ir.Value | None) -> int:
    """The number of extents that may stay: those of the initial state, unless the body declares another number."""
    shape = dims(first)
    return len(shape) if shape is not None and (inner.shape is None or len(inner.shape) == len(shape)) else 0


def _enter(edit: Editor, inner: ir.Value, first: ir.Value | None, kept: Sequence[int]) -> None:
    before = dims(first)
    if before is None or not _rank(inner, first):
        return
    shape = ir.Shape(symbolic.text(d if i in kept else own(inner, i)) for i, d in enumerate(before))
    if inner.shape != shape:
        edit.set_type(inner, inner.dtype or (first.dtype if first is not None else None), shape)


def _stays(state: State, axis: int) -> bool:
    inner, after = dims(state[0]), dims(state[2])
    return inner is not None and after is not None and len(after) == len(inner) and after[axis] == inner[axis]


def _items(node: ir.Node, body: ir.Graph) -> Iterator[tuple[ir.Value, ir.Shape]]:
    """What a Scan gives its body of each scanned input: the same extents in every step, without the axis."""
    if node.op_type != "Scan" or len(body.inputs) != len(node.inputs):
        return
    scanned = int(ir.attribute(node, "num_scan_inputs"))
    axes = ir.attribute(node, "scan_input_axes", (0,) * scanned)
    for value, whole, axis in zip(list(body.inputs)[-scanned:], node.inputs[-scanned:], axes, strict=True):
        shape = dims(whole)
        if shape is not None:
            rest = list(shape)
            del rest[axis]
            yield value, ir.Shape(symbolic.text(d) for d in rest)


def outputs(node: ir.Node, known: Contents) -> Iterator[tuple[ir.DataType | None, ir.Shape | None]]:
    """A state has the extents that it begins with where they stay; gathered outputs have one dimension more, the count."""
    (body,) = ir.bodies(node)
    carried = _states(node, body)
    for inner, first, after in carried:
        yield after.dtype, _shape(_after(dims(first), dims(inner), dims(after)))
    results = list(body.outputs)[len(carried) + (1 if node.op_type == "Loop" else 0) :]
    axes = ir.attribute(node, "scan_output_axes", (0,) * len(results))
    local = _Local(body)
    for value, axis in zip(results, axes, strict=False):
        shape = dims(value)
        if shape is None:
            yield value.dtype, None
            continue
        rows: list[Dim | None] = [None if local.knows(d) else d for d in shape]
        rows.insert(axis if axis >= 0 else axis + len(rows) + 1, _count(node, body, known))
        yield value.dtype, _shape(rows)


def _shape(known: Sequence[Dim | None] | None) -> ir.Shape | None:
    return None if known is None else ir.Shape(None if d is None else symbolic.text(d) for d in known)


def _after(first: Any, inner: Any, after: Any) -> list[Dim | None] | None:
    if first is None or after is None or len(first) != len(after):
        return None
    inner = inner if inner is not None and len(inner) == len(first) else [None] * len(first)
    return [a if c == a and (b == a or isinstance(a, int)) else None for a, b, c in zip(first, inner, after, strict=True)]


def _count(node: ir.Node, body: ir.Graph, known: Contents) -> Dim | None:
    """How often the body runs, where nothing but a count stops it."""
    if node.op_type == "Scan":
        axis = ir.attribute(node, "scan_input_axes", (0,))[0]
        shape = dims(node.inputs[-int(ir.attribute(node, "num_scan_inputs"))])
        return None if shape is None else shape[axis]
    most, go = (node.inputs[i] if i < len(node.inputs) else None for i in (0, 1))
    limit = known.of(most)
    if limit is None or limit.size != 1 or not (go is None or _true(known, go)):
        return None
    goes_on: ir.Value | None = body.outputs[0]
    while goes_on is not None and (maker := goes_on.producer()) is not None and ir.standard(maker, "Identity"):
        goes_on = maker.inputs[0]
    return symbolic.maximum(limit.item(), 0) if goes_on is body.inputs[1] or _true(known, goes_on) else None


def _true(known: Contents, value: ir.Value | None) -> bool:
    found = known.of(value)
    return found is not None and found.size == 1 and found.item() == 1


class _Local:
    """Names of dimensions that mean something in one step alone."""

    def __init__(self, body: ir.Graph) -> None:
        graphs = list(ir.all_graphs(body))
        self._values = {v.name for g in graphs for v in (*g.inputs, *(v for n in g for v in n.outputs))}

    def knows(self, dim: Dim) -> bool:
        return any(name.rpartition("_d")[0] in self._values for name in symbolic.names(dim))
