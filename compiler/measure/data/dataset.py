"""A data set for a model: checked before use, drawn by seed, and streamed in batches."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from optc.compiler import ir
from optc.compiler.diagnostics import UserError
from optc.compiler.measure.data import parts
from optc.compiler.measure.data.part import Batch, Part, Seen
from optc.compiler.measure.data.source import Source

DEFAULT_BATCH = 32


class Dataset:
    """The samples that `source` names, as feeds of `model`; iterating yields batches, never more than one in memory.

    `batch` is how many samples are fed at once; 0: a file of arrays is one feed, and so is a row, an image or a sound.
    Making it looks through all data that will be used: UserError where they are missing, do not fit the model's inputs, or
    hold NaN. `digest` is the SHA-256 of the samples that are used, `seen` the range of their labels, `samples` their number.
    """

    def __init__(self, source: Source, model: ir.Model, batch: int) -> None:
        if not model.graph.inputs:
            raise UserError("the model has no inputs to feed", place=str(source.path))
        fixed = fixed_batch(model)
        size = batch or fixed or 1
        found, of_arrays = parts.find(source, model, batch, size)
        self._size = batch if of_arrays else size
        sizes = [p.rows for p in found]
        total = sum(sizes)
        if not total:
            raise UserError("no data", place=str(source.path), hint="they have no samples")
        picked = np.arange(total)
        if source.limit is not None and source.limit < total:
            picked = np.sort(np.random.default_rng(source.seed).choice(total, source.limit, replace=False))
        starts = np.cumsum([0, *sizes])
        self._parts = [(p, picked[(picked >= a) & (picked < a + p.rows)] - a) for p, a in zip(found, starts[:-1], strict=True)]
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
