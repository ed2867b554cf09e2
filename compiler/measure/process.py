"""What a fresh process of a program tells: time to load, first call, peak memory, use of the processor, energy.

The same for a bundle and for an ONNX file in an engine. Loading begins where numpy and optc are imported, and ends where the
program is ready: each engine's own libraries (TVM's runtime, onnxruntime, openvino) are part of it. A machine that has not read
their files before is slower.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from optc.compiler.cores import cores
from optc.compiler.measure.energy import POWERCAP
from optc.compiler.measure.peers import Feeds, Peer
from optc.compiler.measure.workers import Worker

SECONDS = 0.3
"""How long calls are made to see how busy the processor is."""


@dataclass(frozen=True)
class Figures:
    """Of a fresh process: milliseconds to load and of the first call; bytes at its peak after three calls, interpreter included.

    Of a block of `calls` calls: `cpu_cores`, processor seconds of all threads over wall seconds (2.0: two cores were busy), and
    `joules` a call. That is the energy of the whole processor package while they ran, nothing subtracted; None where the machine
    does not report it.
    """

    load_ms: float
    first_ms: float
    peak_bytes: int
    calls: int
    cpu_cores: float
    joules: float | None


def figures(
    peer: Peer, feeds: Feeds | None = None, threads: int | None = None, seconds: float = SECONDS, powercap: Path = POWERCAP
) -> Figures:
    """Measured in one fresh process with `threads` threads (all cores), in about a second.

    A bundle without feeds gets random ones whose symbolic sizes are 1. Raises UserError for wrong input, and what `Worker` says
    of a process that ends.
    """
    with Worker(peer, threads or cores(), feeds, powercap) as worker:
        start, spent = worker.started, worker.block(seconds)
    calls = len(spent.times_ms)
    joules = None if spent.joules is None else spent.joules / calls
    return Figures(start.load_ms, start.first_ms, start.peak_bytes, calls, spent.cpu_s / spent.wall_s, joules)


def peak_memory(bundle: Path, feeds: Feeds | None = None) -> int:
    """Bytes at the peak of a fresh process that loads a bundle and runs it, the interpreter included. Without feeds as above."""
    with Worker(Peer(bundle), cores(), feeds) as worker:
        return worker.started.peak_bytes
