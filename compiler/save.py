"""Writing a model as an ONNX file: whole or not at all, the same bytes every time."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import onnx

from optc.compiler import ir, ops

LIMIT = (1 << 31) - (1 << 20)
"""A protobuf message holds less than 2 GiB: larger models keep their weights in a file beside it."""


def to_bytes(model: ir.Model, *, expand: bool = False) -> bytes:
    """The serialised model. `optc` operators come with their definitions, or (`expand`) as the standard operators they mean."""
    data: bytes = _proto(model, expand).SerializeToString(deterministic=True)
    return data


def save(model: ir.Model, path: Path, *, expand: bool = False) -> None:
    """Write the model to `path`, atomically; above 2 GiB the weights go to `<name>.data` beside it."""
    proto = _proto(model, expand)
    path.parent.mkdir(parents=True, exist_ok=True)
    if proto.ByteSize() >= LIMIT:
        onnx.save_model(proto, str(path), save_as_external_data=True, location=f"{path.name}.data")
        return
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        file.write(proto.SerializeToString(deterministic=True))
    Path(file.name).chmod(0o666 & ~_umask())
    Path(file.name).replace(path)


def _proto(model: ir.Model, expand: bool) -> onnx.ModelProto:
    copy = model.clone()
    (ops.expand if expand else ops.attach)(copy)
    return ir.to_proto(copy)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
