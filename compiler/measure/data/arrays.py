"""Arrays in files, mapped into memory where the file holds them as they are: .npy, .npz that is not compressed, .safetensors."""

from __future__ import annotations

import json
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np
from numpy.lib import format as npy

from optc.compiler.diagnostics import UserError
from optc.compiler.numerics import Array

SUFFIXES = (".npy", ".npz", ".safetensors")
_HEADER_LIMIT = 100_000_000  # the safetensors format's own

_DAMAGED = (
    *(ValueError, KeyError, TypeError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error),
    *(SyntaxError, tokenize.TokenError),  # numpy parses the header of an .npy as Python
)

_SAFETENSORS: dict[str, Any] = {
    "BOOL": np.bool_, "U8": np.uint8, "I8": np.int8, "U16": np.uint16, "I16": np.int16, "U32": np.uint32, "I32": np.int32,
    "U64": np.uint64, "I64": np.int64, "F16": np.float16, "BF16": ml_dtypes.bfloat16, "F32": np.float32, "F64": np.float64,
    "F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E5M2": ml_dtypes.float8_e5m2,
}  # fmt: skip


def read(file: Path) -> dict[str, Array]:
    """The arrays of a file by name; the one of an .npy has the name ''. Raises UserError for a file that is not what it says."""
    try:
        if file.suffix == ".npy":
            with file.open("rb") as stream:
                return {"": _npy(stream, file)}
        return _npz(file) if file.suffix == ".npz" else _safetensors(file)
    except _DAMAGED as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UserError(f"not an {file.suffix} file: {reason}", place=str(file)) from error


def remapped(array: Array) -> Array:
    """The same array mapped anew: the pages that were read through the old mapping no longer count as this process's memory."""
    if not isinstance(array, np.memmap) or array.filename is None:
        return array
    return np.memmap(array.filename, array.dtype, "r", array.offset, array.shape, "C" if array.flags.c_contiguous else "F")


def _npy(stream: BinaryIO, file: Path) -> Array:
    """The array whose .npy image begins where the stream stands."""
    version = npy.read_magic(stream)
    header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = header(stream)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which may run code: save strings as numpy's str")
    return _mapped(file, dtype, stream.tell(), shape, "F" if fortran else "C")


def _npz(file: Path) -> dict[str, Array]:
    found: dict[str, Array] = {}
    with zipfile.ZipFile(file) as archive, file.open("rb") as stream:
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            if member.compress_type == zipfile.ZIP_STORED:
                stream.seek(member.header_offset + 26)  # the local header's own lengths of name and extra field
                lengths = stream.read(4)
                stream.seek(int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little"), 1)
                start = stream.tell()
                found[name] = array = _npy(stream, file)
                if stream.tell() - start + array.nbytes != member.file_size:
                    raise ValueError(f"array '{name}' is not as long as its header says")
            else:
                with archive.open(member) as packed:
                    found[name] = npy.read_array(packed, allow_pickle=False)
    return found


def _safetensors(file: Path) -> dict[str, Array]:
    """Length of a JSON header, the header, and arrays at the offsets it gives (github.com/huggingface/safetensors)."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > _HEADER_LIMIT:
            raise ValueError("its header is longer than the format allows")
        header = json.loads(stream.read(length))
    if not isinstance(header, dict):
        raise ValueError("its header is no table")
    found = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in _SAFETENSORS:
            raise ValueError(f"array '{name}' is of unknown type {entry['dtype']}")
        dtype, shape, (start, end) = (
            np.dtype(_SAFETENSORS[entry["dtype"]]),
            tuple(map(int, entry["shape"])),
            entry["data_offsets"],
        )
        if end - start != dtype.itemsize * int(np.prod(shape, dtype=np.int64)) or start < 0:
            raise ValueError(f"array '{name}' has offsets that do not fit its shape")
        found[name] = _mapped(file, dtype, 8 + length + start, shape, "C")
    return found


def _mapped(file: Path, dtype: np.dtype[Any], offset: int, shape: tuple[int, ...], order: Any) -> Array:
    if 0 in shape:
        return np.zeros(shape, dtype)  # nothing can be mapped
    return np.memmap(file, dtype, "r", offset, shape, order)
