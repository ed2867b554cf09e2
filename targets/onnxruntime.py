"""The `onnxruntime` target: a bundle that runs through onnxruntime. The fallback for what no other target takes."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from optc.compiler import manifest
from optc.compiler.diagnostics import UserError
from optc.compiler.numerics import Array
from optc.compiler.target import Artifact, Engine, Target

if TYPE_CHECKING:
    from optc.compiler import ir


@dataclass(frozen=True)
class OnnxRuntime(Target):
    """The optimized model as ONNX; its weights are the bundle's, memory-mapped by onnxruntime."""

    name = "onnxruntime"

    def build(self, model: ir.Model) -> Artifact:
        from optc.compiler.stand_in import loadable
        from optc.targets.onnx import Onnx

        return Onnx().build(loadable(model))

    @classmethod
    def load(cls, folder: Path, program: Mapping[str, Any], weights: Mapping[str, Array], threads: int) -> Engine:
        return OnnxRuntimeEngine(folder / program["model"], threads)


class OnnxRuntimeEngine:
    """An onnxruntime session on the CPU. Sessions may be shared by callers."""

    def __init__(self, path: Path, threads: int) -> None:
        import onnxruntime as ort
        from onnxruntime.capi import onnxruntime_pybind11_state as errors

        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
        options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")  # else activations are rounded to int8
        try:
            self._session: Any = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except (
            errors.Fail,
            errors.NotImplemented,
            errors.InvalidGraph,
            errors.InvalidArgument,
            errors.RuntimeException,
        ) as error:
            raise UserError("onnxruntime cannot run the model", place=str(path), lines=str(error).splitlines()[:3]) from error
        self._outputs: list[str] = [o.name for o in self._session.get_outputs()]
        values = (*self._session.get_inputs(), *self._session.get_outputs())
        self._plain = not any(value.type in _SHORT for value in values)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        if self._plain:
            return dict(zip(self._outputs, self._session.run(None, feeds), strict=True))
        values = {value.name: _value(feeds[value.name], value.type) for value in self._session.get_inputs()}
        found = self._session.run_with_ort_values(self._outputs, values)
        return {name: _array(value) for name, value in zip(self._outputs, found, strict=True)}


_SHORT = {
    "tensor(bfloat16)": ("bfloat16", 16),
    "tensor(float8e4m3fn)": ("float8_e4m3fn", 17),
    "tensor(float8e4m3fnuz)": ("float8_e4m3fnuz", 18),
    "tensor(float8e5m2)": ("float8_e5m2", 19),
    "tensor(float8e5m2fnuz)": ("float8_e5m2fnuz", 20),
}
"""Types that onnxruntime exchanges as bits alone: NumPy's name of each, and ONNX's number."""


def _value(array: Array, kind: str) -> Any:
    import onnxruntime as ort

    if kind not in _SHORT:
        return ort.OrtValue.ortvalue_from_numpy(array)
    bits = np.ascontiguousarray(array).view(f"u{array.itemsize}").reshape(array.shape)
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, _SHORT[kind][1])


def _array(value: Any) -> Array:
    """A copy, which the caller owns."""
    if value.data_type() not in _SHORT:
        found: Array = value.numpy()
        return found
    dtype, size = manifest.dtype(_SHORT[value.data_type()][0]), value.tensor_size_in_bytes()
    memory = ctypes.string_at(value.data_ptr(), size) if size else b""
    return np.frombuffer(bytearray(memory), dtype).reshape(value.shape())
