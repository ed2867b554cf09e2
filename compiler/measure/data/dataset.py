"""A data set for a model: checked before use, drawn by seed, and streamed in batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from optc.compiler import ir
from optc.compiler.diagnostics import UserError
from optc.compiler.measure.data import arrays, images
from optc.compiler.measure.data.images import Images
from optc.compiler.measure.data.part import Arrays, Batch, Part, Seen
from optc.compiler.measure.data.source import Source
from optc.compiler.numerics import Array

DEFAULT_BATCH = 32


class Dataset:
    """The samples that `source` names, as feeds of `model`; iterating yields batches, never more than one in memory.

    `batch` is how many samples are fed at once; 0: a file of arrays, or an image, is one feed. Making it looks through all data
    that will be used: UserError where they are missing, do not fit the model's inputs, or hold NaN. `digest` is the SHA-256 of
    the samples that are used, `seen` the range of their labels, `samples` how many there are.
    """

    def __init__(self, source: Source, model: ir.Model, batch: int) -> None:
        if not model.graph.inputs:
            raise UserError("the model has no inputs to feed", place=str(source.path))
        fixed = fixed_batch(model)
        parts, arrays_ = _parts(source, model, batch)
        self._size = batch if arrays_ else batch or fixed or 1
        sizes = [p.rows for p in parts]
        total = sum(sizes)
        if not total:
            raise UserError("no data", place=str(source.path), hint="the arrays have no samples")
        picked = np.arange(total)
        if source.limit is not None and source.limit < total:
            picked = np.sort(np.random.default_rng(source.seed).choice(total, source.limit, replace=False))
        starts = np.cumsum([0, *sizes])
        self._parts = [(p, picked[(picked >= a) & (picked < a + p.rows)] - a) for p, a in zip(parts, starts[:-1], strict=True)]
        self.samples = len(picked)
        if fixed and self._size:
            _check_fixed(fixed, self._size, self._parts)
        self.seen = Seen()
        for part, rows in self._parts:
            part.scan(rows, self.seen)

    @property
    def digest(self) -> str:
        return self.seen.digest

    def __iter__(self) -> Iterator[Batch]:
        for part, rows in self._parts:
            yield from part.batches(rows, self._size)


def fixed_batch(model: ir.Model) -> int | None:
    """The size that all inputs give their leading axis, if it is fixed."""
    leading = [v.shape[0] if v.shape else None for v in model.graph.inputs]
    first = leading[0] if leading else None
    return first if isinstance(first, int) and all(d == first for d in leading) else None


def _check_fixed(fixed: int, size: int, parts: list[tuple[Part, np.ndarray[tuple[int], np.dtype[np.int64]]]]) -> None:
    if size != fixed:
        raise UserError(f"the model takes batches of {fixed}, not of {size}", hint=f"batch = {fixed}, or --batch {fixed}")
    for part, rows in parts:
        if len(rows) % fixed:
            raise UserError(
                f"{len(rows)} samples are no whole number of the model's batches of {fixed}",
                place=part.place,
                hint="free the model's batch: --shape, or limit the samples",
            )


def _parts(source: Source, model: ir.Model, batch: int) -> tuple[list[Part], bool]:
    """The parts in order of file names, and whether they are arrays (not images)."""
    path, names = source.path, [v.name or "" for v in model.graph.inputs]
    files = _files(path)
    if not files:
        found: Part = Images(source, model)
        if not found.rows:
            hint = (
                f"give files {', '.join(arrays.SUFFIXES)} with one array for each input, or images ({', '.join(images.SUFFIXES)})"
            )
            raise UserError("no data", place=str(path), hint=hint)
        return [found], False
    stems = {f.stem: f for f in files if f.suffix == ".npy"}
    if path.is_dir() and len(stems) == len(files) and set(names) <= stems.keys():

        def columns() -> dict[str, Array]:
            return {name: arrays.read(file)[""] for name, file in stems.items()}

        return [Arrays(str(path), columns, model, source, batch > 0)], True
    return [Arrays(str(f), lambda f=f: _named(f, names), model, source, batch > 0) for f in files], True  # type: ignore[misc]


def _files(path: Path) -> list[Path]:
    """The files of arrays that `path` is or holds; empty for a folder without any."""
    if path.is_file():
        if path.suffix not in arrays.SUFFIXES:
            raise UserError(
                f"data of an unknown kind '{path.suffix}'", place=str(path), hint=f"known: {', '.join(arrays.SUFFIXES)}"
            )
        return [path]
    if not path.is_dir():
        raise UserError("no data", place=str(path), hint="give an .npz file with one array for each input, or a folder of them")
    return sorted(f for f in path.iterdir() if f.suffix in arrays.SUFFIXES)


def _named(file: Path, inputs: list[str]) -> Mapping[str, Array]:
    """The arrays of a file; the one of an .npy is the model's one input."""
    held = arrays.read(file)
    if "" not in held:
        return held
    if len(inputs) != 1:
        raise UserError(
            "an .npy file names no input", place=str(file), hint="save .npz: np.savez(path, NAME=array), or a folder of NAME.npy"
        )
    return {inputs[0]: held[""]}
