"""If with a condition that is known, or with two equal branches, becomes the branch it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from optc.compiler import analysis, ir
from optc.compiler.edit import Editor
from optc.compiler.numerics import Numerics
from optc.compiler.pipeline import Pass
from optc.passes.cleanup.fold_constants import FoldConstants
from optc.passes.cleanup.infer_shapes import InferShapes
from optc.passes.cleanup.share_subexpressions import RANDOM, attribute_key


@dataclass(frozen=True)
class InlineIf(Pass):
    """If with a constant condition, or with equal branches -> the nodes of the branch that it takes.

    What a branch gives has a known type at last, and the next condition may be a question of it: types are inferred and constants
    folded again for as long as an If was inlined.
    """

    name = "inline-if"
    numerics = Numerics.REASSOCIATED

    def run(self, edit: Editor) -> None:
        while sum(_inline(edit, node) for graph in list(ir.all_graphs(edit.graph)) for node in list(graph)):
            analysis.forget(edit.graph)
            InferShapes().run(edit)
            FoldConstants().run(edit)


def _inline(edit: Editor, node: ir.Node) -> bool:
    if not ir.standard(node, "If") or node.graph is None:
        return False
    condition = ir.const(node.inputs[0])
    if condition is None and not _equal(node):
        return False
    if not edit.step(node):
        return False
    branch = ir.attribute_graph(node, "then_branch" if condition is None or condition.reshape(()) else "else_branch")
    body = branch.clone(allow_outer_scope_values=True)
    for value in list(body.initializers.values()):
        array = ir.const(value)
        if array is not None:
            value.replace_all_uses_with(edit.initializer(array, value.name or ""), replace_graph_outputs=True)
    results, nodes = list(body.outputs), list(body)
    body.outputs.clear()
    body.remove(nodes)
    for inner in nodes:
        ir.set_origin(inner, ir.origin(inner).by(edit.owner))
    edit.insert_before(node, nodes)
    taken: set[ir.Value] = set()
    for old, new in zip(list(node.outputs), results, strict=True):
        if old.is_graph_output() and (new.producer() not in nodes or new in taken):  # it cannot take the output's name
            copy = edit.node("Identity", [new], name=f"{node.name}_copy", sources=[node])
            edit.insert_before(node, [copy])
            new = copy.outputs[0]
        taken.add(new)
        edit.replace(old, new)
    inputs = list(node.inputs)
    edit.remove(node, "its condition is known: the branch that it takes stays")
    edit.sweep(inputs)
    return True


def _equal(node: ir.Node) -> bool:
    """Whether both branches are the same nodes in the same order, without random numbers."""
    branches = list(ir.bodies(node))
    if len({len(b) for b in branches}) != 1 or any(n.op_type in RANDOM for b in branches for n in b):
        return False
    first, second = (_text(b) for b in branches)
    return bool(first == second)


def _text(branch: ir.Graph) -> Any:
    """What a branch computes, whatever its values are called; something that equals nothing where it has bodies."""
    number: dict[ir.Value, Any] = {}
    for i, held in enumerate(branch.initializers.values()):
        array = ir.const(held)
        if array is None:
            return object()
        number[held] = ("weight", str(held.dtype), array.shape, array.tobytes()) if array.dtype.kind != "O" else (id(branch), i)
    rows: list[Any] = []
    for node in branch:
        if any(True for _ in ir.bodies(node)):
            return object()
        inputs = tuple(None if v is None else number.get(v, id(v)) for v in node.inputs)
        rows.append(
            (
                node.domain,
                node.op_type,
                inputs,
                len(node.outputs),
                tuple(sorted((k, attribute_key(a)) for k, a in node.attributes.items())),
            )
        )
        number.update((v, ("value", len(rows), i)) for i, v in enumerate(node.outputs))
    return rows, [number.get(v, id(v)) for v in branch.outputs]
