"""ONNX's own inference of one node, asked once for each kind of node: the layers of a model are alike."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import onnx
import onnx.shape_inference

from optc.compiler import ir

Dims = tuple[int | str | None, ...] | None
Input = tuple[int, Dims, tuple[bytes, tuple[int, ...]] | None] | None
"""Of an input: element type, dimensions (None: rank unknown), bytes and shape of its elements where known. None: it is absent."""
Output = tuple[ir.DataType | None, Dims]
LARGE = 1024
"""Bytes of an attribute's tensor beyond which nothing is remembered."""


def infer(node: ir.Node, opsets: Sequence[tuple[str, int]], inputs: Sequence[Input]) -> Sequence[Output] | None:
    """Types of a standard node's outputs (None: unknown). None where there is no schema, or the node contradicts itself."""
    attributes = tuple((a.name, int(a.type), _hashable(a)) for a in node.attributes.data.values())
    named = tuple(bool(v.name) for v in node.outputs)
    key = (node.op_type, "" if node.domain == "ai.onnx" else node.domain, attributes, tuple(inputs), named, tuple(opsets))
    if any(value is None for _, _, value in attributes):
        return _infer.__wrapped__(*key, attributes_of=node)
    return _infer(*key)


def _hashable(attr: ir.Attr) -> Any:
    """The attribute's value as a key; None where it is no key."""
    if attr.type == ir.AttributeType.TENSOR:
        held = attr.value
        if held.dtype == ir.DataType.STRING or held.nbytes > LARGE:
            return None
        return int(held.dtype), tuple(held.shape.numpy()), held.tobytes()
    return attr.value if attr.type in _PLAIN else None


_PLAIN = frozenset(ir.AttributeType[name] for name in ("INT", "INTS", "FLOAT", "FLOATS", "STRING", "STRINGS"))


@lru_cache(maxsize=1 << 14)
def _infer(
    op_type: str,
    domain: str,
    attributes: tuple[tuple[str, int, Any], ...],
    inputs: tuple[Input, ...],
    named: tuple[bool, ...],
    opsets: tuple[tuple[str, int], ...],
    attributes_of: ir.Node | None = None,
) -> tuple[Output, ...] | None:
    try:
        schema = onnx.defs.get_schema(op_type, dict(opsets).get(domain, 0), domain)
    except onnx.defs.SchemaError:
        return None
    proto = onnx.NodeProto(op_type=op_type, domain=domain)
    proto.input.extend("" if found is None else f"i{i}" for i, found in enumerate(inputs))
    proto.output.extend(f"o{i}" if present else "" for i, present in enumerate(named))
    if attributes_of is not None:
        proto.attribute.extend(ir.to_proto(a) for a in attributes_of.attributes.values())
    else:
        proto.attribute.extend(_attribute(*a) for a in attributes)
    types = {f"i{i}": _type(found) for i, found in enumerate(inputs) if found is not None}
    data = {f"i{i}": _tensor(found) for i, found in enumerate(inputs) if found is not None and found[2] is not None}
    imports = [onnx.helper.make_opsetid(d, v) for d, v in opsets]
    try:
        made = onnx.shape_inference.infer_node_outputs(schema, proto, types, data, opset_imports=imports)
    except (onnx.shape_inference.InferenceError, RuntimeError):
        return None
    return tuple(_found(made[f"o{i}"]) if f"o{i}" in made else (None, None) for i in range(len(named)))


def _attribute(name: str, kind: int, value: Any) -> onnx.AttributeProto:
    if kind == ir.AttributeType.TENSOR:
        dtype, shape, data = value
        tensor = onnx.TensorProto(data_type=dtype, dims=shape, raw_data=data)
        return onnx.AttributeProto(name=name, type=onnx.AttributeProto.TENSOR, t=tensor)
    return onnx.helper.make_attribute(name, value, attr_type=kind)


def _type(found: tuple[int, Dims, Any]) -> onnx.TypeProto:
    proto = onnx.TypeProto()
    proto.tensor_type.elem_type = found[0]
    if found[1] is not None:
        proto.tensor_type.shape.SetInParent()
        for dim in found[1]:
            added = proto.tensor_type.shape.dim.add()
            if isinstance(dim, int):
                added.dim_value = dim
            elif dim is not None:
                added.dim_param = dim
    return proto


def _tensor(found: tuple[int, Dims, Any]) -> onnx.TensorProto:
    data, shape = found[2]
    return onnx.TensorProto(data_type=found[0], dims=shape, raw_data=data)


def _found(proto: onnx.TypeProto) -> Output:
    if not proto.HasField("tensor_type"):
        return None, None
    tensor = proto.tensor_type
    return ir.DataType(tensor.elem_type), tuple(map(_dim, tensor.shape.dim)) if tensor.HasField("shape") else None


def _dim(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    if dim.HasField("dim_value"):
        return int(dim.dim_value)
    return dim.dim_param or None
