"""Samples that come as rows: read piece by piece, cut into batches, checked, and made into feeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from optc.compiler.diagnostics import UserError, nearest
from optc.compiler.measure.data.part import Batch, Seen
from optc.compiler.measure.data.source import Source
from optc.compiler.numerics import Array

Held = dict[str, Array]
"""Columns by name: an entry a row. Text, and arrays whose shapes differ from row to row, are entries of an object array."""


class Reader(Protocol):
    """A table of `rows` rows, counted from 0. `read` gives columns of the rows that are asked for (ascending), in pieces."""

    place: str
    rows: int
    names: tuple[str, ...]

    def read(self, names: Sequence[str], rows: NDArray[np.int64]) -> Iterator[Held]: ...


class Feeder(Protocol):
    """What makes feeds of the columns it names. `identity` is what the feeds depend on beside these."""

    columns: tuple[str, ...]
    identity: bytes

    def feeds(self, held: Held, rows: NDArray[np.int64], place: str) -> dict[str, Array]: ...


class Rows:
    """The rows of a table as samples, at most `size` in a batch."""

    def __init__(self, reader: Reader, feeder: Feeder, source: Source, size: int) -> None:
        self.place, self.rows = reader.place, reader.rows
        self._reader, self._feeder, self._size = reader, feeder, size
        self._labels, self._slice = source.labels, source.slice
        self._names = tuple(dict.fromkeys([*feeder.columns, *filter(None, (source.labels, source.slice))]))
        missing = next((n for n in self._names if n not in reader.names), None)
        if missing is not None and self.rows:
            what = {source.slice: "for the slices", source.labels: "for the labels"}.get(missing, "for input")
            what = "of texts" if missing == source.text and source.tokenizer else what
            texts = source.text in reader.names and not source.tokenizer
            hint = "of texts tokens are made: [data] with tokenizer = PATH" if texts else nearest(missing, reader.names)
            raise UserError(f"no column {what} '{missing}'", place=self.place, hint=hint)

    def batches(self, rows: NDArray[np.int64], size: int) -> Iterator[Batch]:
        """Feeds of at most `size` rows at a time."""
        for held, numbers in self._cut(rows, size):
            yield self._batch(held, numbers)

    def scan(self, rows: NDArray[np.int64], seen: Seen) -> None:
        """Note the columns in `seen`, each by itself, so that it does not matter how the rows come in pieces."""
        columns = {name: Seen() for name in self._names if name != self._labels}
        shapes: dict[str, str] = {}
        for held, numbers in self._cut(rows, self._size):
            batch = self._batch(held, numbers)
            if batch.labels is not None:
                seen.labels(batch.labels, self.place)
            if batch.slices is not None:
                seen.count(batch.slices)
            for name, column in columns.items():
                array = held[name]
                kind = f"{name} {array.dtype} {array.shape[1:]}"
                if shapes.get(name) != kind:
                    column.note(kind.encode())
                    shapes[name] = kind
                column.array(array)
        seen.note(self._feeder.identity)
        for name in sorted(columns):
            seen.note(columns[name].digest.encode())

    def _batch(self, held: Held, numbers: NDArray[np.int64]) -> Batch:
        """One batch of checked feeds. The labels come as they are: numbers, or str."""
        feeds = self._feeder.feeds(held, numbers, self.place)
        labels, slices = (held.get(name) if name else None for name in (self._labels, self._slice))
        if labels is not None:
            check_numbers(self._labels, labels, numbers, self.place)
            labels = labels.astype(str) if labels.dtype.kind == "O" else labels
        return Batch(feeds, labels, None if slices is None else slices.astype(str))

    def _cut(self, rows: NDArray[np.int64], size: int) -> Iterator[tuple[Held, NDArray[np.int64]]]:
        """Batches of the columns, with the numbers of their rows."""
        start = 0
        waiting: list[Held] = []
        for piece in self._reader.read(self._names, rows):
            waiting.append(piece)
            count = sum(len(next(iter(w.values()))) for w in waiting)
            if count < size:
                continue
            joined = {name: _joined([w[name] for w in waiting]) for name in self._names}
            for at in range(0, count - size + 1, size):
                yield self._even(joined, at, rows[start : start + size])
                start += size
            rest = count % size
            waiting = [{name: a[count - rest :] for name, a in joined.items()}] if rest else []
        if waiting:
            joined = {name: _joined([w[name] for w in waiting]) for name in self._names}
            yield self._even(joined, 0, rows[start:])

    def _even(self, joined: Held, at: int, numbers: NDArray[np.int64]) -> tuple[Held, NDArray[np.int64]]:
        """A batch out of more rows, its arrays of one shape."""
        held = {}
        for name, array in joined.items():
            part = array[at : at + len(numbers)]
            if part.dtype.kind == "O" and not isinstance(part[0], str):
                shapes = [a.shape for a in part]
                odd = next((i for i, s in enumerate(shapes) if s != shapes[0]), None)
                if odd is not None:
                    told = f"column '{name}' holds {list(shapes[odd])} values, {list(shapes[0])} in row {numbers[0]}"
                    raise UserError(
                        told, place=f"{self.place}, row {numbers[odd]}", hint="pad the rows; or one at a time: --batch 1"
                    )
                part = np.stack(list(part))
                if part.dtype.kind == "O" and part.size and not isinstance(part.flat[0], str):
                    told = f"column '{name}' holds lists of other lengths in one row"
                    raise UserError(told, place=f"{self.place}, row {numbers[0]}", hint="pad them")
            held[name] = part
        return held, numbers


def check_numbers(name: str, array: Array, rows: NDArray[np.int64], place: str) -> None:
    """Raise UserError for NaN, with its row."""
    if array.dtype.kind in "OUSbiu" or not array.size:
        return
    bad = np.isnan(array).reshape(len(array), -1).any(1)
    if bad.any():
        raise UserError(f"there is NaN in column '{name}'", place=f"{place}, row {rows[int(bad.argmax())]}")


def within(rows: NDArray[np.int64], start: int, count: int) -> NDArray[np.int64]:
    """Those of the ascending numbers `rows` that lie in a piece of `count` rows, counted from the piece's `start`."""
    first, last = np.searchsorted(rows, [start, start + count])
    return rows[first:last] - start


def objects(values: Sequence[object]) -> Array:
    """An object array of one axis, whatever the values are."""
    array = np.empty(len(values), object)
    array[:] = values if not isinstance(values, np.ndarray) else list(values)
    return array


def _joined(pieces: list[Array]) -> Array:
    if len(pieces) == 1:
        return pieces[0]
    if len({(a.dtype, a.shape[1:]) for a in pieces}) == 1:
        return np.concatenate(pieces)
    array = np.empty(sum(map(len, pieces)), object)
    for i, row in enumerate(r for a in pieces for r in a):
        array[i] = row
    return array
