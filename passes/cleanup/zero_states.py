"""Recurrent layers begin at zero by themselves."""

from __future__ import annotations

from dataclasses import dataclass

from optc.compiler import ir
from optc.compiler.edit import Editor
from optc.compiler.numerics import Numerics
from optc.compiler.pipeline import Pass

_STATES = {"LSTM": (3, 5, 6, 7), "GRU": (3, 5), "RNN": (3, 5)}
"""Inputs that count as zeros where they are left out: bias, initial states, peepholes."""
_KEEPS_ZEROS = ("Expand", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Tile", "Slice", "Gather", "Split", "Cast", "Identity")
_DEPTH = 8
"""How far back a state is followed."""


@dataclass(frozen=True)
class ZeroStates(Pass):
    """A bias, an initial state or peepholes of zeros of LSTM, GRU and RNN, in whatever way exporters make them, are left out."""

    name = "zero-states"
    numerics = Numerics.BITWISE

    def run(self, edit: Editor) -> None:
        for graph in ir.all_graphs(edit.graph):
            for node in list(graph):
                given = _STATES.get(node.op_type, ()) if ir.standard(node, node.op_type) else ()
                zeros = [i for i in given if i < len(node.inputs) and node.inputs[i] is not None and _zeros(node.inputs[i])]
                if zeros and edit.step(node):
                    held = [node.inputs[i] for i in zeros]
                    for i in zeros:
                        edit.set_input(node, i, None)
                    edit.set_origin(node, ir.origin(node).by(edit.owner))
                    edit.sweep(held)


def _zeros(value: ir.Value | None, depth: int = _DEPTH) -> bool:
    """Whether all elements are surely zero."""
    held = ir.const_tensor(value)
    if held is not None:
        return held.dtype.is_floating_point() and not held.numpy().any()
    node = value.producer() if value is not None else None
    if node is None or not depth:
        return False
    if ir.standard(node, "ConstantOfShape"):
        fill = ir.attribute(node, "value")
        return fill is None or not fill.any()
    if ir.standard(node, "Concat"):
        return all(_zeros(v, depth - 1) for v in node.inputs)
    return ir.standard(node, *_KEEPS_ZEROS) and _zeros(node.inputs[0], depth - 1)
