"""Latency of several programs side by side: alternating blocks, medians, paired ratios with a confidence interval.

Engines keep spinning threads that disturb whatever runs next, so programs are never measured call by call: each runs in blocks of
about half a second, after a short sleep (the peer's threads go to rest) and a warm-up. A block gives one median. The ratio of two
programs is taken between neighbouring blocks, which share the machine's mood, and the interval is that of the median of these
ratios from their order statistics: it assumes no distribution, and one disturbed block cannot move it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

MIN_ROUNDS = 6  # with fewer, no interval of order statistics reaches 95 %


@dataclass(frozen=True)
class Latency:
    """Time of one call, in milliseconds, over all measured calls."""

    median_ms: float
    p90_ms: float
    p99_ms: float
    calls: int


@dataclass(frozen=True)
class Ratio:
    """A paired ratio and the interval that holds its median with `confidence`."""

    value: float
    low: float
    high: float
    confidence: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True)
class SideBySide:
    """Latencies by name, and each program's block medians and the times of single calls in milliseconds, round by round."""

    latencies: Mapping[str, Latency]
    blocks: Mapping[str, tuple[float, ...]]
    times: Mapping[str, Sequence[npt.NDArray[np.float64]]]

    def quantile(self, name: str, share: float, confidence: float = 0.95) -> Ratio:
        """A quantile of one call in milliseconds: the median over blocks of each block's own, with its interval."""
        return median_interval([float(np.quantile(part, share)) for part in self.times[name]], confidence)

    def speed(self, name: str, against: str, confidence: float = 0.95) -> Ratio:
        """How many times as fast `name` is as `against`: above 1, `name` is faster."""
        return median_interval(
            [theirs / ours for ours, theirs in zip(self.blocks[name], self.blocks[against], strict=True)], confidence
        )


def interleaved(
    programs: Mapping[str, Callable[[], object]], seconds: float = 6.0, block: float = 0.5, settle: float = 0.1, warmup: int = 3
) -> SideBySide:
    """Run the programs in alternating blocks for about `seconds` in all (pauses and warm-up come on top).

    The order turns round each round (a b, b a, a b, ...), so a machine that slows down steadily favours nobody. There are at
    least MIN_ROUNDS rounds: few seconds mean shorter blocks. Raises ValueError if nothing is to be measured.
    """
    if not programs or seconds <= 0 or block <= 0:
        raise ValueError("interleaved needs at least one program and positive times")
    rounds = max(MIN_ROUNDS, round(seconds / (block * len(programs))))
    budget = min(block, seconds / (rounds * len(programs)))
    samples: dict[str, list[npt.NDArray[np.float64]]] = {name: [] for name in programs}
    order = list(programs)
    for _ in range(rounds):
        for name in order:
            time.sleep(settle)
            samples[name].append(_block(programs[name], budget, warmup))
        order.reverse()
    blocks = {name: tuple(float(np.median(part)) for part in parts) for name, parts in samples.items()}
    return SideBySide({name: _summary(np.concatenate(parts)) for name, parts in samples.items()}, blocks, samples)


def median_interval(values: list[float], confidence: float = 0.95) -> Ratio:
    """The median and the narrowest symmetric pair of order statistics that holds it with `confidence`.

    With too few values for `confidence` the whole range is returned, with the confidence it has. Raises ValueError on no value.
    """
    if not values:
        raise ValueError("no value to take a median of")
    ordered = sorted(values)
    count = len(ordered)
    # P(fewer than k of `count` values lie below the median) is the binomial tail; both tails stay outside the interval.
    tails = [sum(math.comb(count, i) for i in range(k)) / 2**count for k in range(1, count // 2 + 1)] or [0.5]
    wide_enough = [k for k, tail in enumerate(tails, 1) if 1 - 2 * tail >= confidence]
    k = wide_enough[-1] if wide_enough else 1
    return Ratio(float(np.median(ordered)), ordered[k - 1], ordered[count - k], 1 - 2 * tails[k - 1])


def _block(call: Callable[[], object], budget: float, warmup: int) -> npt.NDArray[np.float64]:
    """Times of single calls in milliseconds, for `budget` seconds and at least one call."""
    for _ in range(warmup):
        call()
    marks = [time.perf_counter()]
    while len(marks) < 2 or marks[-1] - marks[0] < budget:
        call()
        marks.append(time.perf_counter())
    return np.array([1000 * (after - before) for before, after in pairwise(marks)])


def _summary(times: npt.NDArray[np.float64]) -> Latency:
    return Latency(float(np.median(times)), float(np.quantile(times, 0.9)), float(np.quantile(times, 0.99)), times.size)
