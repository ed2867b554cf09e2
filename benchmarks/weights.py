"""Weights as packages ship them, read without their frameworks: NumPy archives, safetensors, and torch's two pickle formats."""

from __future__ import annotations

import collections
import io
import json
import pickle
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

Weights = dict[str, NDArray[Any]]

_STORAGES: Mapping[str, np.dtype[Any]] = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}
_SAFETENSORS: Mapping[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "I64": np.dtype("<i8")}


def read(data: bytes) -> Weights:
    """name -> array. The format is told by the first bytes. Raises ValueError for what is none of the four."""
    if data[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            if pickles:
                folder = pickles[0].removesuffix("/data.pkl")
                state = _TorchUnpickler(io.BytesIO(archive.read(pickles[0]))).load()
                return {name: tensor.array(archive.read(f"{folder}/data/{tensor.key}")) for name, tensor in state.items()}
        with np.load(io.BytesIO(data)) as arrays:
            return dict(arrays)
    if data[:1] == b"\x80":
        return _torch_before_zip(data)
    if data[8:9] == b"{":
        return _safetensors(data)
    raise ValueError("neither an archive of NumPy or torch, nor safetensors, nor a pickle")


def _safetensors(data: bytes) -> Weights:
    end = 8 + int.from_bytes(data[:8], "little")
    header: dict[str, Any] = json.loads(data[8:end])
    header.pop("__metadata__", None)
    weights: Weights = {}
    for name, entry in header.items():
        begin, stop = (end + offset for offset in entry["data_offsets"])
        weights[name] = np.frombuffer(data[begin:stop], _SAFETENSORS[entry["dtype"]]).reshape(entry["shape"])
    return weights


def _torch_before_zip(data: bytes) -> Weights:
    """Torch's format before 1.6: three pickles of preamble, the state, the list of keys, then each storage behind its length."""
    stream = io.BytesIO(data)
    for _ in range(3):
        _TorchUnpickler(stream).load()
    reader = _TorchUnpickler(stream)
    state = reader.load()
    contents = {}
    for key in _TorchUnpickler(stream).load():
        count = int.from_bytes(stream.read(8), "little")
        contents[key] = stream.read(count * reader.dtypes[key].itemsize)
    return {name: tensor.array(contents[tensor.key]) for name, tensor in state.items()}


class _Tensor:
    """A view of a storage, as torch pickles it."""

    def __init__(
        self, storage: tuple[np.dtype[Any], str], offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object
    ) -> None:
        (self.dtype, self.key), self.offset, self.size, self.stride = storage, offset, size, stride

    def array(self, data: bytes) -> NDArray[Any]:
        flat = np.frombuffer(data, self.dtype)[self.offset :]
        return as_strided(flat, self.size, [step * flat.itemsize for step in self.stride]).copy()


class _TorchUnpickler(pickle.Unpickler):
    """Knows tensors, storages and ordered dictionaries, and refuses to import anything else."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream)
        self.dtypes: dict[str, np.dtype[Any]] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Tensor
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        raise pickle.UnpicklingError(f"weights name {module}.{name}, which is no tensor")

    def persistent_load(self, pid: Any) -> tuple[np.dtype[Any], str]:
        _, dtype, key, *_ = pid
        self.dtypes[key] = dtype
        return dtype, key
