"""Types and shapes of single nodes, by ONNX's own inference of each operator."""

from __future__ import annotations

import onnx
import onnx.shape_inference

from optc.compiler import ir
from optc.compiler.edit import Editor

SMALL = 64
"""Constants of at most this many elements are shown to inference: shapes, axes, pads, repeats."""


def infer_node(edit: Editor, node: ir.Node) -> None:
    """Record dtype and shape of a new node's outputs where ONNX can tell them from its inputs."""
    schema = ir.schema(node, edit.opset(node.domain))
    if schema is None:
        return
    types: dict[str, onnx.TypeProto] = {}
    data: dict[str, onnx.TensorProto] = {}
    for value in node.inputs:
        if value is None or not value.name:
            continue
        if value.dtype is None:
            return
        types[value.name] = type_proto(value)
        held = ir.const_tensor(value)
        if held is not None and held.size <= SMALL and held.dtype.is_integer():
            data[value.name] = onnx.numpy_helper.from_array(held.numpy(), value.name)
    try:
        found = onnx.shape_inference.infer_node_outputs(
            schema, ir.to_proto(node), types, data, opset_imports=[onnx.helper.make_opsetid(d, v) for d, v in edit.model.opset_imports.items()]
        )
    except (onnx.shape_inference.InferenceError, RuntimeError):
        return  # an inconsistent node: the verifier says so, with the place
    for value in node.outputs:
        if value.name in found and found[value.name].HasField("tensor_type"):
            tensor = found[value.name].tensor_type
            shape = ir.Shape(_dim(d) for d in tensor.shape.dim) if tensor.HasField("shape") else value.shape
            edit.set_type(value, ir.DataType(tensor.elem_type), shape)


def type_proto(value: ir.Value) -> onnx.TypeProto:
    """The value's type in ONNX's terms: unknown dimensions without a name, symbolic ones with theirs."""
    proto = onnx.TypeProto()
    proto.tensor_type.elem_type = int(value.dtype) if value.dtype is not None else 0
    if value.shape is not None:
        proto.tensor_type.shape.SetInParent()
        for dim in value.shape:
            added = proto.tensor_type.shape.dim.add()
            if isinstance(dim, int):
                added.dim_value = dim
            elif dim.value is not None:
                added.dim_param = dim.value
    return proto


def _dim(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    if dim.HasField("dim_value"):
        return int(dim.dim_value)
    return dim.dim_param or None
