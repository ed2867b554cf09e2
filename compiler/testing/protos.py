"""Protobufs of models: copies, such in which every node has a name and every value its type, and such whose Clips have bounds."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from optc.compiler import interface, validate


def copy(proto: onnx.ModelProto) -> onnx.ModelProto:
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    return made


def typed(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with the types of inner values, in bodies too. Raises UserError where the model contradicts itself."""
    made = copy(proto)
    for i, node in enumerate(validate.all_nodes(made.graph)):
        node.name = f"node{i}"  # by which inference finds the bodies of a node again
    interface.infer_types(made, "a model")
    return made


def bounded(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose Clips have both bounds: where one is left out ONNX lets infinities pass, and onnxruntime ends them at the
    largest number. Clips of integers stay as they are."""
    made = typed(proto)
    for graph in [made.graph, *(body for node in validate.all_nodes(made.graph) for body in validate.bodies(node))]:
        types = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.output)}
        nodes = list(graph.node)
        del graph.node[:]
        for node in nodes:
            dtype = helper.tensor_dtype_to_np_dtype(types[node.output[0]]) if types.get(node.output[0]) else np.dtype(object)
            if node.op_type == "Clip" and dtype.kind == "f":
                given = [*node.input, "", ""][:3]
                for i, infinity in ((1, -np.inf), (2, np.inf)):
                    if not given[i]:
                        given[i] = f"{node.output[0]}~bound{i}"
                        held = numpy_helper.from_array(np.array(infinity, dtype))
                        graph.node.append(helper.make_node("Constant", [], [given[i]], value=held))
                node.input[:] = given
            graph.node.append(node)
    return made
