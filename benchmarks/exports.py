"""Models that packages carry as bare weights, made again exactly as torch exported them, without torch.

`exports/NAME.onnx.gz` is the exported graph without its weights: where data was, the initializer's doc_string says what to put
there, as an operation and the names of the package's tensors (`copy embeddings.weight`). The result is the export, byte for byte;
only EfficientNet's batch norms, which the exporter folded with torch's own rounding, differ from it in the last bit.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from benchmarks.weights import read

SKELETONS = Path(__file__).resolve().parent / "exports"
_BN_EPSILON = np.float32(1e-3)


def build(name: str, package_file: bytes) -> bytes:
    """The ONNX file of model `name` from the package's file of weights."""
    weights = read(package_file)
    model = onnx.ModelProto.FromString(gzip.decompress((SKELETONS / f"{name}.onnx.gz").read_bytes()))
    for tensor in model.graph.initializer:
        if tensor.doc_string:
            operation, *sources = tensor.doc_string.split()
            array = _OPERATIONS[operation](*(weights[source] for source in sources))
            tensor.raw_data = np.ascontiguousarray(array.reshape(tensor.dims)).astype(array.dtype.newbyteorder("<")).tobytes()
            tensor.ClearField("doc_string")
    serialized: bytes = model.SerializeToString(deterministic=True)
    return serialized


def _gates(*parts: NDArray[Any]) -> NDArray[Any]:
    """GRU gates from torch's order (reset, update, new) to ONNX's (update, reset, hidden)."""
    ordered = []
    for part in parts:
        reset, update, new = np.split(part, 3)
        ordered += [update, reset, new]
    return np.concatenate(ordered)


def _scale(gamma: NDArray[Any], variance: NDArray[Any]) -> NDArray[Any]:
    return gamma / np.sqrt(variance + _BN_EPSILON)


_OPERATIONS: Mapping[str, Callable[..., NDArray[Any]]] = {
    "copy": lambda a: a,
    "transpose": lambda a: a.T,
    "gates": _gates,
    "fold-weight": lambda w, gamma, variance: w * _scale(gamma, variance).reshape(-1, 1, 1, 1),
    "fold-bias": lambda beta, mean, gamma, variance: beta - mean * _scale(gamma, variance),
}
