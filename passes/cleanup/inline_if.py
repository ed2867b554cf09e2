"""If whose branch is known (by its condition, or as both are equal) becomes that branch."""

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
        while sum(self._inline(edit, node) for graph in list(ir.all_graphs(edit.graph)) for node in list(graph)):
            analysis.forget(edit.graph)
            InferShapes().run(edit)
            FoldConstants().run(edit)

    def _inline(self, edit: Editor, node: ir.Node) -> bool:
        branch = self._taken(node) if ir.standard(node, "If") and node.graph is not None else None
        if branch is None or not edit.step(node):
            return False
        take(edit, node, branch)
        return True

    def _taken(self, node: ir.Node) -> ir.Graph | None:
        """The one branch that is taken, if that is known."""
        branches = [ir.attribute_graph(node, name) for name in ("then_branch", "else_branch")]
        condition = ir.const(node.inputs[0])
        if node.inputs[0] is None:
            return None  # it went with the branch that it was in
        if condition is not None:
            return branches[0 if condition.reshape(()) else 1]
        return branches[0] if _equal(node) else None


def take(edit: Editor, node: ir.Node, branch: ir.Graph) -> None:
    """Let the nodes of a branch stand for an If."""
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
    edit.remove(node, "the branch that it takes is known, and stays")
    edit.sweep(inputs)


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
