"""A model file read without its large weights: they stay where they are in the file, as external data of the file itself.

Reading, running and writing a model then cost its graph, not its weights: engines map them, and what no pass touches is copied
from file to file. `streamed.py` is the other way.
"""

from __future__ import annotations

import math
import mmap
from pathlib import Path

import onnx
from onnx import TensorProto

from optc.compiler import ir, wire

LARGE = 1 << 24
"""Files of fewer bytes are read as they are."""
WEIGHT = 1 << 16
"""Tensors of fewer bytes are read."""

_GRAPH = onnx.ModelProto.DESCRIPTOR.fields_by_name["graph"].number
_INITIALIZER = onnx.GraphProto.DESCRIPTOR.fields_by_name["initializer"].number
_FIXED_WIDTH = frozenset(int(t) for t in ir.DataType if t not in (ir.DataType.UNDEFINED, ir.DataType.STRING))
_RAW = TensorProto.DESCRIPTOR.fields_by_name["raw_data"].number


def skeleton(path: Path) -> bytes | None:
    """The serialised model whose large initializers refer to places in its own file. None where it is to be read whole: a small
    file, one that engines take no external data from (a link, a file of several names or of an odd one), or no model."""
    found = path.stat()
    if found.st_size < LARGE or found.st_nlink != 1 or path.is_symlink() or set(path.name) & set(":\\"):
        return None
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as held, memoryview(held) as data:
        try:
            return _model(data, path.name)
        except ValueError:
            return None  # whoever reads it whole says what is wrong


def _model(data: memoryview, name: str) -> bytes | None:
    parts: list[memoryview | bytes] = []
    graphs = 0
    for field in wire.fields(data, 0, len(data)):
        if field.number == _GRAPH and field.wire_type == wire.BYTES:
            graphs += 1
            graph = _graph(data, field, name)
            parts += [wire.header(_GRAPH, len(graph)), graph]
        else:
            parts.append(data[field.start : field.end])
    made = b"".join(parts)
    for part in parts:
        if isinstance(part, memoryview):
            part.release()
    return made if graphs == 1 else None


def _graph(data: memoryview, graph: wire.Field, name: str) -> bytes:
    made = bytearray()
    kept = graph.value  # what is not copied yet starts here
    for field in wire.fields(data, graph.value, graph.end):
        if field.number == _INITIALIZER and field.end - field.value >= WEIGHT:
            tensor = _tensor(data, field, name)
            if tensor is not None:
                made += data[kept : field.start]
                made += wire.header(_INITIALIZER, len(tensor)) + tensor
                kept = field.end
    made += data[kept : graph.end]
    return bytes(made)


def _tensor(data: memoryview, tensor: wire.Field, name: str) -> bytes | None:
    """A tensor that refers to its bytes; None where it has none, or not as many as its shape asks for."""
    inside = list(wire.fields(data, tensor.value, tensor.end))
    raw = [f for f in inside if f.number == _RAW]
    if len(raw) != 1 or raw[0].wire_type != wire.BYTES:
        return None
    made = TensorProto()
    made.ParseFromString(b"".join(bytes(data[f.start : f.end]) for f in inside if f is not raw[0]))
    length = raw[0].end - raw[0].value
    whole = made.data_type in _FIXED_WIDTH and min(made.dims, default=0) >= 0
    if not whole or length < WEIGHT or made.data_location or made.external_data:
        return None
    if length != (math.prod(made.dims) * int(ir.DataType(made.data_type).bitwidth) + 7) // 8:
        return None
    made.data_location = TensorProto.EXTERNAL
    for key, value in (("location", name), ("offset", raw[0].value), ("length", length)):
        made.external_data.add(key=key, value=str(value))
    found: bytes = made.SerializeToString()
    return found
