"""Writing a model as an ONNX file: whole or not at all, the same bytes every time."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np

from optc.compiler import atomic, ir, ops, plain
from optc.compiler.numerics import Array

LIMIT = (1 << 31) - (1 << 26)
"""A protobuf message holds less than 2 GiB: models with more bytes of weights keep them in a file beside it."""
ALIGNMENT = 4096
"""A weight in such a file starts at a page, so that it can be mapped."""


def to_bytes(model: ir.Model, *, expand: bool = False) -> bytes:
    """The serialised model. `optc` operators come with their definitions, or (`expand`) as the standard operators they mean."""
    copy = _copy(model, expand)
    plain.inline(copy)
    return _serialised(copy)


def save(model: ir.Model, path: Path, *, expand: bool = False) -> None:
    """Write the model to `path`; above LIMIT the weights go to `<name>.data` beside it. Each file appears whole."""
    copy = _copy(model, expand)
    if plain.weight_bytes(copy) < LIMIT:
        plain.inline(copy)
    else:
        beside = data_file(path)
        with atomic.writing(beside) as file:
            plain.detach(copy, lambda _, array: (beside.name, _append(file, array)))
    with atomic.writing(path) as file:
        file.write(_serialised(copy))


def data_file(path: Path) -> Path:
    """Where the weights of a large model at `path` go."""
    return path.with_name(f"{path.name}.data")


def _append(file: BinaryIO, array: Array) -> int:
    """Write an array; where it starts."""
    file.write(bytes(-file.tell() % ALIGNMENT))
    offset = file.tell()
    file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return offset


def _copy(model: ir.Model, expand: bool) -> ir.Model:
    copy = model.clone()
    (ops.expand if expand else ops.attach)(copy)
    return copy


def _serialised(model: ir.Model) -> bytes:
    data: bytes = ir.to_proto(model).SerializeToString(deterministic=True)
    return data
