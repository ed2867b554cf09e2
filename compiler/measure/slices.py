"""Parts of the data that a mean hides: slices by name, and the samples that suffered most."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass

import numpy as np

from optc.compiler.measure.metrics.fidelity import relative_l2
from optc.compiler.measure.statistics import Decision, Interval
from optc.compiler.numerics import Array

WORST = 10
"""How many of the worst samples are named."""


@dataclass(frozen=True)
class SliceMeasured:
    """A metric on the samples of one slice. With a budget: its limit here, the decision, and how many samples of the slice would
    settle one that is undecided. A slice in which the source itself has no value (AUC of one class) is not decided on."""

    name: str
    samples: int
    source: float
    result: float
    difference: Interval
    decision: Decision | None = None
    limit: float | None = None
    needed: int | None = None


@dataclass(frozen=True)
class WorstSample:
    """A sample by its place among those that were measured, from 0, and the relative L2 of its output against the source's."""

    index: int
    slice: str | None
    error: float


class Worst:
    """The samples with the largest errors of a stream; NaN is the largest of all."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, str | None]] = []  # smallest error first; of equal ones the latest sample
        self._seen = 0

    def add(self, before: Array, after: Array, slices: Array | None) -> None:
        """Outputs of both models, one row a sample, and the slices of the samples."""
        if before.dtype.kind in "OUS":
            return
        errors = np.nan_to_num(relative_l2(after, before)[:, 0], nan=math.inf)
        for i in np.flatnonzero(errors):
            entry = (float(errors[i]), -(self._seen + int(i)), None if slices is None else str(slices[i]))
            if len(self._heap) < WORST:
                heapq.heappush(self._heap, entry)
            elif entry[:2] > self._heap[0][:2]:
                heapq.heapreplace(self._heap, entry)
        self._seen += len(errors)

    def found(self) -> tuple[WorstSample, ...]:
        """The worst first; samples without any error are not among them."""
        ordered = sorted(self._heap, key=lambda e: e[:2], reverse=True)
        return tuple(WorstSample(-negative, name, error) for error, negative, name in ordered)


def rows_of(slices: Array) -> dict[str, Array]:
    """The samples of each slice, by its name, in order of names."""
    names, place = np.unique(slices.astype(str), return_inverse=True)
    return {str(name): np.flatnonzero(place == i) for i, name in enumerate(names)}
