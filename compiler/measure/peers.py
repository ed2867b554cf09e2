"""What `optc bench` sets side by side: bundles, and ONNX files in the engines their user could have picked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from optc.compiler import inputs, load, runtime
from optc.compiler.diagnostics import UserError, nearest
from optc.compiler.numerics import Array

Program = Callable[[], object]
Feeds = Mapping[str, Array]


def programs(models: Sequence[Path], engines: Sequence[str], threads: int, sizes: Mapping[str, int]) -> dict[str, Program]:
    """A call for each bundle and for each ONNX file in each engine, all on the same random feeds.

    Raises UserError for an unknown or missing engine and where the models do not take the same inputs.
    """
    for engine in engines:
        if engine not in ENGINES:
            raise UserError(f"unknown engine '{engine}'", place="--against", hint=nearest(engine, ENGINES))
    feeds = _feeds(models, sizes)
    made: dict[str, Program] = {}
    for path in models:
        if (path / "manifest.json").is_file():
            program = runtime.load(path, threads=threads)
            program.run(feeds)
            made[str(path)] = lambda program=program: program.run(feeds)  # type: ignore[misc]
        else:
            made.update({f"{path} in {engine}": ENGINES[engine](path, threads, feeds) for engine in engines})
    return made


def _feeds(models: Sequence[Path], sizes: Mapping[str, int]) -> dict[str, Array]:
    sources = [p for p in models if not p.is_dir()]
    if sources:  # a source model can be tried with sizes until it runs
        model = load.load(sources[0])
        return inputs.generate(model, samples=1, sizes={**inputs.batch_of_one(model), **sizes})[0]
    return runtime.random_feeds(runtime.load(models[0]), sizes)


def _onnxruntime(path: Path, threads: int, feeds: Feeds) -> Program:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    session: Any = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, dict(feeds))


def _openvino(path: Path, threads: int, feeds: Feeds) -> Program:
    try:
        import openvino  # type: ignore[import-not-found, unused-ignore]
    except ModuleNotFoundError as error:
        raise UserError("OpenVINO is not installed", place="--against openvino", hint="pip install 'optc[openvino]'") from error
    options = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    compiled: Any = openvino.Core().compile_model(str(path), "CPU", options)
    return lambda: compiled(dict(feeds))


ENGINES: dict[str, Callable[[Path, int, Feeds], Program]] = {"onnxruntime": _onnxruntime, "openvino": _openvino}
