"""Remove what no output needs."""

from __future__ import annotations

from dataclasses import dataclass

from optc.compiler import ir
from optc.compiler.edit import Editor
from optc.compiler.numerics import Numerics
from optc.compiler.pipeline import Pass


@dataclass(frozen=True)
class EliminateDead(Pass):
    """Remove nodes none of whose outputs is used, then initializers nothing reads, in the graph and its bodies.

    A node stays whole while one of its outputs is used: which optional outputs are present is part of its meaning.
    """

    name = "eliminate-dead"
    numerics = Numerics.BITWISE

    def run(self, edit: Editor) -> None:
        for graph in reversed(list(ir.all_graphs(edit.graph))):  # bodies first: what only they captured is dead then
            for node in reversed(graph):
                if not any(v.uses() or v.is_graph_output() for v in node.outputs) and edit.step(node):
                    edit.remove(node, "nothing uses its results")
        for graph in ir.all_graphs(edit.graph):
            edit.sweep(list(graph.initializers.values()))
