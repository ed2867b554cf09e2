"""A process of its own for one program: `python -m optc.compiler.measure.child`, started by `workers.Worker`.

Requests come as lines of JSON on stdin, replies go as lines of JSON to stdout. Imports little: its peak memory is measured.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from optc.compiler.diagnostics import OptcError
from optc.compiler.measure import energy, handover
from optc.compiler.measure.latency import timed
from optc.compiler.measure.peers import BUNDLE, Peer, Program

CALLS = 3  # before the peak is read: the first ones allocate

Reply = Callable[[dict[str, Any]], None]


def main() -> None:
    """Serve until stdin ends. An error of ours is a reply, and its exit code."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not be taken for a reply

    def reply(document: dict[str, Any]) -> None:
        print(json.dumps(document), file=replies, flush=True)

    try:
        serve(sys.stdin, reply)
    except OptcError as error:
        told = {"message": error.message, "place": error.place, "hint": error.hint, "lines": error.lines}
        reply({"error": told, "exit_code": error.exit_code})
        sys.exit(error.exit_code)


def serve(requests: Iterator[str], reply: Reply) -> None:
    """The first request names the program and is answered once it has run; each other one asks for a block."""
    order = json.loads(next(requests))
    feeds = handover.read(Path(order["feeds"])) if order["feeds"] else None
    peer, meter = Peer(Path(order["path"]), order["engine"]), energy.meter(Path(order["powercap"]))
    if peer.engine == BUNDLE:
        import optc.compiler.runtime  # noqa: F401  (here, since other engines' processes do without it)
    marks = [time.perf_counter()]
    call = peer.load(order["threads"], feeds)
    marks.append(time.perf_counter())
    call()
    marks.append(time.perf_counter())
    for _ in range(CALLS - 1):
        call()
    load, first = (1000 * (after - before) for before, after in pairwise(marks))
    reply({"load_ms": load, "first_ms": first, "peak_bytes": _peak()})
    for line in requests:
        reply(_block(call, meter, **json.loads(line)))


def _block(call: Program, meter: energy.Meter | None, seconds: float, warmup: int) -> dict[str, Any]:
    for _ in range(warmup):
        call()
    before = meter.read() if meter else ()
    wall, cpu = time.perf_counter(), time.process_time()
    times = timed(call, seconds)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    joules = meter.joules(before, meter.read()) if meter else None
    return {"times_ms": times.tolist(), "cpu_s": cpu, "wall_s": wall, "joules": joules}


def _peak() -> int:
    """Bytes at the peak of this process."""
    status = Path("/proc/self/status")
    if status.exists():  # there ru_maxrss counts the process that started this one
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
