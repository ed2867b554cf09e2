"""A bundle against onnxruntime on its source: what a speed-up and a latency are stated by, and memory of a fresh process."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from optc.compiler import inputs, ir
from optc.compiler.cores import cores
from optc.compiler.diagnostics import InternalError
from optc.compiler.measure.latency import SideBySide, interleaved
from optc.compiler.measure.peers import ENGINES
from optc.compiler.runtime import Program

SOURCE, RESULT = "source", "result"
"""The names under which both run."""
RACE = partial(interleaved, seconds=6.0)
"""How the finished bundle and the baseline are raced."""

_FRESH = """
import resource, sys
from pathlib import Path
from optc.compiler import runtime
program = runtime.load(sys.argv[1])
feeds = runtime.random_feeds(program)
for _ in range(3):
    program.run(feeds)
status = Path("/proc/self/status")
if status.exists():  # there ru_maxrss counts the process that started this one
    print(status.read_text().partition("VmHWM:")[2].split()[0])
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def race(source: Path, program: Program, model: ir.Model) -> SideBySide:
    """Both on one generated sample, batch 1 where the batch is free, all cores, in alternating blocks."""
    feeds = inputs.generate(model, samples=1, sizes=inputs.batch_of_one(model))[0]
    peer = ENGINES["onnxruntime"](source, cores(), feeds)
    return RACE({SOURCE: peer, RESULT: lambda: program.run(feeds)})


def peak_memory(bundle: Path) -> int:
    """Bytes at the peak of a fresh process that loads a bundle and runs it, the interpreter included (symbolic sizes are 1)."""
    done = subprocess.run([sys.executable, "-c", _FRESH, str(bundle)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise InternalError("a fresh process cannot run the bundle", lines=done.stderr.splitlines()[-3:], place=str(bundle))
    return int(done.stdout) * (1 if sys.platform == "darwin" else 1024)


def document(found: SideBySide) -> dict[str, Any]:
    """The latencies for the record: baseline (the source in onnxruntime), result, and their paired ratio."""
    speed = found.speed(RESULT, SOURCE)
    figures: dict[str, Any] = {
        key: {
            "latency_ms": {
                "p50": found.latencies[name].median_ms,
                "p90": found.latencies[name].p90_ms,
                "p99": found.latencies[name].p99_ms,
                "calls": found.latencies[name].calls,
            },
            "threads": cores(),
            "batch": 1,
        }
        for key, name in (("baseline", SOURCE), ("result", RESULT))
    }
    return {**figures, "speed": {"value": speed.value, "low": speed.low, "high": speed.high}}
