"""What a compiled model is set beside: onnxruntime, as the reference (optimizations off) and as the engine to beat (all on)."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnxruntime as ort
import psutil
from numpy.typing import NDArray
from rich.console import Console

Array = NDArray[Any]
Run = Callable[[Mapping[str, Array]], dict[str, Array]]
BUSY_PERCENT = 10.0

# VmHWM belongs to the process alone; ru_maxrss would also remember its parent's size.
_PEAK = """
import os, resource, sys
if os.path.exists("/proc/self/status"):
    peak = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) * 1024
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(peak)
"""
_OURS = """
import sys, numpy as np, optc
optc.load(sys.argv[1], threads=int(sys.argv[3])).run(dict(np.load(sys.argv[2])))
"""
_THEIRS = """
import sys, numpy as np, onnxruntime as ort
options = ort.SessionOptions()
options.intra_op_num_threads = int(sys.argv[3])
ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"]).run(None, dict(np.load(sys.argv[2])))
"""


@dataclass(frozen=True)
class FreshProcess:
    """A new process that imports, loads and runs once: wall seconds from its start to its end (median), peak resident bytes."""

    seconds: float
    peak_bytes: int


def warn_if_busy(console: Console) -> None:
    """Say so if other programs use this machine: engines with a thread for each core then wait for them, and ratios mislead."""
    if (percent := psutil.cpu_percent(interval=0.5)) > BUSY_PERCENT:
        console.print(f"[yellow]other programs use {percent:.0f} % of this machine: do not trust the latencies below")


def onnxruntime_runner(model: Path, threads: int, optimize: bool = True) -> Run:
    """feeds -> outputs through onnxruntime on the CPU with `threads` threads; `optimize=False` is the reference."""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimize else level.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda feeds: dict(zip(names, session.run(names, dict(feeds)), strict=True))


def fresh_processes(
    bundle: Path, model: Path, feeds: Mapping[str, Array], threads: int, rounds: int = 5
) -> tuple[FreshProcess, FreshProcess]:
    """(ours, onnxruntime's): each `rounds` times, in turns, after one turn that warms the file cache and is not counted."""
    measured: dict[str, list[tuple[float, int]]] = {_OURS: [], _THEIRS: []}
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder) / "feeds.npz"
        np.savez(inputs, **feeds)  # type: ignore[arg-type]  # the stub takes `allow_pickle` for one of the arrays
        for turn in range(rounds + 1):
            for script, file in ((_OURS, bundle), (_THEIRS, model)):
                start = time.perf_counter()
                command = [sys.executable, "-c", script + _PEAK, str(file), str(inputs), str(threads)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                if turn:
                    measured[script].append((time.perf_counter() - start, int(done.stdout.split()[-1])))
    ours, theirs = (FreshProcess(median(s for s, _ in runs), max(peak for _, peak in runs)) for runs in measured.values())
    return ours, theirs
