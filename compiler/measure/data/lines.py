"""Texts in files of lines: .txt (one a line), .jsonl (an object a line), .csv and .tsv (with a header)."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from optc.compiler.diagnostics import UserError
from optc.compiler.measure.data.rows import Held, objects, within
from optc.compiler.numerics import Array

SUFFIXES = (".txt", ".jsonl", ".csv", ".tsv")
_PIECE = 1024  # rows read at once
_Row = dict[str, Any]
_KINDS: dict[type | None, str] = {int: "a whole number", float: "a number", str: "text", list: "a list"}


class Lines:
    """A file of lines, read once for the number of its rows and what its columns hold: whole numbers, numbers, text or lists."""

    def __init__(self, file: Path) -> None:
        self.place, self._file = str(file), file
        self.rows, self._kinds = 0, dict[str, type]()
        self._odd: dict[str, UserError] = {}  # why a column is of no use: raised where it is used
        for row in self._checked():
            for name in {**self._kinds, **row}:
                if name in self._odd:
                    continue
                kind = type(None) if name not in row or (self.rows and name not in self._kinds) else self._kind(row[name])
                self._kinds[name] = self._wider(name, self._kinds.get(name), kind)
            self.rows += 1
        self.names = tuple(self._kinds)

    def read(self, names: Sequence[str], rows: NDArray[np.int64]) -> Iterator[Held]:
        for name in names:
            if name in self._odd:
                raise self._odd[name]
        start, piece = 0, list[_Row]()
        for row in self._checked():
            piece.append(row)
            if len(piece) == _PIECE:
                yield from self._picked(piece, start, names, rows)
                start, piece = start + _PIECE, []
        yield from self._picked(piece, start, names, rows)

    def _rows(self, stream: TextIO) -> Iterator[_Row]:
        raise NotImplementedError

    def _kind(self, value: Any) -> type:
        """float, int, str, list, or NoneType and others, which are no values."""
        if isinstance(value, int):  # also a bool
            return int if value.bit_length() < 64 else object
        return type(value)

    def _wider(self, name: str, old: type | None, new: type) -> type:
        """What a column holds that has held one kind of value and now holds another."""
        if old in (None, new) and new in _KINDS:
            return new
        if {old, new} == {int, float}:
            return float
        told = f"holds {_KINDS.get(new, new.__name__)} here, {_KINDS[old]} before" if old in _KINDS else "holds no array"
        told = "has no value" if new is type(None) else told
        self._odd[name] = UserError(f"column '{name}' {told}", place=f"{self.place}, row {self.rows}", hint="leave the row out")
        return new

    def _picked(self, piece: list[_Row], start: int, names: Sequence[str], rows: NDArray[np.int64]) -> Iterator[Held]:
        chosen = within(rows, start, len(piece))
        if chosen.size:
            yield {name: self._array(name, [piece[i][name] for i in chosen], chosen + start) for name in names}

    def _array(self, name: str, values: list[Any], rows: NDArray[np.int64]) -> Array:
        kind = self._kinds[name]
        if kind is str:
            return objects(values)
        if kind is not list:
            return np.array(list(map(kind, values)), np.int64 if kind is int else np.float64)
        found = []
        for value, row in zip(values, rows, strict=True):
            try:
                array = np.array(value)
            except (ValueError, OverflowError) as error:
                raise UserError(f"column '{name}' is ragged", place=f"{self.place}, row {row}") from error
            if array.dtype.kind not in "if":
                raise UserError(f"column '{name}' holds a list that is not of numbers", place=f"{self.place}, row {row}")
            found.append(array)
        return objects(found)

    def _checked(self) -> Iterator[_Row]:
        with _readable(self._file), self._file.open(encoding="utf-8-sig", newline="") as stream:
            yield from self._rows(stream)


class Text(Lines):
    """A text a line, as column `text`."""

    def _rows(self, stream: TextIO) -> Iterator[_Row]:
        for line in stream:
            yield {"text": line.rstrip("\r\n")}


class Json(Lines):
    """A JSON object a line."""

    def _rows(self, stream: TextIO) -> Iterator[_Row]:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UserError(f"not JSON: {error}", place=f"{self.place}, line {number}") from error
            if not isinstance(row, dict):
                raise UserError("not a JSON object", place=f"{self.place}, line {number}", hint='{"text": "...", "label": 0}')
            yield row


class Csv(Lines):
    """Comma- or tab-separated values under a header. A column in which all are numbers holds numbers."""

    def _rows(self, stream: TextIO) -> Iterator[_Row]:
        table = csv.reader(stream, delimiter="\t" if self._file.suffix == ".tsv" else ",", strict=True)
        names = next(table, [])
        if len(set(names)) < len(names):
            raise UserError("two columns have one name", place=f"{self.place}, line 1", hint="the first line is the header")
        for cells in table:
            if not cells:
                continue
            if len(cells) != len(names):
                told = f"{len(cells)} cells under a header of {len(names)}"
                raise UserError(told, place=f"{self.place}, line {table.line_num}", hint="quote cells that hold the separator")
            yield dict(zip(names, cells, strict=True))

    def _kind(self, value: str) -> type:
        try:
            return int if int(value).bit_length() < 64 else float
        except ValueError:
            pass
        try:
            float(value)
        except ValueError:
            return str
        return float

    def _wider(self, name: str, old: type | None, new: type) -> type:
        order = (int, float, str)
        return new if old is None else max(old, new, key=order.index)


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """What cannot be read as text is an error of the user's data."""
    try:
        yield
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        hint = "save it as UTF-8" if isinstance(error, UnicodeDecodeError) else ""
        raise UserError(f"not a {file.suffix} file: {error}", place=str(file), hint=hint) from error
