"""What can be said of a difference from samples: paired intervals, the decision on a budget, and how many samples it takes.

Source and candidate see the same samples, so what is estimated is the difference sample by sample: where both are right or both
wrong, a sample says nothing and costs no certainty. The interval of a difference of proportions is Tango's score interval
(T. Tango, Statistics in Medicine 17 (1998) 891-908), which keeps its coverage near 0, where asymptotic McNemar intervals do not;
that of a mean is the wider of the bootstrap-t and the percentile bootstrap over samples, that of any other metric the latter
(B. Efron, R. Tibshirani, An Introduction to the Bootstrap, 1993, chapters 12 and 13), with resamples drawn from a seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from optc.compiler.numerics import Array

Decision = Literal["keep", "reject", "undecided"]

CONFIDENCE = 0.95
POWER = 0.8
"""How often the number of samples that `samples_needed` names is to be enough."""

LEAST_SAMPLES = 20
"""With fewer, resampling them says nothing about those that were not seen."""

RESAMPLES = 1000
_CHUNK = 4_000_000  # sample indices drawn at once
_HALVINGS = 50  # of [-1, 1]: below the resolution of what is printed, and of any count below 1e14


@dataclass(frozen=True)
class Interval:
    """An estimate, and the interval that holds the truth with `confidence`; `method` says how it came about."""

    value: float
    low: float
    high: float
    confidence: float
    method: str

    def __neg__(self) -> Interval:
        return Interval(0.0 - self.value, 0.0 - self.high, 0.0 - self.low, self.confidence, self.method)


def decide(harm: Interval, budget: float) -> Decision:
    """Whether harm is within its budget, judged on the interval's bound: `keep` where even the upper bound is, `reject` where
    not even the lower one is, `undecided` between. What is no number is rejected."""
    if math.isnan(harm.value) or math.isnan(harm.high) or harm.low > budget:
        return "reject"
    return "keep" if harm.high <= budget else "undecided"


def samples_needed(budget: float, discordance: float, drop: float = 0.0, confidence: float = CONFIDENCE) -> int | None:
    """About how many samples settle whether a true drop of `drop` is within `budget`, with probability POWER.

    `discordance` is the mean square of the difference of two paired samples: for values 0 and 1 the share of samples on which
    source and candidate are not both right or both wrong. None where the drop is the budget itself: no number settles that.
    """
    if drop == budget:
        return None
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    distance = abs(budget - drop)
    spread = max(discordance - drop**2, 0.0)
    settled = (z + NormalDist().inv_cdf(POWER)) ** 2 * spread / distance**2
    certain = z**2 * (1 - distance) / distance if distance < 1 else 0.0  # Tango's bound where no sample is discordant
    return max(LEAST_SAMPLES, math.ceil(settled), math.ceil(certain))


def paired_proportions(gained: ArrayLike, lost: ArrayLike, samples: int, confidence: float = CONFIDENCE) -> NDArray[np.float64]:
    """Tango's score interval of the difference of two paired proportions; [..., 2] for counts of any shape.

    `gained` counts samples that only the candidate has right, `lost` those that only the source has: the bounds are those
    differences d at which |gained - lost - n d| / sqrt(n (2 q + d (1 - d))) is the normal quantile, with q the maximum
    likelihood of the lost share under d.
    """
    b, c = np.broadcast_arrays(np.asarray(gained, np.float64), np.asarray(lost, np.float64))
    z, estimate = NormalDist().inv_cdf(0.5 + confidence / 2), (b - c) / samples
    bounds = []
    for sign in (-1.0, 1.0):  # the score falls from above +z to below -z as d rises
        low, high = (np.full_like(estimate, -1.0), estimate) if sign < 0 else (estimate, np.full_like(estimate, 1.0))
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            above = _score(b, c, samples, middle) > -sign * z
            low, high = np.where(above, middle, low), np.where(above, high, middle)
        bounds.append(low if sign < 0 else high)
    return np.stack(bounds, -1)


def _score(b: NDArray[np.float64], c: NDArray[np.float64], n: int, d: NDArray[np.float64]) -> NDArray[np.float64]:
    half = (2 * n - b + c) * d - b - c
    q = (np.sqrt(np.maximum(half**2 + 8 * n * c * d * (1 - d), 0)) - half) / (4 * n)
    variance = n * (2 * q + d * (1 - d))
    numerator = b - c - n * d
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(variance > 0, numerator / np.sqrt(np.maximum(variance, 0)), np.sign(numerator) * np.inf)


def binary(source: Array, result: Array, confidence: float = CONFIDENCE) -> Interval:
    """result - source of paired values 0 and 1, with Tango's interval."""
    gained, lost = int(np.sum(result > source)), int(np.sum(result < source))
    low, high = paired_proportions(gained, lost, len(source), confidence)
    return Interval((gained - lost) / len(source), float(low), float(high), confidence, "Tango score")


