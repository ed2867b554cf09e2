"""A model as a protobuf whose weights are inside it, or in files that it refers to."""

from __future__ import annotations

from collections.abc import Callable, Iterator

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

    def place(name: str, held: onnx_ir.TensorProtocol) -> tuple[str, int]:
        array = held.numpy() if held.dtype.bitwidth >= 8 else np.frombuffer(held.tobytes(), np.uint8)
        weights[name] = array
        return bundle.weight_file(array), 0

    detach(copy, place)
    return ir.to_proto(copy), weights


def detach(model: ir.Model, place: Callable[[str, onnx_ir.TensorProtocol], tuple[str, int]]) -> None:
    """Let the larger initializers refer to (file, offset) as `place(name, tensor)` says; all else becomes inline."""
    inline(model, below=INLINE)
    for value in _initializers(model):
        held = value.const_value
        if held is None or value.name is None or held.nbytes < INLINE or held.dtype == ir.DataType.STRING:
            continue
        file, offset = place(value.name, held)
        value.const_value = onnx_ir.ExternalTensor(
            file, offset, held.nbytes, held.dtype, shape=ir.Shape(held.shape.numpy()), name=value.name
        )


def inline(model: ir.Model, below: float = float("inf"), bodies: bool = False) -> None:
    """Make external data of the source part of the model: all constants, and initializers of fewer bytes than `below`, or
    (`bodies`) inside a body."""
    for value in _initializers(model):
        held = value.const_value
        inner = bodies and value.graph is not model.graph
        if isinstance(held, onnx_ir.ExternalTensor) and (inner or held.nbytes < below):
            value.const_value = ir.Tensor(held.numpy(), dtype=held.dtype, name=value.name, doc_string=held.doc_string)
    for graph in ir.all_graphs(model.graph):
        for node in graph:
            for attr in list(node.attributes.values()):
                if attr.type == ir.AttributeType.TENSOR and isinstance(held := attr.as_tensor(), onnx_ir.ExternalTensor):
                    node.attributes[attr.name] = ir.Attr(attr.name, attr.type, ir.Tensor(held.numpy(), dtype=held.dtype))


def has_external(model: ir.Model) -> bool:
    """Whether a constant lies in a file of its own."""
    if any(isinstance(value.const_value, onnx_ir.ExternalTensor) for value in _initializers(model)):
        return True
    nodes = (node for graph in ir.all_graphs(model.graph) for node in graph)
    return any(isinstance(attr.value, onnx_ir.ExternalTensor) for node in nodes for attr in node.attributes.data.values())


def weight_bytes(model: ir.Model) -> int:
    """Bytes of all initializers."""
    return sum(v.const_value.nbytes for v in _initializers(model) if v.const_value is not None)


def _initializers(model: ir.Model) -> Iterator[ir.Value]:
    for graph in ir.all_graphs(model.graph):
        yield from graph.initializers.values()
