"""What a metric is: a record of each sample, and the value of many records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from optc.compiler.diagnostics import UserError
from optc.compiler.numerics import Array


def mean(records: Array) -> float:
    """The mean of one number a sample."""
    return float(np.mean(records))


@dataclass(frozen=True)
class Metric:
    """`records(output, truth)` gives float64 [samples, numbers], one row a sample, so that source and result are compared sample
    by sample; `value(records)` is the metric. It raises UserError where output or truth have no fitting shape or dtype.

    `truth` is what outputs are held against. `labels` says which labels fit: class numbers below the output's last axis, token
    numbers (negative: padding), maps of class numbers (negative: any answer) or any. `binary` records are 0 or 1, and their mean
    is the value. `percent` says what a budget of 1 % is: 0.01 of the value's own scale (points), or of the source's value.
    `value` of None: the mean of one number a sample. `reach` says how far, about, a share of changed samples moves a value to
    which most samples add the same in both models. `observed` values speak of these samples alone (a maximum), and have no
    interval.
    """

    name: str
    truth: Literal["labels", "source"]
    better: Literal["higher", "lower"]
    records: Callable[[Array, Array], Array]
    value: Callable[[Array], float] | None = None
    labels: Literal["classes", "tokens", "maps", "any"] = "any"
    binary: bool = False
    percent: Literal["points", "relative"] = "points"
    reach: float = 0.0
    observed: bool = False

    def checked(self, output: Array, truth: Array) -> Array:
        """The records, as float64. Raises UserError where a metric of a package makes others than are promised above."""
        records, samples = self.records(output, truth), len(output)
        found = f"{records.dtype}{list(records.shape)}" if isinstance(records, np.ndarray) else type(records).__name__
        single = self.binary or self.value is None
        fits = isinstance(records, np.ndarray) and records.dtype.kind in "biuf" and records.ndim == 2 and len(records) == samples
        if not fits or (single and records.shape[1] != 1):
            raise UserError(f"its records are {found}, expected float64[{samples}, {1 if single else 'numbers'}]")
        if self.binary and not ((records == 0) | (records == 1)).all():
            raise UserError("its records are called binary, some are neither 0 nor 1")
        return records.astype(np.float64, copy=False)

    def of(self, records: Array) -> float:
        return (self.value or mean)(records)


def need(holds: bool, expected: str, array: Array, what: str = "output") -> None:
    """Raise UserError unless an array is what a metric expects."""
    if not holds:
        raise UserError(f"it needs {expected}, the {what} is {array.dtype}{list(array.shape)}")
