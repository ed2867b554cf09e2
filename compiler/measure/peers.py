"""What is set side by side: a bundle, or an ONNX file in an engine that its user could have picked. Imports no compiler."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from optc.compiler.diagnostics import UserError
from optc.compiler.numerics import Array

Program = Callable[[], object]
Feeds = Mapping[str, Array]

BUNDLE = "optc"
"""The engine of a bundle."""


@dataclass(frozen=True)
class Peer:
    """A bundle, or an ONNX file in one of ENGINES."""

    path: Path
    engine: str = BUNDLE

    def __str__(self) -> str:
        return str(self.path) if self.engine == BUNDLE else f"{self.path} in {self.engine}"

    def load(self, threads: int, feeds: Feeds | None = None) -> Program:
        """The call that runs it once on the feeds; a bundle without feeds gets random ones whose symbolic sizes are 1.

        Raises UserError for what cannot be loaded; the call does where the feeds do not fit.
        """
        if self.engine == BUNDLE:
            return _bundle(self.path, threads, feeds)
        return ENGINES[self.engine](self.path, threads, feeds or {})


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise UserError(f"{name} is not installed", place=f"--against {name}", hint=f"pip install 'optc[{name}]'") from error


def _bundle(path: Path, threads: int, feeds: Feeds | None) -> Program:
    from optc.compiler import runtime

    program = runtime.load(path, threads=threads)
    given = feeds if feeds is not None else runtime.random_feeds(program)
    return lambda: program.run(given)


def _onnxruntime(path: Path, threads: int, feeds: Feeds) -> Program:
    ort = _package("onnxruntime")
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    refusals: tuple[type[Exception], ...] = tuple(
        error for error in vars(errors).values() if isinstance(error, type) and issubclass(error, Exception)
    )
    refusals += (ValueError,)
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    given = dict(feeds)
    try:
        session: Any = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except refusals as error:
        raise _refusal("onnxruntime cannot load the model", path, error) from error

    def run() -> object:
        try:
            return session.run(None, given)
        except refusals as error:
            raise _refusal("onnxruntime refuses these inputs", path, error) from error

    return run


def _openvino(path: Path, threads: int, feeds: Feeds) -> Program:
    openvino = _package("openvino")
    options = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    given = dict(feeds)
    try:
        compiled: Any = openvino.Core().compile_model(str(path), "CPU", options)
    except RuntimeError as error:
        raise _refusal("openvino cannot load the model", path, error) from error
    missing = [names for names in (i.names for i in compiled.inputs) if not names & given.keys()]
    if missing or len(given) != len(compiled.inputs):  # openvino runs on zeros where an input is missing
        wanted = [min(i.names, default="?") for i in compiled.inputs]
        raise UserError(f"the inputs are {', '.join(wanted)}, fed are {', '.join(given)}", place=str(path))

    def run() -> object:
        try:
            return compiled(given)
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise _refusal("openvino refuses these inputs", path, error) from error

    return run


def _refusal(message: str, path: Path, error: Exception) -> UserError:
    lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith("Exception from ")]
    return UserError(message, place=str(path), lines=lines[:3])


ENGINES: dict[str, Callable[[Path, int, Feeds], Program]] = {"onnxruntime": _onnxruntime, "openvino": _openvino}
