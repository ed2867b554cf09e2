"""The 95 % interval of one model's metric. (The interval of a difference of two models is paired: optc's own.)"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from optc.compiler.measure.metrics.metric import Metric
from optc.compiler.measure.statistics import CONFIDENCE, LEAST_SAMPLES, RESAMPLES, Interval
from optc.compiler.numerics import Array


def interval(metric: Metric, records: Array, seed: int = 0) -> Interval:
    """Of records [samples, numbers]: Wilson's where they are 0 or 1, else the percentile bootstrap over samples."""
    if metric.binary:
        return wilson(int(records.sum()), len(records))
    value, rng = metric.of(records), np.random.default_rng(seed)
    if math.isnan(value):
        return Interval(value, math.nan, math.nan, CONFIDENCE, "no number")
    if len(records) < LEAST_SAMPLES:
        return Interval(value, -math.inf, math.inf, CONFIDENCE, "too few samples")
    draws = [metric.of(records[rng.integers(0, len(records), len(records))]) for _ in range(RESAMPLES)]
    low, high = np.nanquantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(value, float(low), float(high), CONFIDENCE, "bootstrap")


def wilson(right: int, samples: int) -> Interval:
    """The score interval of a share (E. Wilson, JASA 22 (1927) 209-212)."""
    z2, share = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2) ** 2, right / samples
    centre = (share + z2 / (2 * samples)) / (1 + z2 / samples)
    reach = math.sqrt(z2 * (share * (1 - share) / samples + z2 / (4 * samples**2))) / (1 + z2 / samples)
    return Interval(share, max(0.0, centre - reach), min(1.0, centre + reach), CONFIDENCE, "Wilson score")
