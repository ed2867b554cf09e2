"""Writing a model whose weights are inside the protobuf without holding them: each is copied from where it lies.

The bytes are those of `SerializeToString(deterministic=True)` of the model with its weights inside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import BinaryIO, TypeVar

from onnx import GraphProto, ModelProto, TensorProto

from optc.compiler import wire

Message = TypeVar("Message", ModelProto, GraphProto, TensorProto)
Copy = Callable[[BinaryIO], None]
"""Writes the bytes of a weight to a file."""

_GRAPH = ModelProto.DESCRIPTOR.fields_by_name["graph"].number
_INITIALIZER = GraphProto.DESCRIPTOR.fields_by_name["initializer"].number
_RAW = TensorProto.DESCRIPTOR.fields_by_name["raw_data"].number


def write(file: BinaryIO, proto: ModelProto, weights: Mapping[str, tuple[int, Copy]]) -> None:
    """Write a model. `weights`: bytes and what copies them, for each initializer of the graph that is to have them as raw data;
    these refer to external data in `proto`, which is changed."""
    tensors = list(proto.graph.initializer)
    parts: list[bytes | Copy] = []
    length = 0

    def add(part: bytes) -> None:
        nonlocal length
        parts.append(part)
        length += len(part)

    add(_some(proto.graph, lambda number: number < _INITIALIZER))
    for tensor in tensors:
        if tensor.name not in weights:
            held = tensor.SerializeToString(deterministic=True)
            add(wire.header(_INITIALIZER, len(held)) + held)
            continue
        size, copy = weights[tensor.name]
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
        before, after = (_some(tensor, keep) for keep in (lambda n: n < _RAW, lambda n: n > _RAW))
        raw = wire.header(_RAW, size)
        add(wire.header(_INITIALIZER, len(before) + len(raw) + size + len(after)) + before + raw)
        parts.append(copy)
        length += size
        add(after)
    add(_some(proto.graph, lambda number: number > _INITIALIZER))
    file.write(_some(proto, lambda number: number < _GRAPH) + wire.header(_GRAPH, length))
    for part in parts:
        if isinstance(part, bytes):
            file.write(part)
        else:
            part(file)
    file.write(_some(proto, lambda number: number > _GRAPH))


def _some(message: Message, keep: Callable[[int], bool]) -> bytes:
    """The fields of a message whose numbers are kept, serialised."""
    made = type(message)()
    made.CopyFrom(message)
    for field in message.DESCRIPTOR.fields:
        if not keep(field.number):
            made.ClearField(field.name)
    data: bytes = made.SerializeToString(deterministic=True)
    return data
