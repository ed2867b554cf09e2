"""Record dtype and shape of every value, symbolic dimensions included."""

from __future__ import annotations

from dataclasses import dataclass

from optc.compiler import ir, repeated
from optc.compiler.contents import Contents, contents
from optc.compiler.edit import Editor
from optc.compiler.numerics import Numerics
from optc.compiler.pipeline import Pass
from optc.compiler.shapes import infer_node


@dataclass(frozen=True)
class InferShapes(Pass):
    """Record dtype and shape of every value, symbolic dimensions included, in the graph and its bodies.

    Dimensions that are computed from others are expressions of them, `(H + 1)//2`. Changes no node, so it announces none.
    """

    name = "infer-shapes"
    numerics = Numerics.BITWISE

    def run(self, edit: Editor) -> None:
        _graph(edit, edit.graph, contents(edit.graph))


def _graph(edit: Editor, graph: ir.Graph, known: Contents) -> None:
    for node in graph:
        if ir.standard(node, "Loop", "Scan"):
            repeated.infer(edit, node, known, lambda body, inner: _graph(edit, body, inner))
        else:
            for body in ir.bodies(node):
                _graph(edit, body, known)
        infer_node(edit, node, known)
