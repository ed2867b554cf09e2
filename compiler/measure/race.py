"""A bundle against onnxruntime on its source: what a speed-up and a latency are stated by, and the record of both."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from optc.compiler import inputs, ir
from optc.compiler.cores import cores
from optc.compiler.measure import process
from optc.compiler.measure.latency import Latency, Ratio, SideBySide, interleaved
from optc.compiler.measure.peers import ENGINES, Feeds, Peer
from optc.compiler.measure.process import Figures
from optc.compiler.runtime import Program

SOURCE, RESULT = "source", "result"
"""The names under which both run."""
RACE = partial(interleaved, seconds=6.0)
"""How the finished bundle and the baseline are raced."""


def race(source: Path, program: Program, model: ir.Model) -> SideBySide:
    """Both on one generated sample, batch 1 where the batch is free, all cores, in alternating blocks."""
    feeds = _feeds(model)
    peer = ENGINES["onnxruntime"](source, cores(), feeds)
    return RACE({SOURCE: peer, RESULT: lambda: program.run(feeds)})


def processes(source: Path, bundle: Path, model: ir.Model) -> dict[str, Figures]:
    """What a fresh process of each tells, on the sample that `race` takes, with all cores. About a second each."""
    feeds = _feeds(model)
    return {SOURCE: process.figures(Peer(source, "onnxruntime"), feeds), RESULT: process.figures(Peer(bundle), feeds)}


def _feeds(model: ir.Model) -> Feeds:
    return inputs.generate(model, samples=1, sizes=inputs.batch_of_one(model))[0]


def figures(latency: Latency, batch: int, threads: int, fresh: Figures | None = None) -> dict[str, Any]:
    """The figures of a program for the record. Those of a fresh process are left out where there was none.

    latency_ms p50, p90, p99 over `calls` calls; throughput in samples/s at p50; memory_mb (10⁶ bytes) and load_ms of a fresh
    process; cpu in cores; energy_j in joules a call, None where the machine does not report it.
    """
    told = {
        "latency_ms": {"p50": latency.median_ms, "p90": latency.p90_ms, "p99": latency.p99_ms, "calls": latency.calls},
        "throughput": 1000 * batch / latency.median_ms,
        "batch": batch,
        "threads": threads,
    }
    if fresh is None:
        return told
    measured = {"memory_mb": fresh.peak_bytes / 1e6, "load_ms": fresh.load_ms, "first_ms": fresh.first_ms}
    return {**told, **measured, "cpu": fresh.cpu_cores, "energy_j": fresh.joules}


def interval(ratio: Ratio) -> dict[str, float]:
    """A ratio for the record."""
    return {"value": ratio.value, "low": ratio.low, "high": ratio.high}


def document(
    found: SideBySide, fresh: Mapping[str, Figures] | None = None, batch: int = 1, threads: int | None = None
) -> dict[str, Any]:
    """For the record: baseline (the source in onnxruntime), result, and their paired ratio. `fresh` is of `processes`."""
    names, fresh = {"baseline": SOURCE, "result": RESULT}, fresh or {}
    rows = {key: figures(found.latencies[n], batch, threads or cores(), fresh.get(n)) for key, n in names.items()}
    return {**rows, "speed": interval(found.speed(RESULT, SOURCE))}
