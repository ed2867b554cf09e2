"""What a graph is optimized by: optc and its peers, each in a process of its own.

    python -m benchmarks.graph_engines onnxslim in.onnx out.onnx      what `run` starts; prints seconds and peak memory as JSON

Every engine does its default, as somebody would who has read the first lines of its page: it reads a file, optimizes, writes a
file. optc's seconds hold its check of the outputs too; the others compare nothing.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnx.inliner

from optc.compiler.diagnostics import UserError
from optc.compiler.validate import all_nodes

PEERS = ("onnxslim", "onnxsim", "onnxscript")
"""Engines that write standard operators alone."""
DIALECT = "optc onnxruntime"
"""optc with the operators of onnxruntime."""
ENGINES = ("optc", *PEERS, "onnxruntime", DIALECT)

_IMPORTS = {
    "optc": ("optc.compiler.api", "onnxruntime"),
    DIALECT: ("optc.compiler.api", "onnxruntime"),
    "onnxscript": ("onnxscript.optimizer",),
}


@dataclass(frozen=True)
class Optimized:
    """What an engine made of a model. `seconds`: reading, optimizing, writing, imports apart; `process`: from start to end of its
    process; `peak`: the most resident memory of the process, bytes. `problem` says why there is no result."""

    nodes: int = 0
    seconds: float = 0.0
    process: float = 0.0
    peak: int = 0
    problem: str = ""


def run(engine: str, model: Path, timeout: float) -> Optimized:
    """Optimize a model file with an engine, in a new process; a result without nodes where it fails or takes longer."""
    with tempfile.TemporaryDirectory(prefix="optc-graph-") as folder:
        made = Path(folder) / "optimized.onnx"
        command = [sys.executable, "-m", "benchmarks.graph_engines", engine, str(model.resolve()), str(made)]
        start = time.perf_counter()
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout, env=_environment())
        except subprocess.TimeoutExpired:
            return Optimized(problem=f"took more than {timeout:.0f} s")
        process = time.perf_counter() - start
        if done.returncode or not made.is_file():
            return Optimized(problem=_reason(done.stderr) or f"ended with code {done.returncode}")
        told = json.loads(done.stdout.splitlines()[-1])
        return Optimized(count(made), told["seconds"], process, told["peak"])


def _environment() -> dict[str, str]:
    """That of this process, where modules of a source tree may be kept compiled as those of installed packages are."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}


def _reason(stderr: str) -> str:
    """The line of a traceback that names the exception, or the last line."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Fail|Invalid\w*|NotImplemented)\b", line)]
    return (named or lines or [""])[-1][:200]


def count(model: Path) -> int:
    """Nodes of the graph and of every body, local functions inlined; Constant nodes are not counted: they compute nothing, and
    whether a constant is a node or an initializer is a matter of spelling."""
    proto = onnx.load(model, load_external_data=False)
    if proto.functions:
        proto = onnx.inliner.inline_local_functions(proto)
    return sum(node.op_type != "Constant" or node.domain not in ("", "ai.onnx") for node in all_nodes(proto.graph))


def missing(engines: Sequence[str]) -> list[str]:
    """Those that are not installed."""
    return [name for name in engines if name in PEERS and importlib.util.find_spec(name) is None]


def check(engines: Sequence[str]) -> None:
    """Raise UserError for an engine that is unknown or not installed."""
    for name in engines:
        if name not in ENGINES:
            raise UserError(f"no engine '{name}'", place="--engine", hint=f"there are: {', '.join(ENGINES)}")
    if gone := missing(engines):
        raise UserError(
            f"not installed: {', '.join(gone)}", place="--engine", hint="pip install 'optc[peers]', or name others with --engine"
        )


def has_dialect() -> bool:
    """Whether this optc writes operators of onnxruntime."""
    from optc.compiler import api

    return "dialect" in inspect.signature(api.optimize).parameters


def _optc(source: Path, output: Path) -> None:
    from optc.compiler import api

    api.optimize(source, output)


def _dialect(source: Path, output: Path) -> None:
    from optc.compiler import api

    optimize: Callable[..., Any] = api.optimize
    optimize(source, output, dialect="onnxruntime")


def _onnxslim(source: Path, output: Path) -> None:
    importlib.import_module("onnxslim").slim(str(source), str(output))


def _onnxsim(source: Path, output: Path) -> None:
    made, _ = importlib.import_module("onnxsim").simplify(str(source))
    onnx.save(made, output)


def _onnxscript(source: Path, output: Path) -> None:
    made = importlib.import_module("onnxscript.optimizer").optimize(onnx.load(source))
    onnx.save(made, output)


def _onnxruntime(source: Path, output: Path) -> None:
    """The extended level, written to a file: what a session of onnxruntime does when it loads a model."""
    ort = importlib.import_module("onnxruntime")
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath, options.log_severity_level = str(output), 4
    ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])


_RUN: Mapping[str, Callable[[Path, Path], None]] = {
    "optc": _optc,
    DIALECT: _dialect,
    "onnxslim": _onnxslim,
    "onnxsim": _onnxsim,
    "onnxscript": _onnxscript,
    "onnxruntime": _onnxruntime,
}


def peak() -> int:
    """The most memory this process had resident at once, mapped pages of files included, bytes (Linux)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def main(engine: str, source: Path, output: Path) -> None:
    """Optimize in this process."""
    for module in _IMPORTS.get(engine, (engine,)):
        importlib.import_module(module)
    start = time.perf_counter()
    _RUN[engine](source, output)
    print()
    print(json.dumps({"seconds": time.perf_counter() - start, "peak": peak()}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
