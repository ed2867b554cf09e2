"""Writing a model as an ONNX file: whole or not at all, the same bytes every time."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import onnx_ir

from optc.compiler import atomic, ir, ops, plain, streamed

LIMIT = (1 << 31) - (1 << 26)
"""A protobuf message holds less than 2 GiB: models with more bytes of weights keep them in a file beside it."""
ALIGNMENT = 4096
"""A weight in such a file starts at a page, so that it can be mapped."""


def to_bytes(model: ir.Model, *, expand: bool = False) -> bytes:
    """The serialised model. `optc` operators come with their definitions, or (`expand`) as the standard operators they mean."""
    own = ops.used(model)
    if (own and expand) or plain.has_external(model):
        model, own = _copy(model, expand), []
        plain.inline(model)
    proto = ir.to_proto(model)
    proto.functions.extend(ir.to_proto(ops.function(name, model.opset_imports[""])) for name in own)
    data: bytes = proto.SerializeToString(deterministic=True)
    return data


def save(model: ir.Model, path: Path, *, expand: bool = False) -> list[Path]:
    """Write the model to `path`; above LIMIT the weights go to `<name>.data` beside it. Each file, returned, appears whole."""
    files = [path]
    if plain.weight_bytes(model) < LIMIT:
        with atomic.writing(path) as file:
            if plain.has_external(model):
                _stream(model, file, expand)
            else:
                file.write(to_bytes(model, expand=expand))
    else:
        copy, beside = _copy(model, expand), data_file(path)
        files.append(beside)
        with atomic.writing(beside) as file:
            plain.detach(copy, lambda _, held: (beside.name, _append(file, held)))
        data = ir.to_proto(copy).SerializeToString(deterministic=True)
        with atomic.writing(path) as file:
            file.write(data)
    return files


def _stream(model: ir.Model, file: BinaryIO, expand: bool) -> None:
    """Write a model, its external data inside, one weight at a time."""
    copy = _copy(model, expand)
    plain.inline(copy, below=plain.INLINE, bodies=True)
    external = {
        name: (held.length, held.tofile)
        for name, value in copy.graph.initializers.items()
        if isinstance(held := value.const_value, onnx_ir.ExternalTensor) and held.length is not None
    }
    streamed.write(file, ir.to_proto(copy), external)


def data_file(path: Path) -> Path:
    """Where the weights of a large model at `path` go."""
    return path.with_name(f"{path.name}.data")


def _append(file: BinaryIO, held: onnx_ir.TensorProtocol) -> int:
    """Write a weight; where it starts. What lies in a file is copied from it: mapped, it would count as memory."""
    file.write(bytes(-file.tell() % ALIGNMENT))
    offset = file.tell()
    if isinstance(held, onnx_ir.ExternalTensor):
        held.tofile(file)
    else:
        file.write(held.tobytes())
    return offset


def _copy(model: ir.Model, expand: bool) -> ir.Model:
    copy = model.clone()
    (ops.expand if expand else ops.attach)(copy)
    return copy
