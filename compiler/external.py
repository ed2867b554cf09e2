"""External data of a model: every reference is checked before a byte is read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import onnx
from onnx import GraphProto, ModelProto, TensorProto

from optc.compiler.diagnostics import UserError


def check(proto: ModelProto, base: Path | None, place: str) -> None:
    """Raise UserError for external data that is missing, too short, or outside the model's folder."""
    for tensor in tensors(proto.graph):
        if tensor.data_location == TensorProto.EXTERNAL:
            _check(tensor, base, place)


def tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """Every tensor of a graph: initializers, attributes, bodies."""
    yield from graph.initializer
    for node in graph.node:
        for attr in node.attribute:
            if attr.HasField("t"):
                yield attr.t
            yield from attr.tensors
            if attr.HasField("g"):
                yield from tensors(attr.g)
            for body in attr.graphs:
                yield from tensors(body)


def _check(tensor: TensorProto, base: Path | None, place: str) -> None:
    entries = {e.key: e.value for e in tensor.external_data}
    where = f"{place}, tensor '{tensor.name}', external data '{entries.get('location', '')}'"
    location = PurePosixPath(entries.get("location", "").replace("\\", "/"))
    if base is None or not location.parts:
        raise UserError("external data without a file", place=where)
    if location.is_absolute() or ".." in location.parts or ":" in location.parts[0]:
        raise UserError("external data lies outside the model's folder", place=where, hint="put the file beside the model")
    for parent in (location, *location.parents):
        if parent.parts and (base / parent).is_symlink():
            raise UserError("external data is a symbolic link", place=where, hint="put the file itself beside the model")
    file = base / location
    if not file.is_file():
        raise UserError("the file with external data is missing", place=where, hint="copy it beside the model")
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", -1))
    except ValueError as error:
        raise UserError("offset or length of external data is no number", place=where) from error
    elements = 1
    for dim in tensor.dims:
        elements *= dim
    bits = _bits(tensor.data_type)
    needed = (elements * bits + 7) // 8
    length = needed if length < 0 else length
    if offset < 0 or offset + length > file.stat().st_size or length < needed:
        raise UserError(
            f"external data is too short: {needed} bytes needed at offset {offset}, the file has {file.stat().st_size}",
            place=where,
            hint="the file is truncated: copy it again",
        )


def _bits(data_type: int) -> int:
    import onnx_ir

    return int(onnx_ir.DataType(data_type).bitwidth) if data_type != onnx.TensorProto.STRING else 8
