"""Parquet files, and Arrow files (Feather is their second version), read in pieces; the largest is a compressed record batch."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optc.compiler.diagnostics import UserError
from optc.compiler.measure.data.rows import Held, objects, within
from optc.compiler.numerics import Array

SUFFIXES = (".parquet", ".arrow", ".feather")
_PIECE = 4_000_000  # bytes read at once
_MAPPED = 32_000_000  # bytes read through one mapping


class Parquet:
    """The columns of a Parquet file."""

    def __init__(self, file: Path) -> None:
        self.place, self._file = str(file), file
        with _readable(file), self._open() as opened:
            self.rows, self.names = opened.metadata.num_rows, _names(opened.schema_arrow.names, self.place)

    def read(self, names: Sequence[str], rows: NDArray[np.int64]) -> Iterator[Held]:
        with _readable(self._file), self._open() as opened:
            start = 0
            for group in range(opened.num_row_groups):
                about = opened.metadata.row_group(group)
                count, step = about.num_rows, _step(about.total_byte_size, about.num_rows)
                if within(rows, start, count).size:
                    pieces = opened.iter_batches(step, row_groups=[group], columns=list(names), use_threads=False)
                    yield from _picked(pieces, names, rows, start, self.place)
                start += count

    def _open(self) -> Any:
        parquet = _pyarrow("pyarrow.parquet")
        # a buffered stream: else a column of a row group is in memory as a whole
        return parquet.ParquetFile(self._file, buffer_size=1 << 20, pre_buffer=False)


class Arrow:
    """The columns of an Arrow IPC file, or of an IPC stream that was written to a file."""

    def __init__(self, file: Path) -> None:
        self.place, self._file = str(file), file
        with _readable(file), file.open("rb") as stream:
            self._streamed = stream.read(6) != b"ARROW1"
        with _readable(file):
            self.names = _names(self._open().schema.names, self.place)
        self.rows = sum(piece.num_rows for piece in self._pieces())

    def read(self, names: Sequence[str], rows: NDArray[np.int64]) -> Iterator[Held]:
        with _readable(self._file):
            yield from _picked((p.select(list(names)) for p in self._pieces()), names, rows, 0, self.place)

    def _open(self) -> Any:
        """A reader through which nothing has been read yet."""
        ipc, arrow = _pyarrow("pyarrow.ipc"), _pyarrow("pyarrow")
        if self._streamed:
            return ipc.open_stream(arrow.OSFile(str(self._file)))
        return ipc.open_file(arrow.memory_map(str(self._file)))

    def _pieces(self) -> Iterator[Any]:
        """Parts of the record batches."""
        with _readable(self._file):
            opened, through, arrow = self._open(), 0, _pyarrow("pyarrow")
            if self._streamed:
                for batch in opened:
                    yield from _slices(batch)
                return
            for i in range(opened.num_record_batches):
                allocated = arrow.total_allocated_bytes()
                batch = opened.get_batch(i)
                size = batch.get_total_buffer_size()  # nbytes would follow offsets that nobody has checked
                unpacked = arrow.total_allocated_bytes() - allocated > size // 2  # decompressed: no part of the mapping
                step = _step(size, batch.num_rows)
                for start in range(0, batch.num_rows, step):
                    yield batch.slice(start, step)
                    through += size * step // batch.num_rows
                    if through > _MAPPED and not unpacked:  # pages read through an old mapping no longer count as memory
                        opened, through = self._open(), 0
                        batch = opened.get_batch(i)
                if through > _MAPPED:
                    opened, through = self._open(), 0


def _slices(batch: Any) -> Iterator[Any]:
    step = _step(batch.get_total_buffer_size(), batch.num_rows)
    for start in range(0, batch.num_rows, step):
        yield batch.slice(start, step)


def _picked(pieces: Any, names: Sequence[str], rows: NDArray[np.int64], start: int, place: str) -> Iterator[Held]:
    """The chosen rows of record batches, the first of which begins at row `start`."""
    for piece in pieces:
        chosen = within(rows, start, piece.num_rows)
        if chosen.size:
            piece.validate(full=True)  # offsets and text come from the file as they are
            taken = piece if len(chosen) == piece.num_rows else piece.take(_pyarrow("pyarrow").array(chosen))
            yield {name: _array(name, taken.column(name), chosen + start, place) for name in names}
        start += piece.num_rows


def _array(name: str, column: Any, rows: NDArray[np.int64], place: str) -> Array:
    """A column as `rows.Held` has it. Raises UserError for nulls, and for types that are neither numbers nor text."""
    empty = _null(column)
    if empty is not None:
        hint = "fill it in, or leave the row out"
        raise UserError(f"column '{name}' has no value", place=f"{place}, row {rows[empty]}", hint=hint)
    found = _values(column)
    if found is None:
        told = f"column '{name}' is of type {column.type}"
        raise UserError(told, place=place, hint="columns of numbers, of text, or of lists of equal lengths become arrays")
    return found


def _null(column: Any) -> int | None:
    """The first row in which something is null."""
    if column.null_count:
        return int(column.is_null().to_numpy(zero_copy_only=False).argmax())
    if not _is_list(column.type):
        return None
    inner = _null(column.flatten())
    return None if inner is None else int(np.searchsorted(np.cumsum(_lengths(column)), inner, side="right"))


def _values(column: Any) -> Array | None:
    """A column without nulls; None for a type that has no array."""
    types = _pyarrow("pyarrow").types
    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if any(is_(kind) for is_ in (types.is_boolean, types.is_integer, types.is_floating)):
        numbers: Array = column.to_numpy(zero_copy_only=False)
        return numbers
    if any(is_(kind) for is_ in (types.is_string, types.is_large_string, types.is_string_view)):
        return objects(column.to_pylist())
    if not _is_list(kind):
        return None
    inner, lengths = _values(column.flatten()), _lengths(column)
    if inner is None:
        return None
    ragged = inner.dtype.kind == "O" and len(inner) and not isinstance(inner[0], str)
    if len(set(lengths.tolist())) == 1 and not ragged:
        return inner.reshape(len(column), lengths[0], *inner.shape[1:])
    return objects([_stacked(part) for part in np.split(inner, np.cumsum(lengths)[:-1])])


def _stacked(part: Array) -> Array:
    """One row of lists of lists: an array where these are of one length, else what it was."""
    if part.dtype.kind == "O" and len(part) and not isinstance(part[0], str) and len({a.shape for a in part}) == 1:
        return np.stack(list(part))
    return part


def _is_list(kind: Any) -> bool:
    types = _pyarrow("pyarrow").types
    return any(is_(kind) for is_ in (types.is_list, types.is_large_list, types.is_fixed_size_list))


def _lengths(column: Any) -> NDArray[np.int64]:
    lengths: NDArray[np.int64] = _pyarrow("pyarrow.compute").list_value_length(column).to_numpy(zero_copy_only=False)
    return lengths.astype(np.int64)


def _step(size: int, rows: int) -> int:
    """How many rows are read at once."""
    return max(1, _PIECE * rows // max(size, 1))


def _names(names: list[str], place: str) -> tuple[str, ...]:
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice is not None:
        raise UserError(f"two columns are called '{twice}'", place=place)
    return tuple(names)


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """What pyarrow cannot read is an error of the user's data."""
    try:
        yield
    except (_pyarrow("pyarrow").ArrowException, OSError, ValueError) as error:  # ValueError: text that is not UTF-8
        kind = "a Parquet" if file.suffix == ".parquet" else "an Arrow"
        raise UserError(f"not {kind} file: {str(error).splitlines()[0]}", place=str(file)) from error


def _pyarrow(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UserError(
            "Parquet and Arrow files need pyarrow, which is not installed", hint="pip install 'optc[parquet]'"
        ) from error
