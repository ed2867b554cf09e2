"""What reads a result whose rank the branches of an If decide moves into the branches, where the rank is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from optc.compiler import analysis, ir, regions
from optc.compiler.edit import Editor
from optc.compiler.impossible import blocked
from optc.compiler.numerics import Numerics
from optc.compiler.pipeline import Pass
from optc.passes.cleanup.fold_constants import FoldConstants
from optc.passes.cleanup.infer_shapes import InferShapes
from optc.passes.cleanup.inline_if import InlineIf


@dataclass(frozen=True)
class SinkIntoIf(Pass):
    """An If whose branches give results of different ranks takes in what is behind it, until the ranks agree again.

    In each branch the ranks are known then: types are inferred, constants folded, and what is asked of a rank is answered, for as
    long as there is such an If. A branch that no input makes valid stays as it is.

    `max_growth`: by how many nodes the model may grow in all.
    """

    max_growth: int = 1000

    name = "sink-into-if"
    numerics = Numerics.REASSOCIATED

    def run(self, edit: Editor) -> None:
        room = self.max_growth
        while (left := self._sunk(edit, edit.graph, room)) < room:
            room = left
            analysis.forget(edit.graph)
            InferShapes().run(edit)
            FoldConstants().run(edit)
            InlineIf().run(edit)

    def _sunk(self, edit: Editor, graph: ir.Graph, room: int) -> int:
        """Sink into each If of a graph and its bodies once, but not into those copied by it; how much room is left."""
        copied: set[ir.Node] = set()
        for node in list(graph):
            apart = differing(node) if node.graph is graph else set()
            moved = behind(graph, node, apart) if apart else []
            size = _size(moved)
            foreign = next(
                (v for n in moved for v in n.outputs if v.type is not None and not isinstance(v.type, ir.TensorType)), None
            )
            if foreign is not None:
                edit.refuse(node, self.name, f"'{foreign.name}' behind it is no tensor")
            elif size > room:
                edit.refuse(node, self.name, f"the model would grow by {size} nodes, {room} are left of max-growth")
            elif moved and edit.step(node):
                copied.add(sink(edit, graph, node, moved))
                room -= size
        for body in [body for node in graph if node not in copied for body in ir.bodies(node)]:
            if blocked(body, edit.model.opset_imports) is None:
                room = self._sunk(edit, body, room)
        return room


def differing(node: ir.Node) -> set[ir.Value]:
    """The results that the branches of an If give in different ranks, all of them known; whatever an exporter noted of them."""
    if not ir.standard(node, "If"):
        return set()
    columns = zip(*(body.outputs for body in ir.bodies(node)), strict=True)
    ranks = [{None if v.shape is None else len(v.shape) for v in column} for column in columns]
    return {value for value, found in zip(node.outputs, ranks, strict=True) if len(found) > 1 and None not in found}


def _size(nodes: Sequence[ir.Node]) -> int:
    return sum(1 + sum(len(g) for body in ir.bodies(node) for g in ir.all_graphs(body)) for node in nodes)


def behind(graph: ir.Graph, node: ir.Node, apart: set[ir.Value]) -> list[ir.Node]:
    """The nodes behind an If that read its results of different ranks or read or give a value of unknown rank, and those between.

    One that gives such a value may be an If that asks what the first one asked: it is answered in the branches, too.
    """
    after, reached, wanted = list[ir.Node](), set(node.outputs), set[ir.Node]()
    nodes = iter(graph)
    for other in nodes:
        if other is node:
            break
    for other in nodes:
        read = set(regions.read(other))
        if not reached.isdisjoint(read):
            after.append(other)
            reached.update(other.outputs)
            if any(v in apart or (v.shape is None and v in reached) for v in (*read, *other.outputs)):
                wanted.add(other)
    needed: set[ir.Value] = set()
    for other in reversed(after):
        if other in wanted or not needed.isdisjoint(other.outputs):
            wanted.add(other)
            needed.update(regions.read(other))
    return [other for other in after if other in wanted]


def sink(edit: Editor, graph: ir.Graph, node: ir.Node, moved: Sequence[ir.Node]) -> ir.Node:
    """Put copies of nodes behind an If into its branches, instead of them; the If that stands there then."""
    inside = {n for m in moved for n in (m, *(n for body in ir.bodies(m) for g in ir.all_graphs(body) for n in g))}
    made = [v for n in (node, *moved) for v in n.outputs]
    kept = [v for v in made if v.is_graph_output() or any(u.node not in inside for u in v.uses())]
    branches = [
        ir.Attr(key, ir.AttributeType.GRAPH, _branch(edit, node, ir.attribute_graph(node, key), moved, kept))
        for key in ("then_branch", "else_branch")
    ]
    name, inputs = node.name or "", list(node.inputs)
    new = edit.node("If", inputs, branches, outputs=len(kept), name=name, sources=[node])
    edit.insert_before(node, [new])
    for old, value in zip(kept, new.outputs, strict=True):
        value.type, value.shape = old.type, None if old.shape is None else ir.Shape(old.shape)
        edit.replace(old, value)
    for gone in (*reversed(moved), node):
        edit.remove(gone)
    edit.rename(new, name)
    edit.sort(graph)
    return new


def _branch(edit: Editor, node: ir.Node, branch: ir.Graph, moved: Sequence[ir.Node], kept: Sequence[ir.Value]) -> ir.Graph:
    """A copy of a branch with copies of the nodes behind it, and the kept values as its results."""
    body = branch.clone(allow_outer_scope_values=True)
    results = dict(zip(node.outputs, body.outputs, strict=True))
    copies = regions.copied(moved, results)
    for old, copy in zip(moved, copies, strict=True):
        results.update(zip(old.outputs, copy.outputs, strict=True))
        _rename(edit, copy)
    body.extend(copies)
    body.outputs[:] = [results[v] for v in kept]
    return body


def _rename(edit: Editor, copy: ir.Node) -> None:
    """Fresh names for a copy and for what its bodies compute; it comes from this pass."""
    held = [g for body in ir.bodies(copy) for g in ir.all_graphs(body)]
    for node in (copy, *(n for g in held for n in g)):
        ir.set_origin(node, ir.origin(node).by(edit.owner))
        node.name = edit.fresh(node.name or node.op_type)
    for value in (*(v for g in held for v in g.inputs), *(v for n in (copy, *(n for g in held for n in g)) for v in n.outputs)):
        if value.name:
            value.name = edit.fresh(value.name)
