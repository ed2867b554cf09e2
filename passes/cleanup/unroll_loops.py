"""Loop and Scan of a few steps become those steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from optc.compiler import analysis, ir, regions
from optc.compiler.contents import contents, dims, known_array
from optc.compiler.edit import Editor
from optc.compiler.numerics import Numerics
from optc.compiler.pipeline import Pass
from optc.compiler.shapes import infer_node
from optc.passes.cleanup.canonicalize import Canonicalize
from optc.passes.cleanup.fold_constants import FoldConstants


@dataclass(frozen=True)
class UnrollLoops(Pass):
    """A Loop with a constant count whose condition stays true, and a Scan over a known extent, become their steps in a row.

    What the steps compute of their number is folded, and the next loop may be bounded by it: constants are folded again for as
    long as a loop was unrolled. `max_growth`: by how many nodes the model may grow in all.
    """

    max_growth: int = 100

    name = "unroll-loops"
    numerics = Numerics.REASSOCIATED

    def run(self, edit: Editor) -> None:
        room = self.max_growth
        while (left := self._unrolled(edit, room)) is not None:
            room = left
            analysis.forget(edit.graph)
            Canonicalize().run(edit)
            FoldConstants().run(edit)

    def _unrolled(self, edit: Editor, room: int) -> int | None:
        """Unroll what there is room for, innermost loops first; the room that is left, None where nothing was unrolled."""
        done = False
        for graph in reversed(list(ir.all_graphs(edit.graph))):
            for node in list(graph):
                steps = _steps(node, edit) if ir.standard(node, "Loop", "Scan") and node.graph is graph else None
                if steps is None:
                    continue
                if isinstance(steps, str):
                    edit.refuse(node, self.name, steps)
                    continue
                (body,) = ir.bodies(node)
                growth = (steps - 1) * sum(len(g) for g in ir.all_graphs(body))
                if growth > room:
                    edit.refuse(node, self.name, f"the model would grow by {growth} nodes, {room} are left of max-growth")
                elif edit.step(node):
                    room, done = room - growth, True
                    _unroll(edit, node, steps)
        return room if done else None


def _steps(node: ir.Node, edit: Editor) -> int | str:
    """How many steps a loop takes, or why that is not known."""
    (body,) = ir.bodies(node)
    gathered = len(body.outputs) - _states(node)
    if node.op_type == "Scan":
        if len(body.inputs) != len(node.inputs):
            return "Scan of opset 8 has batches"
        scanned = node.inputs[len(node.inputs) - int(ir.attribute(node, "num_scan_inputs"))]
        axis = ir.attribute(node, "scan_input_axes", (0,))[0]
        known = dims(scanned)
        count = known[axis] if known is not None else None
    else:
        if not _true(node.inputs[1] if len(node.inputs) > 1 else None, body, None):
            return "its condition may be false"
        if not _true(body.outputs[0], body, body.inputs[1]):
            return "its condition may become false"
        held = known_array(contents(edit.graph).of(node.inputs[0])) if node.inputs[0] is not None else None
        count = None if held is None else max(int(held.reshape(-1)[0]), 0)
        gathered -= 1
    if not isinstance(count, int):
        return "how many steps it takes is known at run time"
    return "without a step, what it gathers has no shape" if gathered and not count else count


def _states(node: ir.Node) -> int:
    """How many values a loop hands from step to step."""
    return len(node.inputs) - (2 if node.op_type == "Loop" else int(ir.attribute(node, "num_scan_inputs")))


def _true(value: ir.Value | None, body: ir.Graph, given: ir.Value | None) -> bool:
    """Whether a condition is constantly true, or (`given`) the one that the step was given, handed on."""
    if value is None or value is given:
        return True
    node = value.producer()
    if node is not None and ir.standard(node, "Identity"):
        return _true(node.inputs[0], body, given)
    held = ir.const(value)
    return held is not None and bool(held.reshape(()))


def _unroll(edit: Editor, node: ir.Node, steps: int) -> None:
    (body,) = ir.bodies(node)
    loop, states = node.op_type == "Loop", _states(node)
    first = 2 if loop else 0
    state = [v for v in node.inputs[first : first + states] if v is not None]
    scanned = list(node.inputs[first + states :])
    lifted = {
        held: edit.initializer(array, held.name or "")
        for held in body.initializers.values()
        if (array := ir.const(held)) is not None
    }
    gathered: list[list[ir.Value]] = [[] for _ in body.outputs[states + int(loop) :]]
    for t in range(steps):
        given: list[ir.Value] = []
        if loop:
            given += [
                edit.initializer(np.array(t, np.int64), f"{node.name}_step"),
                edit.initializer(np.array(True), f"{node.name}_on"),
            ]
        given += state
        given += [_item(edit, node, value, i, t, steps) for i, value in enumerate(scanned) if value is not None]
        results = _step(edit, node, body, {**lifted, **dict(zip(body.inputs, given, strict=True))})
        state = results[int(loop) : states + int(loop)]
        for all_steps, value in zip(gathered, results[states + int(loop) :], strict=True):
            all_steps.append(value)
    made = [*state, *(_stacked(edit, node, values, i) for i, values in enumerate(gathered))]
    taken: set[ir.Value] = set()
    for old, new in zip(node.outputs, made, strict=False):
        if old.is_graph_output() and (
            new.producer() is None or new.graph is not node.graph or new.is_graph_output() or new in taken
        ):
            new = _made(edit, node, "Identity", [new])
        taken.add(new)
        if old.is_graph_output():
            edit.set_type(new, old.dtype, old.shape)
        edit.replace(old, new)
    inputs = [*node.inputs, *regions.captured(body)]
    edit.remove(node)
    edit.sweep([*inputs, *lifted.values()])


def _step(edit: Editor, node: ir.Node, body: ir.Graph, given: dict[ir.Value, ir.Value]) -> list[ir.Value]:
    """Insert one step before a loop; what it gives."""
    nodes = list(body)
    copies = regions.copied(nodes, given)
    results = dict(given)
    for old, copy in zip(nodes, copies, strict=True):
        results.update(zip(old.outputs, copy.outputs, strict=True))
        edit.adopt(copy, node.name or "", [node, old])
    edit.insert_before(node, copies)
    for copy in copies:
        infer_node(edit, copy)
    return [results.get(v, v) for v in body.outputs]


def _item(edit: Editor, node: ir.Node, value: ir.Value, i: int, t: int, steps: int) -> ir.Value:
    """What a Scan takes of an input in a step."""
    axes, directions = ir.attribute(node, "scan_input_axes"), ir.attribute(node, "scan_input_directions")
    index = steps - 1 - t if directions is not None and directions[i] else t
    held = edit.initializer(np.array(index, np.int64), f"{node.name}_step")
    return _made(edit, node, "Gather", [value, held], axis=0 if axes is None else axes[i])


def _stacked(edit: Editor, node: ir.Node, values: Sequence[ir.Value], i: int) -> ir.Value:
    """What the steps gave, along a new axis."""
    axes, directions = ir.attribute(node, "scan_output_axes"), ir.attribute(node, "scan_output_directions")
    axis = 0 if axes is None else axes[i]
    ordered = values[::-1] if directions is not None and directions[i] else values
    parts = []
    for value in ordered:
        if edit.opset() >= 13:
            parts.append(
                _made(edit, node, "Unsqueeze", [value, edit.initializer(np.array([axis], np.int64), f"{node.name}_axis")])
            )
        else:
            parts.append(_made(edit, node, "Unsqueeze", [value], axes=[axis]))
    return _made(edit, node, "Concat", parts, axis=axis)


def _made(edit: Editor, node: ir.Node, op_type: str, inputs: Sequence[ir.Value], **attributes: int | list[int]) -> ir.Value:
    attrs = [ir.convert_attribute(k, v) for k, v in attributes.items()]
    made = edit.node(op_type, inputs, attrs, name=f"{node.name}_{op_type}", sources=[node])
    edit.insert_before(node, [made])
    infer_node(edit, made)
    return made.outputs[0]
