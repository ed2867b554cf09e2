"""Images in a folder as samples: found, labelled, and turned into arrays by the declared preprocessing, batch by batch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optc.compiler import ir
from optc.compiler.diagnostics import UserError
from optc.compiler.measure.data import labelled
from optc.compiler.measure.data.part import Batch, Seen, check_array
from optc.compiler.measure.data.source import Source
from optc.compiler.numerics import Array

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")


class Images:
    """The images of a folder, in the order of their names (or of labels.csv), for a model's one input."""

    def __init__(self, source: Source, model: ir.Model) -> None:
        if len(model.graph.inputs) != 1:
            several = ", ".join(v.name or "" for v in model.graph.inputs)
            raise UserError(f"images feed one input, the model has {several}", place=str(source.path), hint="prepare .npz files")
        self._input, self._source, self.place = model.graph.inputs[0], source, str(source.path)
        found = labelled.find(source, SUFFIXES, "images")
        self._files, self._labels, self._slices = found.files, found.labels, found.slices
        self.rows = len(self._files)

    def batches(self, rows: NDArray[np.int64], size: int) -> Iterator[Batch]:
        """Arrays of at most `size` images at a time."""
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            arrays = [self._image(self._files[i]) for i in part]
            if len({a.shape for a in arrays}) > 1:
                shapes = " and ".join(sorted({str(list(a.shape)) for a in arrays})[:2])
                raise UserError(f"images of other sizes in one batch: {shapes}", place=self.place, hint="declare resize and crop")
            stacked = np.stack(arrays)
            check_array(self._input, stacked.dtype, stacked.shape, self.place)
            labels, slices = (None if a is None else a[part] for a in (self._labels, self._slices))
            yield Batch({self._input.name or "": stacked}, labels, slices)

    def scan(self, rows: NDArray[np.int64], seen: Seen) -> None:
        """Note the images and the labels in `seen`; every file is looked at, and the first one is prepared."""
        image = _pillow()
        seen.note(f"{replace(self._source, path=Path()).table()}".encode())  # wherever they lie
        for i in rows:
            file = self._files[i]
            with _readable(file), image.open(file) as opened:
                opened.verify()
            with file.open("rb") as stream:
                seen.note(hashlib.file_digest(stream, "sha256").digest())
        if self._labels is not None:
            seen.labels(self._labels[rows], self.place)
        if self._slices is not None:
            seen.array(self._slices[rows])
            seen.count(self._slices[rows])
        next(self.batches(rows[:1], 1))

    def _image(self, file: Path) -> Array:
        """One image, without the batch axis, in the input's dtype."""
        source, image = self._source, _pillow()
        with _readable(file), image.open(file) as opened:
            picture = opened.convert("L" if source.channels == "L" else "RGB")
        if source.resize:
            picture = picture.resize(_target(picture.size, source.resize), image.Resampling.BILINEAR)
        if source.crop:
            height, width = source.crop[0], source.crop[-1]
            left, top = (picture.width - width) // 2, (picture.height - height) // 2
            if left < 0 or top < 0:
                raise UserError(
                    f"the image is {picture.height}x{picture.width}, the crop {height}x{width}",
                    place=str(file),
                    hint="resize to no less than the crop",
                )
            picture = picture.crop((left, top, left + width, top + height))
        array = np.atleast_3d(np.asarray(picture, np.float32))
        array = array[..., ::-1] if source.channels == "BGR" else array
        mean, std = (np.array(values, np.float32) for values in (source.mean or (0.0,), source.std or (1.0,)))
        array = (array * np.float32(source.scale) - mean) / std
        array = array.transpose(2, 0, 1) if source.layout == "NCHW" else array
        return np.ascontiguousarray(array, self._input.dtype.numpy() if self._input.dtype is not None else np.float32)


def _target(size: tuple[int, int], resize: tuple[int, ...]) -> tuple[int, int]:
    """Width and height after resizing."""
    if len(resize) == 2:
        return resize[1], resize[0]
    width, height = size
    shorter = min(width, height)
    return max(1, round(width * resize[0] / shorter)), max(1, round(height * resize[0] / shorter))


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """What Pillow cannot read is an error of the user's data."""
    try:
        yield
    except (OSError, SyntaxError, ValueError, _pillow().DecompressionBombError) as error:  # SyntaxError: a broken PNG
        raise UserError(f"not an image: {error}", place=str(file)) from error


def _pillow() -> Any:
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise UserError("images need Pillow, which is not installed", hint="pip install 'optc[images]'") from error
    return Image
