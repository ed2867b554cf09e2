"""Signals that are laid along the height of images are laid along the width instead."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optc.compiler import ir
from optc.compiler.contents import dims
from optc.compiler.edit import Editor
from optc.compiler.numerics import Numerics
from optc.compiler.pipeline import Pass
from optc.compiler.rewrite import ir_attr

_ELEMENTWISE = ("Relu", "LeakyRelu", "Elu", "Sigmoid", "Tanh", "BatchNormalization")
_WINDOWS = ("Conv", "MaxPool", "AveragePool")
_RULE = "wide"


@dataclass(frozen=True)
class LayWide(Pass):
    """Convolutions and poolings of [N, C, L, 1] -> the same of [N, C, 1, L], from an Unsqueeze to Transposes that end them.

    Kernels for the CPU compute neighbours in a row together: a map of width 1 has none. All or nothing for what hangs together.
    """

    name = "lay-wide"
    numerics = Numerics.REASSOCIATED

    def run(self, edit: Editor) -> None:
        for graph in ir.all_graphs(edit.graph):
            for node in list(graph):
                axes = _axes(node)
                if axes is None:
                    continue
                found = _region(node)
                if isinstance(found, str):
                    edit.refuse(node, _RULE, found)
                elif any(n.op_type == "Conv" for n in found) and edit.step(node):
                    wide = np.array(sorted(2 if a == 3 else a for a in axes), np.int64)
                    old = node.inputs[1]
                    edit.set_input(node, 1, edit.initializer(wide, f"{node.name}_axes"))
                    edit.sweep([old])
                    _swap_shape(edit, node.outputs[0])
                    for inner in found:
                        _turn(edit, inner)


def _axes(node: ir.Node) -> list[int] | None:
    """The axes of an Unsqueeze to [N, C, L, 1] whose width is its own and whose height is not."""
    if not ir.standard(node, "Unsqueeze") or len(node.inputs) != 2 or len(dims(node.outputs[0]) or ()) != 4:
        return None
    given = ir.const(node.inputs[1])
    axes = [] if given is None else [int(a) % 4 for a in given.ravel()]
    return axes if 3 in axes and 2 not in axes else None


def _region(start: ir.Node) -> list[ir.Node] | str:
    """All that is computed of an Unsqueeze's result until Transposes, or why it cannot be laid wide."""
    found: list[ir.Node] = []
    values = [start.outputs[0]]
    while values:
        value = values.pop()
        if value.is_graph_output():
            return f"'{value.name}' is an output"
        for node, index in value.uses():
            reason = f"{node.op_type} reads '{value.name}'" if index or node.graph is not start.graph else _refused(node)
            if reason:
                return reason
            found.append(node)
            if node.op_type != "Transpose":
                values.append(node.outputs[0])
    return found


def _refused(node: ir.Node) -> str:
    """Why a node of the region cannot be laid wide; empty if it can."""
    if not ir.standard(node, node.op_type) or len(node.outputs) > 1:
        return f"{node.op_type} is between"
    if node.op_type == "Transpose":
        return "" if ir.attribute(node, "perm") is not None else "a Transpose reverses all axes"
    if node.op_type in _ELEMENTWISE:
        return ""
    if node.op_type not in _WINDOWS:
        return f"{node.op_type} is between"
    kernel, pads = ir.attribute(node, "kernel_shape"), ir.attribute(node, "pads") or (0,) * 4
    strides = ir.attribute(node, "strides") or (1, 1)
    if ir.attribute(node, "auto_pad", "NOTSET") != "NOTSET" or kernel is None or len(kernel) != 2:
        return "its pads or windows are not written out"
    if kernel[1] != 1 or strides[1] != 1 or pads[1] or pads[3]:
        return f"a {node.op_type} moves along the width too"
    weight = node.inputs[1] if node.op_type == "Conv" else None
    if weight is not None and (ir.const(weight) is None or len(weight.uses()) != 1 or weight.is_graph_output()):
        return "its weight is computed, or used elsewhere"
    return ""


def _turn(edit: Editor, node: ir.Node) -> None:
    if node.op_type == "Transpose":
        swapped = [{2: 3, 3: 2}.get(int(axis), int(axis)) for axis in ir.attribute(node, "perm")]
        edit.set_attribute(node, "perm", ir_attr("perm", swapped))
        return
    if node.op_type in _WINDOWS:
        for name in ("kernel_shape", "strides", "dilations", "pads"):
            given = ir.attribute(node, name)
            if given is not None:
                order = (1, 0, 3, 2)[: len(given)]
                edit.set_attribute(node, name, ir_attr(name, [int(given[i]) for i in order]))
    if node.op_type == "Conv":
        weight = node.inputs[1]
        array = None if weight is None else ir.const(weight)
        if weight is not None and array is not None:
            edit.set_input(node, 1, edit.initializer(np.ascontiguousarray(np.swapaxes(array, 2, 3)), f"{weight.name}_wide"))
            edit.sweep([weight])
    _swap_shape(edit, node.outputs[0])


def _swap_shape(edit: Editor, value: ir.Value) -> None:
    if value.shape is not None:
        n, c, height, width = value.shape
        edit.set_type(value, value.dtype, ir.Shape([n, c, width, height]))
