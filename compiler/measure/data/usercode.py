"""Samples that the user's own code makes: `module:callable`, run only where that was allowed."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optc.compiler.diagnostics import UserError
from optc.compiler.measure.data.part import Seen
from optc.compiler.measure.data.rows import Held, objects, within
from optc.compiler.measure.data.source import Source
from optc.compiler.numerics import Array


class Called:
    """What a callable without arguments returns: an iterable of dicts of arrays, whose leading axes count samples.

    It is called once for each pass over the data, and must give the same each time: what the source was measured on must be
    what its results are measured on.
    """

    def __init__(self, source: Source) -> None:
        self.place = str(source.path)
        if not source.allow_code:
            told = "the data come from code, which does not run unless you allow it"
            raise UserError(told, place=self.place, hint="--allow-code (of `optc check` and `optc compile`), if you trust it")
        self._first, self.rows, self.names = "", 0, tuple[str, ...]()
        for piece in self._pieces():
            self.rows += len(next(iter(piece.values())))

    def read(self, names: Sequence[str], rows: NDArray[np.int64]) -> Iterator[Held]:
        start = 0
        for piece in self._pieces():
            count = len(piece[names[0]])
            chosen = within(rows, start, count)
            if chosen.size:
                yield {name: piece[name][chosen] for name in names}
            start += count

    def _pieces(self) -> Iterator[Held]:
        """All that one call gives, checked; at the end also against what the first one gave."""
        seen = Seen()
        with self._running():
            module, _, name = self.place.partition(":")
            called: Any = importlib.import_module(module)
            for part in name.split("."):
                called = getattr(called, part)
            pieces = iter(called())
        number = 0
        while True:
            with self._running():
                piece = next(pieces, None)
            if piece is None:
                break
            held = self._checked(piece, number)
            for key in sorted(held):
                seen.note(f"{key} {held[key].dtype} {held[key].shape}".encode())
                seen.array(held[key])
            number += 1
            yield held
        if self._first not in ("", seen.digest):
            told = "the callable gives other samples than when it was called first"
            raise UserError(told, place=self.place, hint="fix its seed, and its order")
        self._first = seen.digest

    def _checked(self, piece: Any, number: int) -> Held:
        place = f"{self.place}, batch {number}"
        if not isinstance(piece, Mapping) or not piece:
            hint = '{"x": array, "label": array}: leading axes count samples'
            raise UserError(f"the callable gives {type(piece).__name__}, not a dict of arrays", place=place, hint=hint)
        held = {str(name): _array(value, str(name), place) for name, value in piece.items()}
        counts = {name: len(array) for name, array in held.items()}
        if len(set(counts.values())) > 1:
            told = ", ".join(f"'{name}' has {count}" for name, count in counts.items())
            raise UserError(f"arrays of other numbers of samples: {told}", place=place)
        self.names = self.names or tuple(held)
        if set(held) != set(self.names):
            raise UserError(f"the batch holds {', '.join(held)}; the first one {', '.join(self.names)}", place=place)
        return held

    @contextmanager
    def _running(self) -> Iterator[None]:
        """The user's code, which finds modules in the folder the command runs in, as `python -m` does."""
        here = str(Path.cwd())
        sys.path.insert(0, here)
        try:
            yield
        except UserError:
            raise
        except (Exception, SystemExit) as error:  # whatever the user's own code raises is for its author, no bug of ours
            hint = "the exception is of your code"
            raise UserError(f"'{self.place}' raised {type(error).__name__}: {error}", place=self.place, hint=hint) from error
        finally:
            if here in sys.path:
                sys.path.remove(here)


def _array(value: Any, name: str, place: str) -> Array:
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise UserError(f"'{name}' is ragged: {error}", place=place) from error
    if array.ndim == 0:
        raise UserError(f"'{name}' has no axis that counts samples", place=place)
    text = array.dtype.kind == "U" or (array.dtype.kind == "O" and all(isinstance(v, str) for v in array.ravel()))
    if text:
        return objects(array.tolist()) if array.ndim == 1 else array.astype(object)
    if array.dtype.kind == "O":
        raise UserError(f"'{name}' holds Python objects, not numbers or text", place=place)
    return array
