"""The tensors of a model: that they have the data their shapes need, inside the file or, checked before it is read, beside it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from optc.compiler import ir
from optc.compiler.diagnostics import UserError

DTYPES = {int(dtype) for dtype in ir.DataType if dtype != ir.DataType.UNDEFINED}


def check(proto: ModelProto, base: Path | None, place: str) -> None:
    """Raise UserError for a tensor whose data is missing or too short, or lies outside the model's folder."""
    for tensor in _all(proto):
        where = f"{place}, tensor '{tensor.name}'"
        if any(dim < 0 for dim in tensor.dims):
            raise UserError(f"a weight has the shape {list(tensor.dims)}", place=where)
        if tensor.data_type not in DTYPES:
            raise UserError(f"a weight has the unknown dtype {tensor.data_type}", place=where)
        if tensor.data_location == TensorProto.EXTERNAL:
            _check_external(tensor, base, place)
        else:
            _check_inline(tensor, where)


def _all(proto: ModelProto) -> Iterator[TensorProto]:
    yield from tensors(proto.graph)
    for function in proto.functions:
        yield from _of_nodes(function.node)


def tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """Every tensor of a graph: initializers, attributes, bodies."""
    yield from graph.initializer
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    for node in nodes:
        for attr in node.attribute:
            if attr.HasField("t"):
                yield attr.t
            yield from attr.tensors
            if attr.HasField("g"):
                yield from tensors(attr.g)
            for body in attr.graphs:
                yield from tensors(body)


def _elements(tensor: TensorProto) -> int:
    return math.prod(tensor.dims)


def _bytes(tensor: TensorProto) -> int:
    return (_elements(tensor) * int(ir.DataType(tensor.data_type).bitwidth) + 7) // 8


def _check_inline(tensor: TensorProto, where: str) -> None:
    if tensor.data_type == TensorProto.STRING:
        found, needed = len(tensor.string_data), _elements(tensor)
    elif tensor.HasField("raw_data"):
        found, needed = len(tensor.raw_data), _bytes(tensor)
    else:  # one of these holds the elements; types of less than a byte and complex ones are packed by rules of their own
        found = max(
            len(field)
            for field in (tensor.float_data, tensor.int32_data, tensor.int64_data, tensor.double_data, tensor.uint64_data)
        )
        needed = _elements(tensor) if 8 <= ir.DataType(tensor.data_type).bitwidth <= 64 else found
        found = found // 2 if tensor.data_type == TensorProto.COMPLEX64 else found
    if found != needed:
        kind = "bytes" if tensor.HasField("raw_data") else "elements"
        raise UserError(f"a weight of shape {list(tensor.dims)} has {found} {kind} instead of {needed}", place=where)


def _check_external(tensor: TensorProto, base: Path | None, place: str) -> None:
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
    needed = _bytes(tensor)
    length = needed if length < 0 else length
    if offset < 0 or offset + length > file.stat().st_size or length < needed:
        raise UserError(
            f"external data is too short: {needed} bytes needed at offset {offset}, the file has {file.stat().st_size}",
            place=where,
            hint="the file is truncated: copy it again",
        )
