"""Latency of several programs side by side: alternating blocks, medians, paired ratios with a confidence interval.

Engines keep spinning threads that disturb whatever runs next, so programs are never measured call by call: each runs in blocks of
about half a second, after a short sleep (the peer's threads go to rest) and a warm-up. A block gives one median. The ratio of two
programs is taken between neighbouring blocks, which share the machine's mood, and the interval is that of the median of these
ratios from their order statistics: it assumes no distribution, and one disturbed block cannot move it.

Noise is answered with more rounds, in two stages (C. Stein, Ann. Math. Stat. 16 (1945) 243): how wide the intervals of the
planned rounds are, and never where they lie, says how many rounds are added, once. Asked again and again, the intervals that are
narrow by chance would be picked, and would hold the truth too seldom.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import numpy.typing as npt

MIN_ROUNDS = 6  # with fewer, no interval of order statistics reaches 95 %
WIDTH = 0.05
"""How wide an interval of a speed may be, as a share of the speed, before rounds are added."""

Block = Callable[[float, int], npt.NDArray[np.float64]]
"""Runs a program for some seconds after some calls that are not counted: the times of single calls, in milliseconds."""


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
    """Latencies by name, and each program's block medians and the times of single calls in milliseconds, round by round.

    `noisy`: an interval against the first program is still wider than was asked for after all rounds that were allowed.
    """

    latencies: Mapping[str, Latency]
    blocks: Mapping[str, tuple[float, ...]]
    times: Mapping[str, Sequence[npt.NDArray[np.float64]]]
    noisy: bool = False

    @property
    def rounds(self) -> int:
        """How many blocks each program ran."""
        return len(next(iter(self.blocks.values())))

    def quantile(self, name: str, share: float, confidence: float = 0.95) -> Ratio:
        """A quantile of one call in milliseconds: the median over blocks of each block's own, with its interval."""
        return median_interval([float(np.quantile(part, share)) for part in self.times[name]], confidence)

    def speed(self, name: str, against: str, confidence: float = 0.95) -> Ratio:
        """How many times as fast `name` is as `against`: above 1, `name` is faster."""
        return median_interval(
            [theirs / ours for ours, theirs in zip(self.blocks[name], self.blocks[against], strict=True)], confidence
        )


def interleaved(
    programs: Mapping[str, Callable[[], object]],
    seconds: float = 6.0,
    block: float = 0.5,
    settle: float = 0.1,
    warmup: int = 3,
    width: float = WIDTH,
    most: int = 3,
) -> SideBySide:
    """`alternating` for programs of this process."""
    return alternating(
        {name: partial(timed, call) for name, call in programs.items()}, seconds, block, settle, warmup, width, most
    )


def alternating(
    programs: Mapping[str, Block],
    seconds: float = 6.0,
    block: float = 0.5,
    settle: float = 0.1,
    warmup: int = 3,
    width: float = WIDTH,
    most: int = 3,
) -> SideBySide:
    """Run the programs in alternating blocks for about `seconds` in all (pauses and warm-up come on top).

    The order turns round each round (a b, b a, a b, ...), so a machine that slows down steadily favours nobody. There are at
    least MIN_ROUNDS rounds: few seconds mean shorter blocks. Where an interval of a speed against the first program is wider than
    `width` (a share of the speed), as many rounds are added as should make it narrow enough, up to `most` times those planned in
    all. Raises ValueError if nothing is to be measured.
    """
    if not programs or seconds <= 0 or block <= 0 or most < 1:
        raise ValueError("a measurement needs at least one program and positive times")
    rounds = max(MIN_ROUNDS, round(seconds / (block * len(programs))))
    budget = min(block, seconds / (rounds * len(programs)))
    samples: dict[str, list[npt.NDArray[np.float64]]] = {name: [] for name in programs}
    order = list(programs)

    def run(more: int) -> float:
        for _ in range(more):
            for name in order:
                time.sleep(settle)
                samples[name].append(programs[name](budget, warmup))
            order.reverse()
        return widest({name: [float(np.median(part)) for part in parts] for name, parts in samples.items()})

    found = run(rounds)
    if found > width and most > 1:
        found = run(rounds * min(most - 1, math.ceil((found / width) ** 2) - 1))
    blocks = {name: tuple(float(np.median(part)) for part in parts) for name, parts in samples.items()}
    latencies = {name: _summary(np.concatenate(parts)) for name, parts in samples.items()}
    return SideBySide(latencies, blocks, samples, found > width)


def widest(blocks: Mapping[str, Sequence[float]]) -> float:
    """The widest interval of a speed against the first program, as a share of that speed; of a program alone, of its medians."""
    first, *others = blocks.values()
    series = [[a / b for a, b in zip(first, other, strict=True)] for other in others] or [list(first)]
    return max((found.high - found.low) / found.value for found in map(median_interval, series))


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


def timed(call: Callable[[], object], budget: float, warmup: int = 0) -> npt.NDArray[np.float64]:
    """Times of single calls in milliseconds, for `budget` seconds and at least one call, after `warmup` calls."""
    for _ in range(warmup):
        call()
    marks = [time.perf_counter()]
    while len(marks) < 2 or marks[-1] - marks[0] < budget:
        call()
        marks.append(time.perf_counter())
    return np.array([1000 * (after - before) for before, after in pairwise(marks)])


def _summary(times: npt.NDArray[np.float64]) -> Latency:
    return Latency(float(np.median(times)), float(np.quantile(times, 0.9)), float(np.quantile(times, 0.99)), times.size)
