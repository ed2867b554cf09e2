"""A program in a process of its own, which stays: blocks of calls are asked for through a pipe, and their times come back.

Programs in one process share its thread pools, its allocator and its interpreter lock; here each has its own, and peaks, load
times and processor times are those of one program.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from optc.compiler.diagnostics import InternalError, UserError
from optc.compiler.measure import handover
from optc.compiler.measure.energy import POWERCAP
from optc.compiler.measure.peers import BUNDLE, Feeds, Peer

COMMAND = (sys.executable, "-P", "-m", "optc.compiler.measure.child")


@dataclass(frozen=True)
class Started:
    """What the start of a process told: milliseconds to load, and of the first call; bytes at its peak after a few calls."""

    load_ms: float
    first_ms: float
    peak_bytes: int


@dataclass(frozen=True)
class Spent:
    """A block of calls: times of single ones in milliseconds, seconds of wall and of all its threads, joules if reported."""

    times_ms: npt.NDArray[np.float64]
    wall_s: float
    cpu_s: float
    joules: float | None


class Worker:
    """A running process; leave it as a context.

    `started` is what its start told. Raises what the program raises (UserError for feeds that do not fit), and where the process
    ends otherwise UserError, or InternalError for a bundle, with the exit code and the last lines that it wrote.
    """

    def __init__(self, peer: Peer, threads: int, feeds: Feeds | None = None, powercap: Path = POWERCAP) -> None:
        self._peer = peer
        self._stderr: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(COMMAND, stdin=pipe, stdout=pipe, stderr=self._stderr, text=True, encoding="utf-8")
        order = {"path": str(peer.path), "engine": peer.engine, "threads": threads, "powercap": str(powercap), "feeds": ""}
        try:
            with tempfile.TemporaryDirectory(prefix="optc-") as folder:
                if feeds is not None:
                    order["feeds"] = str(Path(folder) / "feeds.npz")
                    handover.write(Path(folder) / "feeds.npz", feeds)
                self.started = Started(**self._ask(order))
        except BaseException:
            self.close()
            raise

    def block(self, seconds: float, warmup: int = 3) -> Spent:
        """Calls for some seconds, at least one, after `warmup` calls that count nowhere."""
        told = self._ask({"seconds": seconds, "warmup": warmup})
        return Spent(np.array(told["times_ms"]), told["wall_s"], told["cpu_s"], told["joules"])

    def times(self, seconds: float, warmup: int) -> npt.NDArray[np.float64]:
        """`latency.Block`."""
        return self.block(seconds, warmup).times_ms

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._stderr.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        requests, replies = self._process.stdin, self._process.stdout
        assert requests is not None and replies is not None
        try:
            print(json.dumps(request), file=requests, flush=True)
            line = replies.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise self._death()
        told: dict[str, Any] = json.loads(line)
        if "error" in told:
            raise (UserError if told["exit_code"] == UserError.exit_code else InternalError)(**told["error"])
        return told

    def _death(self) -> UserError | InternalError:
        code = self._process.wait()
        self._stderr.seek(0)
        lines = self._stderr.read().splitlines()[-3:]
        name = f" ({signal.strsignal(-code)})" if code < 0 else ""
        kind = InternalError if self._peer.engine == BUNDLE else UserError
        return kind(f"the process of its own ended with exit code {code}{name}", place=str(self._peer), lines=lines)
