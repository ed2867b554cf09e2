"""Being stopped: Ctrl-C and SIGTERM end a command as an exception does, so that what it made on the way is removed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):
    """A signal asked to stop. No Exception: nothing on the way takes it for an error of a model or of somebody's code."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_code = 128 + number
        """As a shell tells of a process that a signal has ended: 130 after Ctrl-C, 143 after SIGTERM."""


@contextmanager
def stoppable() -> Iterator[None]:
    """Inside, the first signal raises Stopped; another one, while cleaning up, does what it did before.

    What is ignored stays ignored (a job in the background of a script has no Ctrl-C), and only the main thread may do this.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    earlier = {number: signal.getsignal(number) for number in SIGNALS}

    def restore() -> None:
        for number, handler in earlier.items():
            signal.signal(number, handler)

    def stop(number: int, _: FrameType | None) -> None:
        restore()
        raise Stopped(number)

    try:
        for number, handler in earlier.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, stop)
        yield
    finally:
        restore()
