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
    numbers (negative: padding) or any. `binary` records are 0 or 1, and their mean is the value. `percent` says what a budget of
    1 % is: 0.01 of the value's own scale (points), or of the source's value. `value` of None: the mean of one number a sample.
    `reach` says how far, about, a share of changed samples moves a value to which most samples add the same in both models.
    `observed` values speak of these samples alone (a maximum), and have no interval.
    """

    name: str
    truth: Literal["labels", "source"]
    better: Literal["higher", "lower"]
    records: Callable[[Array, Array], Array]
    value: Callable[[Array], float] | None = None
    labels: Literal["classes", "tokens", "any"] = "any"
    binary: bool = False
    percent: Literal["points", "relative"] = "points"
    reach: float = 0.0
    observed: bool = False

    def of(self, records: Array) -> float:
        return (self.value or mean)(records)


def need(holds: bool, expected: str, array: Array, what: str = "output") -> None:
    """Raise UserError unless an array is what a metric expects."""
    if not holds:
        raise UserError(f"it needs {expected}, the {what} is {array.dtype}{list(array.shape)}")
