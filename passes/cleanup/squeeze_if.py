"""`x.squeeze(axis)` of an unknown extent, which exporters write as an If, becomes a Squeeze where nothing else is valid."""

from __future__ import annotations

from dataclasses import dataclass

from optc.compiler import analysis, ir
from optc.compiler.contents import contents, dims, known_array
from optc.compiler.edit import Editor
from optc.compiler.impossible import blocked
from optc.compiler.numerics import Numerics
from optc.compiler.pipeline import Pass
from optc.compiler.trial import trial
from optc.passes.cleanup.eliminate_dead import EliminateDead
from optc.passes.cleanup.fold_constants import FoldConstants
from optc.passes.cleanup.infer_shapes import InferShapes
from optc.passes.cleanup.inline_if import InlineIf, take
from optc.passes.cleanup.sink_into_if import behind, differing, sink


@dataclass(frozen=True)
class SqueezeIf(Pass):
    """If(extent == 1) { Squeeze(x) } else { x } -> Squeeze(x), where what is behind it fails on a tensor of the rank of x.

    No run is lost and none is won: Squeeze fails on another extent as the nodes behind did. Whether they do is found by trying:
    they are copied into the branch, what is asked of the rank is answered, and a node that ONNX's inference refuses is sought.
    """

    name = "squeeze-if"
    numerics = Numerics.BITWISE

    def run(self, edit: Editor) -> None:
        while any(self._squeezed(edit, node) for graph in list(ir.all_graphs(edit.graph)) for node in list(graph)):
            analysis.forget(edit.graph)
            InferShapes().run(edit)
            FoldConstants().run(edit)
            InlineIf().run(edit)

    def _squeezed(self, edit: Editor, node: ir.Node) -> bool:
        graph = node.graph
        if graph is None or not differing(node) or not _asks_for_one(node):
            return False
        if not _fails(edit, graph, node):
            edit.refuse(node, self.name, "what is behind it may be valid on either rank")
            return False
        if not edit.step(node):
            return False
        take(edit, node, ir.attribute_graph(node, "then_branch"))
        return True


def _asks_for_one(node: ir.Node) -> bool:
    """Whether an If takes x with an axis squeezed where its extent is 1, and x itself otherwise."""
    then, other = ([*ir.attribute_graph(node, f"{way}_branch")] for way in ("then", "else"))
    compare = node.inputs[0].producer() if node.inputs[0] is not None else None
    if len(then) != 1 or len(other) != 1 or compare is None:
        return False
    squeeze, keep = then[0], other[0]
    if not (ir.standard(squeeze, "Squeeze") and ir.standard(keep, "Identity") and ir.standard(compare, "Equal")):
        return False
    x, graph = squeeze.inputs[0], compare.graph
    shape, axes = dims(x), known_array(contents(graph).of(squeeze.inputs[1])) if graph and len(squeeze.inputs) > 1 else None
    if keep.inputs[0] is not x or shape is None or axes is None or axes.size != 1 or graph is None:
        return False
    sides = [contents(graph).of(v) for v in compare.inputs]
    pair = [s.flat[0] if s is not None and s.size == 1 else None for s in sides]
    return 1 in pair and shape[int(axes.flat[0])] in pair


def _fails(edit: Editor, graph: ir.Graph, node: ir.Node) -> bool:
    """Whether no run gets through the branch that keeps the rank, with what reads its results."""
    with trial(edit):
        moved = behind(graph, node, differing(node))
        tried = sink(edit, graph, node, moved) if moved else node
        analysis.forget(edit.graph)
        InferShapes().run(edit)
        FoldConstants().run(edit)
        InlineIf().run(edit)
        EliminateDead().run(edit)
        return blocked(ir.attribute_graph(tried, "else_branch"), edit.model.opset_imports) is not None
