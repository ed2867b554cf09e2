"""Sounds in a folder as samples: found, labelled, resampled, and cut into frames or to the model's length."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optc.compiler import ir
from optc.compiler.diagnostics import UserError
from optc.compiler.measure.data import labelled
from optc.compiler.measure.data.columns import fitted
from optc.compiler.measure.data.part import Batch, Seen, check_array
from optc.compiler.measure.data.source import Source
from optc.compiler.numerics import Array

SUFFIXES = (".wav",)
_STREAMED = (0, 0xFFFFFFFF)  # lengths that a program writes which did not know them yet


class Sounds:
    """The sounds of a folder, in the order of their names (or of labels.csv), for a model's one input [samples, values].

    With `frame` each sound is its frames, whole ones only (a shorter sound is one frame, filled up with zeros). Without, it is
    one sample: filled up with zeros or cut to the input's length, where that is fixed.
    """

    def __init__(self, source: Source, model: ir.Model) -> None:
        self.place = str(source.path)
        if len(model.graph.inputs) != 1:
            several = ", ".join(v.name or "" for v in model.graph.inputs)
            raise UserError(f"sounds feed one input, the model has {several}", place=self.place, hint="prepare .npz files")
        self._input, self._source = model.graph.inputs[0], source
        dtype = self._input.dtype
        if dtype is not None and dtype.numpy().kind == "f":
            self._dtype = dtype.numpy()
        else:
            raise UserError(f"sounds are float values, input '{self._input.name}' is {dtype}", place=self.place)
        sizes = [d for d in (self._input.shape or ())[1:] if d != 1]
        self._length = source.frame or (sizes[0] if len(sizes) == 1 and isinstance(sizes[0], int) else None)
        found = labelled.find(source, SUFFIXES, "sounds")
        self._files, self._labels, self._slices = found.files, found.labels, found.slices
        self._starts = np.concatenate([[0], np.cumsum([self._samples(f) for f in self._files], dtype=np.int64)])
        self.rows = int(self._starts[-1])

    def batches(self, rows: NDArray[np.int64], size: int) -> Iterator[Batch]:
        """At most `size` samples at a time."""
        last, sound = -1, np.zeros(0, np.float32)
        owners = np.searchsorted(self._starts, rows, side="right") - 1
        for start in range(0, len(rows), size):
            arrays, part = [], slice(start, start + size)
            for row, owner in zip(rows[part], owners[part], strict=True):
                if owner != last:  # the frames of a sound follow each other
                    last, sound = int(owner), self._sound(self._files[owner])
                arrays.append(self._cut(sound, int(row - self._starts[owner])))
            if len({len(a) for a in arrays}) > 1:
                lengths = " and ".join(map(str, sorted({len(a) for a in arrays})[:2]))
                hint = "cut them: [data] with frame = N; or one at a time: --batch 1"
                raise UserError(f"sounds of other lengths in one batch: {lengths}", place=self.place, hint=hint)
            stacked = fitted(self._input, np.stack(arrays).astype(self._dtype))
            check_array(self._input, stacked.dtype, stacked.shape, self.place, skip=1)
            labels, slices = (None if a is None else a[owners[part]] for a in (self._labels, self._slices))
            yield Batch({self._input.name or "": stacked}, labels, slices)

    def scan(self, rows: NDArray[np.int64], seen: Seen) -> None:
        """Note the sounds and the labels in `seen`; every file is read, and the first sample is prepared."""
        source = self._source
        seen.note(f"sounds {source.rate} {source.frame} {source.hop} {self._length}".encode())
        owners = np.searchsorted(self._starts, rows, side="right") - 1
        for owner in np.unique(owners):
            file = self._files[owner]
            with file.open("rb") as stream:
                seen.note(hashlib.file_digest(stream, "sha256").digest())
            if not np.isfinite(self._read(file)).all():
                raise UserError("there is NaN or infinity in the sound", place=str(file))
        seen.note(rows.tobytes())
        if self._labels is not None:
            seen.labels(self._labels[owners], self.place)
        if self._slices is not None:
            seen.array(self._slices[owners])
            seen.count(self._slices[owners])
        next(self.batches(rows[:1], 1))

    def _samples(self, file: Path) -> int:
        """How many samples a file is, by its header alone."""
        with _readable(file):
            about = _soundfile().info(str(file))
        if about.channels != 1:
            raise UserError(f"the sound has {about.channels} channels", place=str(file), hint="mix it down to one")
        _check_whole(file)
        first = self._source.rate or _soundfile().info(str(self._files[0])).samplerate
        if about.samplerate != first and not self._source.rate:
            told = f"the sound has {about.samplerate} Hz, '{self._files[0].name}' {first} Hz"
            raise UserError(told, place=str(file), hint="[data] with rate = N resamples to what the model wants")
        if not about.frames:
            raise UserError("the sound is empty", place=str(file))
        if not self._source.frame:
            return 1
        up, down = _ratio(about.samplerate, first)
        length = int(-(-about.frames * up // down))  # what a polyphase filter gives: rounded up
        return 1 + max(0, length - self._source.frame) // (self._source.hop or self._source.frame)

    def _sound(self, file: Path) -> Array:
        """All values of a file, at the declared rate."""
        values, own = self._read(file), _soundfile().info(str(file)).samplerate
        up, down = _ratio(own, self._source.rate or own)
        if up == down:
            return values
        resampled: Array = _resample(values, up, down).astype(np.float32)
        return resampled

    def _read(self, file: Path) -> Array:
        with _readable(file):
            values: Array = _soundfile().read(str(file), dtype="float32")[0]
        return values

    def _cut(self, sound: Array, frame: int) -> Array:
        if self._length is None:
            return sound
        start = frame * (self._source.hop or self._source.frame)
        part = sound[start : start + self._length]
        return np.pad(part, (0, self._length - len(part)))


def _ratio(own: int, wanted: int) -> tuple[int, int]:
    common = math.gcd(own, wanted)
    return wanted // common, own // common


def _check_whole(file: Path) -> None:
    """Raise UserError for a RIFF file that is shorter than its header says; the library reads what is left and says nothing."""
    with file.open("rb") as stream:
        head = stream.read(8)
    said = int.from_bytes(head[4:8], "little")
    if head[:4] == b"RIFF" and said not in _STREAMED and said + 8 > file.stat().st_size + 1:  # some count a byte of padding
        told = f"the sound is cut off: {file.stat().st_size} of {said + 8} bytes"
        raise UserError(told, place=str(file), hint="copy it again, or leave it out")


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """What soundfile cannot read is an error of the user's data."""
    try:
        yield
    except (_soundfile().SoundFileError, OSError) as error:
        raise UserError(f"not a sound: {error}", place=str(file)) from error


def _soundfile() -> Any:
    try:
        import soundfile
    except ModuleNotFoundError as error:
        raise UserError("sounds need soundfile, which is not installed", hint="pip install 'optc[audio]'") from error
    return soundfile


def _resample(values: Array, up: int, down: int) -> Array:
    """By a polyphase filter (zero phase, Kaiser window), as scipy.signal.resample_poly documents it."""
    try:
        from scipy.signal import resample_poly
    except ModuleNotFoundError as error:
        raise UserError("resampling needs scipy, which is not installed", hint="pip install 'optc[audio]'") from error
    resampled: Array = resample_poly(values, up, down)
    return resampled
