"""A model as plain ONNX whose weights are files of a bundle."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir

from optc.compiler import bundle, ir, ops
from optc.compiler.numerics import Array

INLINE = 1024
"""Tensors of fewer bytes stay in the protobuf: shapes and axes, which every reader wants to see at once."""


def detached(model: ir.Model) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """Standard operators alone, and the weights by name: the protobuf refers to them as `weights/<sha256>`, as a bundle has them.

    Types of less than a byte are packed as ONNX packs them: their weights are arrays of bytes.
    """
    copy = model.clone()
    ops.expand(copy)
    weights: dict[str, Array] = {}
    for graph in ir.all_graphs(copy.graph):
        for value in graph.initializers.values():
            held = value.const_value
            if held is None or value.name is None:
                continue
            if held.nbytes < INLINE or held.dtype == ir.DataType.STRING:
                value.const_value = _inline(held, value.name)
                continue
            array = held.numpy() if held.dtype.bitwidth >= 8 else np.frombuffer(held.tobytes(), np.uint8)
            weights[value.name] = array
            value.const_value = onnx_ir.ExternalTensor(
                bundle.weight_file(array), 0, array.nbytes, held.dtype, shape=ir.Shape(held.shape.numpy()), name=value.name
            )
        for node in graph:
            for attr in node.attributes.values():
                if attr.type == ir.AttributeType.TENSOR and isinstance(attr.as_tensor(), onnx_ir.ExternalTensor):
                    node.attributes[attr.name] = ir.Attr(attr.name, attr.type, _inline(attr.as_tensor(), attr.name))
    return ir.to_proto(copy), weights


def _inline(tensor: onnx_ir.TensorProtocol, name: str) -> onnx_ir.TensorProtocol:
    """External data of the source becomes part of the protobuf."""
    if isinstance(tensor, onnx_ir.ExternalTensor):
        return ir.Tensor(tensor.numpy(), dtype=tensor.dtype, name=name)
    return tensor
