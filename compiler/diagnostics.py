"""Errors for people: what is wrong, where, and what to do; and the exit code each kind has."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class OptcError(Exception):
    """An error with a place. `str(error)` is the whole message, ready to print.

    `place` says where (file, node, option), `source` with `span` shows a caret under a piece of text,
    `lines` shows the neighbourhood (of a node, say), and `hint` says what to do.
    """

    exit_code = 1

    def __init__(
        self,
        message: str,
        *,
        place: str = "",
        hint: str = "",
        source: str = "",
        span: tuple[int, int] | None = None,
        lines: Iterable[str] = (),
    ) -> None:
        super().__init__(message)
        self.message, self.place, self.hint, self.source, self.span = message, place, hint, source, span
        self.lines = tuple(lines)

    def __str__(self) -> str:
        out = [self.message]
        if self.place:
            out.append(f"  at {self.place}")
        if self.source:
            out.append(f"  | {self.source}")
            if self.span:
                start, end = self.span
                out.append("  | " + " " * start + "^" * max(1, end - start))
        out += [f"  | {line}" for line in self.lines]
        if self.hint:
            out.append(f"  help: {self.hint}")
        return "\n".join(out)


class UserError(OptcError):
    """The user's input is wrong (exit code 2)."""

    exit_code = 2


class ContractError(OptcError):
    """A contract or a budget was not met (exit code 3)."""

    exit_code = 3


class PolicyError(OptcError):
    """A policy refused (exit code 4)."""

    exit_code = 4


class InternalError(OptcError):
    """A bug in optc (exit code 1). The reproducer, once written, is named in `hint`."""

    exit_code = 1


def nearest(word: str, candidates: Iterable[str]) -> str:
    """A hint naming the closest candidate, or all of them when none is close."""
    known = sorted(candidates)
    folded = {name.lower(): name for name in reversed(known)}
    close = difflib.get_close_matches(word.lower(), folded, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{folded[close[0]]}'?"
    return "known: " + ", ".join(known) if known else "none is known"
