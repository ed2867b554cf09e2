"""Numerical contracts, and how two sets of outputs are compared under one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOLERANCE = 1e-4
"""Largest relative error that REASSOCIATED allows (onnxruntime's own optimizations: 6e-7 to 5e-5 on real models)."""

HALF_ULPS = 2
"""An output in float16 or bfloat16 cannot be nearer than its rounding: there REASSOCIATED allows this many epsilons."""

Array = NDArray[Any]
Outputs = Mapping[str, Array]


class Numerics(Enum):
    """What a pass promises of the model's outputs."""

    BITWISE = "bitwise"
    """Identical outputs (0.0 and -0.0 are one number)."""
    REASSOCIATED = "reassociated"
    """Float rounding only: relative error max|a-b| / max|a| of each output over all samples at most TOLERANCE."""
    LOSSY = "lossy"
    """Bounded by an option of the pass and by budgets."""

    def weaker(self, other: Numerics) -> Numerics:
        order = list(Numerics)
        return max(self, other, key=order.index)


@dataclass(frozen=True)
class Comparison:
    """The worst output of a comparison: `error` is relative; `problem` says what no error can express (NaN, shape).

    `rounding` is the error that the output's own dtype makes unavoidable, 0 from float32 on.
    """

    output: str
    error: float
    l2: float
    problem: str = ""
    rounding: float = 0.0

    @property
    def _badness(self) -> tuple[bool, float]:
        return bool(self.problem), self.error

    def meets(self, numerics: Numerics, tolerance: float = TOLERANCE) -> bool:
        if self.problem:
            return False
        return self.error == 0.0 if numerics is Numerics.BITWISE else self.error <= self.allowed(tolerance)

    def allowed(self, tolerance: float = TOLERANCE) -> float:
        """The tolerance, or the rounding of the output's dtype where that is more."""
        return max(tolerance, self.rounding)

    def __str__(self) -> str:
        return f"output '{self.output}': {self.problem or f'relative error {self.error:.2e}'}"


def compare(reference: Sequence[Outputs], actual: Sequence[Outputs]) -> Comparison:
    """The worst output over all samples. Both sequences hold one mapping a sample."""
    names = reference[0] if reference else ()
    return worst(_compare_output(name, [r[name] for r in reference], [a.get(name) for a in actual]) for name in names)


def worst(outputs: Iterable[Comparison]) -> Comparison:
    """The worst of several outputs, of equal ones the first; without any, one without error."""
    return max(outputs, key=lambda found: found._badness, default=Comparison("", 0.0, 0.0))


def _compare_output(name: str, reference: list[Array], actual: list[Array | None]) -> Comparison:
    found = Difference()
    for a, b in zip(reference, actual, strict=True):
        found.add(a, b)
    return found.comparison(name, rounding(reference[0].dtype))


@dataclass
class Difference:
    """By how much one value differs, gathered sample by sample: `add` each, then ask for the `comparison`."""

    scale: float = 0.0
    difference: float = 0.0
    square: float = 0.0
    square_difference: float = 0.0
    problem: str = ""

    def add(self, a: Array, b: Array | None) -> None:
        """One sample: the expected array and the actual one. After the first problem nothing more is looked at."""
        if not self.problem:
            self.problem = self._add(a, b)

    def _add(self, a: Array, b: Array | None) -> str:
        if b is None:
            return "is missing"
        if a.shape != b.shape or a.dtype != b.dtype:
            return f"is {b.dtype}{list(b.shape)}, expected {a.dtype}{list(a.shape)}"
        if a.dtype.kind in "OSU":
            return "" if np.array_equal(a, b) else "has other strings"
        if a.dtype.kind == "c":
            a, b = (np.stack([v.real, v.imag]) for v in (a, b))
        x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
        if a.dtype.kind in "iu" and not np.array_equal(a, b):
            self.difference = max(self.difference, 1.0)  # float64 does not tell integers above 2^53 apart
        with np.errstate(invalid="ignore"):  # infinity less infinity
            off = x - y
        if not np.isfinite(off).all():
            if not np.array_equal(np.isnan(x), np.isnan(y)):
                return "has NaN in other places"
            infinite = np.isinf(x) | np.isinf(y)
            if not np.array_equal(x[infinite], y[infinite]):
                return "has infinities in other places or of another sign"
            fine = np.isfinite(x)
            x, off = x[fine], off[fine]
        if x.size:
            self.scale = max(self.scale, float(np.abs(x).max()))
            self.difference = max(self.difference, float(np.abs(off).max()))
            self.square, self.square_difference = self.square + float(x @ x), self.square_difference + float(off @ off)
        return ""

    def comparison(self, name: str, rounding: float = 0.0) -> Comparison:
        """Over all samples that were added."""
        if self.problem:
            return Comparison(name, np.inf, np.inf, self.problem)
        l2 = float(np.sqrt(_ratio(self.square_difference, self.square)))
        return Comparison(name, _ratio(self.difference, self.scale), l2, rounding=rounding)


def rounding(dtype: np.dtype[Any]) -> float:
    """The relative error that an output of this dtype cannot avoid; 0 from float32 on."""
    mantissa = {"float16": 10, "bfloat16": 7}.get(dtype.name)
    return 0.0 if mantissa is None else HALF_ULPS * 2.0**-mantissa


def _ratio(part: float, whole: float) -> float:
    return 0.0 if part == 0 else part / whole if whole else np.inf
