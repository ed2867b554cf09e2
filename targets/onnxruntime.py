"""The `onnxruntime` target: a bundle that runs through onnxruntime. The fallback for what no other target takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        return dict(zip(self._outputs, self._session.run(None, feeds), strict=True))
