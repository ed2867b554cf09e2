"""If with a condition that is known becomes the branch it takes."""

from __future__ import annotations

from dataclasses import dataclass

from optc.compiler import analysis, ir
from optc.compiler.edit import Editor
from optc.compiler.numerics import Numerics
from optc.compiler.pipeline import Pass
from optc.passes.cleanup.fold_constants import FoldConstants
from optc.passes.cleanup.infer_shapes import InferShapes


@dataclass(frozen=True)
class InlineIf(Pass):
    """If with a constant condition -> the nodes of the branch that it takes.

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
    if condition is None or not edit.step(node):
        return False
    branch = ir.attribute_graph(node, "then_branch" if condition.reshape(()) else "else_branch")
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