def bootstrap(
    source: Array,
    result: Array,
    value: Callable[[Array], Any] | None = None,
    reach: float = 0.0,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Interval:
    """value(result) - value(source), with an interval from RESAMPLES draws of whole samples (rows of both arrays).

    `value` is the mean of single numbers unless it is given. With fewer than LEAST_SAMPLES rows the interval has no bounds.
    Resampling knows nothing of kinds of samples that were not drawn: where a share s of changed samples moves the value by up to
    `reach` s, the interval has at least the width that Tango's has without any change.
    """
    n, method = len(source), "bootstrap-t" if value is None else "bootstrap"
    if value is None:
        with np.errstate(invalid="ignore"):
            paired = np.where(source == result, 0.0, result - source).reshape(n)  # equal infinities differ by nothing
        estimate = float(paired.mean())
    else:
        estimate = _difference(value(result), value(source))
    if not math.isfinite(estimate):  # an error that one has and the other has not, in dB
        return Interval(estimate, estimate, estimate, confidence, "no number")
    if n < LEAST_SAMPLES:
        return Interval(estimate, -math.inf, math.inf, confidence, "too few samples")
    tail = (1 - confidence) / 2
    if value is None:
        low, high = _mean(paired, estimate, tail, seed)
    else:
        draws = [_difference(value(result[r]), value(source[r])) for rows in _rows(n, seed) for r in rows]
        low, high = np.nanquantile(draws, [tail, 1 - tail])  # a draw without any sample of a class has no area under the curve
    z2 = NormalDist().inv_cdf(0.5 + confidence / 2) ** 2
    least = reach * z2 / (n + z2)
    return Interval(estimate, float(min(low, estimate - least)), float(max(high, estimate + least)), confidence, method)


def _mean(values: Array, estimate: float, tail: float, seed: int) -> tuple[float, float]:
    """The wider bounds of two intervals. Where a few large values make most of a mean, percentiles are too narrow: what is alike
    there is the deviation of a draw's mean in units of that draw's own spread (bootstrap-t). Where almost all values are equal,
    some draws have no spread, which tells nothing, and percentiles are the wider ones."""
    means, spreads = [], []
    for rows in _rows(len(values), seed):
        drawn = values[rows]
        means.append(drawn.mean(1))
        spreads.append(drawn.std(1))
    mean, spread = np.concatenate(means), np.concatenate(spreads)
    bounds = [estimate, *np.quantile(mean, [tail, 1 - tail])]
    told = spread > 0
    if told.any():
        deviations = (mean[told] - estimate) / spread[told]
        bounds += [*(estimate - np.quantile(deviations, [tail, 1 - tail]) * values.std())]
    return float(min(bounds)), float(max(bounds))


def _rows(n: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """RESAMPLES draws of n of n rows, [draws, n] at a time."""
    rng, step = np.random.default_rng(seed), max(1, min(RESAMPLES, _CHUNK // n))
    for start in range(0, RESAMPLES, step):
        yield rng.integers(0, n, (min(step, RESAMPLES - start), n))


def _difference(a: Any, b: Any) -> float:
    """a - b; equal infinities differ by nothing."""
    return 0.0 if a == b else float(a) - float(b)
