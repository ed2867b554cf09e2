"""Raise the version of the standard operators, so that what later passes write exists in the model's opset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from optc.compiler import ir
from optc.compiler.diagnostics import UserError
from optc.compiler.edit import Editor
from optc.compiler.numerics import Numerics
from optc.compiler.pipeline import Pass
from optc.compiler.shapes import infer_node
from optc.passes.cleanup.opset_adapters import ADAPTERS, Site

OLDEST, NEWEST = 7, 28
"""The opsets between which every change of an operator is known."""


@dataclass(frozen=True)
class ConvertOpset(Pass):
    """Every standard operator, in bodies too, in its form of opset `to` (7 to 28), which the model then imports.

    Attributes that became inputs become constants; Upsample becomes Resize, Scatter ScatterElements; Softmax over several axes is
    flattened. All or nothing: where one node has no such form, the model stays as it is. One of that opset or a newer one too.
    """

    to: int = 23

    name = "convert-opset"
    numerics = Numerics.REASSOCIATED

    def __post_init__(self) -> None:
        if not OLDEST <= self.to <= NEWEST:
            raise UserError(f"opset {self.to} is not known", place="convert-opset", hint=f"to={OLDEST} up to to={NEWEST}")

    def run(self, edit: Editor) -> None:
        old = edit.opset()
        nodes = [node for graph in ir.all_graphs(edit.graph) for node in graph]
        if not OLDEST <= old < self.to or not nodes or not edit.step(nodes[0]):
            return
        mark = edit.mark()
        edit.set_opset(self.to)
        refused = _convert(edit, nodes, old, self.to)
        if refused is not None:
            node, why = refused
            edit.rollback(mark)
            edit.steps.pop()
            edit.refuse(node, self.name, why)


_AFFECTED = {operator for operator, _ in ADAPTERS}


def _convert(edit: Editor, nodes: Sequence[ir.Node], old: int, new: int) -> tuple[ir.Node, str] | None:
    """Take the nodes from version to version; the node that cannot be taken, and why."""
    work = [node for node in nodes if ir.standard(node, *_AFFECTED)]  # nothing that is made below changes later
    constants: dict[bytes, ir.Value] = {}
    made: list[ir.Node] = []
    enlarging: set[ir.Node] = set()
    for version in range(old + 1, new + 1):
        for node in work:
            adapter = ADAPTERS.get((node.op_type, version))
            if adapter is None or node.graph is None:
                continue
            edit.at = node
            site = Site(edit, node, constants, enlarging)
            why = adapter(site)
            if why:
                return node, f"{node.op_type} of opset {version - 1}: {why}"
            edit.set_origin(node, ir.origin(node).by(edit.owner))
            made += site.made
    for node in made:
        infer_node(edit, node)
    return None
