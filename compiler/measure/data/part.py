"""Part of a data set: what a file (or a folder that is one) gives, as batches, and what a look at all of it has shown."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from optc.compiler import ir
from optc.compiler.diagnostics import UserError, nearest
from optc.compiler.measure.data.arrays import remapped
from optc.compiler.measure.data.source import Source
from optc.compiler.numerics import Array

_CHUNK = 16_000_000  # bytes looked at at once
_MAPPED = 64_000_000  # bytes read through one mapping


@dataclass(frozen=True)
class Batch:
    """Feeds by input name; of the same samples the labels, and the slices (str) that they belong to, where there are any."""

    feeds: dict[str, Array]
    labels: Array | None
    slices: Array | None = None


class Seen:
    """SHA-256 of the samples that are used, and the range of their labels (None: there are none, or they are no numbers)."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.low: float | None = None
        self.high: float | None = None
        self.whole = True  # all labels are integers
        self.slices: Counter[str] = Counter()  # samples of each

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def note(self, data: bytes | memoryview[Any]) -> None:
        self._hash.update(data)

    def labels(self, labels: Array, place: str) -> None:
        """Raises UserError for labels that are NaN."""
        self.array(labels)
        if labels.dtype.kind not in "biuf" or not labels.size:
            return
        low, high = float(labels.min()), float(labels.max())
        if np.isnan(low):
            raise UserError("there is NaN among the labels", place=place)
        self.low = low if self.low is None else min(self.low, low)
        self.high = high if self.high is None else max(self.high, high)
        self.whole = self.whole and labels.dtype.kind in "biu"

    def count(self, slices: Array) -> None:
        """The slices that samples belong to."""
        self.slices.update(np.atleast_1d(slices).astype(str).tolist())

    def array(self, array: Array) -> None:
        if array.dtype.kind in "OU":
            self.note("".join(f"{text}\0" for text in array.ravel()).encode())
        else:
            self.note(np.ascontiguousarray(array).view(np.uint8).data if array.ndim else array.tobytes())


class Part(Protocol):
    """`rows` samples. `batches` and `scan` take the numbers of those that are used, in order."""

    place: str
    rows: int

    def batches(self, rows: NDArray[np.int64], size: int) -> Iterator[Batch]: ...

    def scan(self, rows: NDArray[np.int64], seen: Seen) -> None: ...


class Arrays:
    """Arrays by name. With `batched` their leading axes count samples, otherwise all of them are one sample.

    `load` is called again for each use, so that a folder of files is never in memory together.
    """

    def __init__(
        self, place: str, load: Callable[[], Mapping[str, Array]], model: ir.Model, source: Source, batched: bool
    ) -> None:
        self.place, self._load, self._batched = place, load, batched
        self._labels, self._slice = labels, slice_ = source.labels, source.slice
        inputs = {v.name or "": v for v in model.graph.inputs}
        held = load()
        for name, array in held.items():
            if name in (labels, slice_):
                continue
            if name not in inputs:
                hint = f"{nearest(name, inputs)}; if it holds the labels, say so: --labels {name}; or the slices: --slice {name}"
                raise UserError(f"array '{name}' is no input of the model", place=place, hint=hint)
            check_array(inputs[name], array.dtype, array.shape, place, skip=int(batched))
        missing = [n for n in (*inputs, *filter(None, (labels, slice_))) if n not in held]
        if missing:
            what = {slice_: "for the slices", labels: "for the labels"}.get(missing[0], "for input")
            raise UserError(f"no array {what} '{missing[0]}'", place=place, hint=f"it holds {', '.join(map(repr, held))}")
        self._dtypes = {n: v.dtype.numpy() for n, v in inputs.items() if v.dtype is not None}
        self.rows = _leading(held, place) if batched else 1

    def batches(self, rows: NDArray[np.int64], size: int) -> Iterator[Batch]:
        """Arrays of at most `size` samples at a time, copied out of the file."""
        held, copied = self._load(), 0
        for start in range(0, len(rows), size if self._batched else 1):
            if copied > _MAPPED:
                held, copied = {n: remapped(a) for n, a in held.items()}, 0
            part = {n: np.array(a[rows[start : start + size]] if self._batched else a) for n, a in held.items()}
            copied += sum(a.nbytes for a in part.values())
            labels, slices = (part.get(name) if name else None for name in (self._labels, self._slice))
            feeds = {n: a.astype(object) if a.dtype.kind == "U" else a for n, a in part.items() if n in self._dtypes}
            yield Batch(feeds, labels, None if slices is None else np.atleast_1d(slices).astype(str))

    def scan(self, rows: NDArray[np.int64], seen: Seen) -> None:
        """Note the samples in `seen`. Raises UserError for NaN."""
        for name, array in sorted(self._load().items()):
            seen.note(f"{name} {array.dtype} {array.shape[int(self._batched) :]}".encode())
            step = max(1, _CHUNK // max(1, array[:1].nbytes)) if self._batched else 1
            for start in range(0, len(rows), step):
                array = remapped(array)
                part = np.asarray(array[rows[start : start + step]] if self._batched else array)
                if name == self._slice:
                    seen.count(part)
                if name == self._labels:
                    seen.labels(part, self.place)
                    continue
                if name == self._slice:
                    seen.array(part)
                    continue
                if part.dtype.kind not in "OUSbiu" and np.isnan(part).any():
                    bad = start + int(np.isnan(part).reshape(len(part), -1).any(1).argmax()) if self._batched else 0
                    where = f", sample {rows[bad]}" if self._batched else ""
                    raise UserError(f"there is NaN in '{name}'{where}", place=self.place)
                seen.array(part)


def check_array(value: ir.Value, dtype: np.dtype[Any], shape: tuple[int, ...], place: str, skip: int = 0) -> None:
    """Raise UserError unless an array can be this input. The first `skip` axes count samples and may have any size."""
    name, wanted = value.name, value.dtype.numpy() if value.dtype is not None else None
    if wanted is not None and dtype != wanted and not (wanted.kind == "O" and dtype.kind == "U"):
        held, taken = ("text" if kind.kind in "OU" else str(kind) for kind in (dtype, wanted))
        raise UserError(f"array '{name}' is {held}, the input is {taken}", place=place, hint=f"save it as {taken}")
    if value.shape is None:
        return
    dims = list(zip(value.shape, shape, strict=False))
    if len(value.shape) != len(shape) or any(isinstance(d, int) and d != n for d, n in dims[skip:]):
        raise UserError(f"array '{name}' is of shape {list(shape)}, the input {value.shape}", place=place)


def _leading(held: Mapping[str, Array], place: str) -> int:
    """The number of samples, which all arrays must agree on."""
    counts = {name: array.shape[0] if array.ndim else -1 for name, array in held.items()}
    (first, count), *others = counts.items()
    if count < 0:
        raise UserError(f"array '{first}' has no axis that counts samples", place=place, hint="--batch 0: a file is one feed")
    for name, other in others:
        if other != count:
            raise UserError(
                f"array '{first}' has {count} samples, '{name}' {'none' if other < 0 else other}",
                place=place,
                hint="the leading axis counts samples; --batch 0: a file is one feed",
            )
    return count
