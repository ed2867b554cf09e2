"""A model as an executor reads it: nodes, weights, inputs and outputs, without what only people and passes look at.

Writing one costs a fifth of a whole protobuf's time: no types of inner values, no origins, no nodes of constants. External data
is referred to where it lies, so that an executor maps it and nothing is copied.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import onnx
import onnx_ir

from optc.compiler import ir, ops, plain

Kind = onnx.AttributeProto


@dataclass(frozen=True)
class Executable:
    """A serialised model, the names of its outputs, and the folder of its external data ('' where it has none)."""

    data: bytes
    outputs: tuple[str, ...]
    folder: str = ""


def executable(model: ir.Model) -> Executable:
    """The model for an executor. `optc` operators come with their definitions; small external tensors are inside."""
    folders = {str(t.base_dir) for t in _external(model)}
    proto = onnx.ModelProto(ir_version=model.ir_version)
    for domain, version in model.opset_imports.items():
        proto.opset_import.add(domain=domain, version=version)
    _graph(proto.graph, model.graph, inside=len(folders) > 1)
    proto.functions.extend(ir.to_proto(ops.function(name, model.opset_imports[""])) for name in ops.used(model))
    proto.functions.extend(ir.to_proto(f) for f in model.functions.values() if f.domain != ir.DOMAIN)
    names = tuple(v.name or "" for v in model.graph.outputs)
    return Executable(proto.SerializeToString(), names, folders.pop() if len(folders) == 1 else "")


def bytes_inside(model: ir.Model) -> int:
    """Bytes of weights that `executable` puts into the protobuf."""
    folders = {str(t.base_dir) for t in _external(model)}
    return plain.weight_bytes(model) - (sum(t.nbytes for t in _external(model)) if len(folders) == 1 else 0)


def _external(model: ir.Model) -> Iterable[onnx_ir.ExternalTensor]:
    for graph in ir.all_graphs(model.graph):
        for value in graph.initializers.values():
            if isinstance(value.const_value, onnx_ir.ExternalTensor) and value.const_value.nbytes >= plain.INLINE:
                yield value.const_value


def _graph(proto: onnx.GraphProto, graph: ir.Graph, inside: bool) -> None:
    proto.name = graph.name or "graph"
    for value in graph.inputs:
        _value(proto.input.add(), value)
    for name, value in graph.initializers.items():
        if value.const_value is not None:
            _tensor(proto.initializer.add(), value.const_value, name, inside)
    for node in graph:
        held = ir.const_tensor(node.outputs[0]) if node.op_type == "Constant" else None
        if held is not None and not node.outputs[0].is_graph_output():
            _tensor(proto.initializer.add(), held, node.outputs[0].name or "", inside)
        else:
            _node(proto.node.add(), node, inside)
    for value in graph.outputs:
        _value(proto.output.add(), value)


def _value(proto: onnx.ValueInfoProto, value: ir.Value) -> None:
    proto.CopyFrom(onnx_ir.serde.serialize_value(value))


def _tensor(proto: onnx.TensorProto, held: onnx_ir.TensorProtocol, name: str, inside: bool) -> None:
    small = isinstance(held, onnx_ir.ExternalTensor) and (inside or held.nbytes < plain.INLINE)
    if small or isinstance(held, ir.Tensor):
        proto.dims.extend(held.shape.numpy())
        proto.data_type, proto.raw_data = int(held.dtype), held.tobytes()
    else:
        onnx_ir.serde.serialize_tensor_into(proto, held)
    proto.name = name


def _node(proto: onnx.NodeProto, node: ir.Node, inside: bool) -> None:
    proto.op_type = node.op_type
    if node.domain:
        proto.domain = node.domain
    if node.overload:
        proto.overload = node.overload
    proto.name = node.name or ""
    proto.input.extend([(v.name or "") if v is not None else "" for v in node.inputs])
    outputs = [v.name or "" for v in node.outputs]
    while outputs and not outputs[-1]:
        outputs.pop()
    proto.output.extend(outputs)
    for attr in node.attributes.data.values():
        _attribute(proto.attribute.add(), attr, inside)


def _attribute(proto: onnx.AttributeProto, attr: ir.Attr, inside: bool) -> None:
    kind, value = attr.type, attr.value
    if kind == ir.AttributeType.INT:
        proto.name, proto.type, proto.i = attr.name, Kind.INT, value
    elif kind == ir.AttributeType.INTS:
        proto.name, proto.type = attr.name, Kind.INTS
        proto.ints.extend(value)
    elif kind == ir.AttributeType.FLOAT:
        proto.name, proto.type, proto.f = attr.name, Kind.FLOAT, value
    elif kind == ir.AttributeType.STRING:
        proto.name, proto.type, proto.s = attr.name, Kind.STRING, value.encode() if isinstance(value, str) else value
    elif kind == ir.AttributeType.TENSOR:
        proto.name, proto.type = attr.name, Kind.TENSOR
        _tensor(proto.t, value, value.name or "", isinstance(value, onnx_ir.ExternalTensor))
    elif kind == ir.AttributeType.GRAPH:
        proto.name, proto.type = attr.name, Kind.GRAPH
        _graph(proto.g, value, inside)
    else:
        proto.CopyFrom(onnx_ir.serde.serialize_attribute(attr))
