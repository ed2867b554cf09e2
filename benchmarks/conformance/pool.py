"""Calls in worker processes that may die or hang: neither ends the run, each is a result."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

CRASHED, TIMED_OUT = "crashed", "timed out"

Call = Callable[[int], str]


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    index: int
    deadline: float


def run(call: Call, indices: Sequence[int], workers: int, limit: float) -> Iterator[tuple[int, str]]:
    """(index, `call(index)`) for each index, as they finish; `crashed: SIGSEGV` or `timed out` (after `limit` seconds).

    Workers are forked from the caller, which must have no threads yet, and share what it has in memory.
    """
    todo, busy = deque(indices), list[_Worker]()
    idle: list[tuple[BaseProcess, Connection]] = []
    try:
        while todo or busy:
            while todo and len(busy) < workers:
                process, pipe = idle.pop() if idle else _start(call)
                index = todo.popleft()
                pipe.send(index)
                busy.append(_Worker(process, pipe, index, time.monotonic() + limit))
            soonest = min(worker.deadline for worker in busy)
            ready = wait([worker.pipe for worker in busy], max(0.0, soonest - time.monotonic()))
            for worker in [w for w in busy if w.pipe in ready or w.deadline <= time.monotonic()]:
                busy.remove(worker)
                result = _received(worker) if worker.pipe in ready else TIMED_OUT
                if result.startswith(CRASHED) or result == TIMED_OUT:
                    _stop(worker.process, worker.pipe)
                else:
                    idle.append((worker.process, worker.pipe))
                yield worker.index, result
    finally:
        for process, pipe in [*idle, *((w.process, w.pipe) for w in busy)]:
            _stop(process, pipe)


def _start(call: Call) -> tuple[BaseProcess, Connection]:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(call, theirs), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def _serve(call: Call, pipe: Connection) -> None:
    quiet = os.open(os.devnull, os.O_WRONLY)  # engines log, and crashes print stacks
    for stream in (1, 2):
        os.dup2(quiet, stream)
    while True:
        try:
            index = pipe.recv()
        except EOFError:
            return
        pipe.send(call(index))


def _received(worker: _Worker) -> str:
    try:
        return str(worker.pipe.recv())
    except (EOFError, ConnectionResetError):
        worker.process.join()
        code = worker.process.exitcode or 0
        return f"{CRASHED}: {signal.Signals(-code).name if code < 0 else f'exit code {code}'}"


def _stop(process: BaseProcess, pipe: Connection) -> None:
    process.kill()
    process.join()
    pipe.close()
