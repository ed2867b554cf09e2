"""The reference: what a model means, by onnxruntime with optimizations off, or by onnx's own evaluator where it cannot."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import onnx.reference

from optc.compiler import ir, save
from optc.compiler.diagnostics import UserError
from optc.compiler.executable import Executable, bytes_inside, executable
from optc.compiler.numerics import Array
from optc.compiler.stand_in import loadable


class Reference:
    """A model made ready to run by its definition. Raises UserError where neither executor takes it.

    With `lean` it keeps no memory between runs: for models of which many are held side by side.
    """

    def __init__(self, model: ir.Model | onnx.ModelProto | Executable, threads: int = 2, lean: bool = False) -> None:
        if isinstance(model, onnx.ModelProto):
            model = Executable(model.SerializeToString(), tuple(v.name for v in model.graph.output))
        if isinstance(model, ir.Model):
            model = loadable(model)
            if bytes_inside(model) >= save.LIMIT:  # no protobuf holds it
                self._names: Sequence[str] = [v.name or "" for v in model.graph.outputs]
                with tempfile.TemporaryDirectory(prefix="optc-") as folder:
                    save.save(model, Path(folder) / "model.onnx")
                    self._run = _either(Path(folder) / "model.onnx", "", threads, lean)
                return
            model = executable(model)
        self._names = model.outputs
        self._run = _either(model.data, model.folder, threads, lean)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name. Raises UserError with the executor's words where the feeds do not fit."""
        return dict(zip(self._names, self._run(dict(feeds)), strict=True))

    def run_all(self, samples: Sequence[Mapping[str, Array]]) -> list[dict[str, Array]]:
        return [self.run(feeds) for feeds in samples]


def _either(source: bytes | Path, folder: str, threads: int, lean: bool) -> Any:
    return _onnxruntime(source if isinstance(source, bytes) else str(source), folder, threads, lean) or _evaluator(source, folder)


def _onnxruntime(source: bytes | str, folder: str, threads: int, lean: bool) -> Any:
    import onnxruntime as ort
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = threads, 4
    options.enable_cpu_mem_arena = not lean  # the arena keeps all activations: 500 MB of an 18 MB model on a batch of 32
    if folder:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
        options.add_session_config_entry("session.disable_prepacking", "1")  # weights are mapped: a packed copy would not be
    try:
        session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except (errors.Fail, errors.NotImplemented, errors.InvalidGraph, errors.InvalidArgument, errors.RuntimeException):
        return None  # the evaluator decides

    def run(feeds: dict[str, Array]) -> Any:
        try:
            return session.run(None, feeds)
        except (errors.Fail, errors.InvalidArgument, errors.RuntimeException) as error:
            raise UserError("the reference executor refuses these inputs", lines=str(error).splitlines()[:3]) from error

    return run


def _evaluator(source: bytes | Path, folder: str) -> Any:
    proto = onnx.load_model_from_string(source) if isinstance(source, bytes) else onnx.load(str(source))
    if folder:
        onnx.load_external_data_for_model(proto, folder)
    try:
        evaluator = onnx.reference.ReferenceEvaluator(proto)
    except (RuntimeError, NotImplementedError, ValueError) as error:
        raise UserError(
            "neither onnxruntime nor onnx's evaluator can run the model", lines=str(error).splitlines()[:3]
        ) from error

    def run(feeds: dict[str, Array]) -> Any:
        try:
            return evaluator.run(None, feeds)
        except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:  # it says no more precisely
            raise UserError("onnx's evaluator refuses these inputs", lines=str(error).splitlines()[:3]) from error

    return run
