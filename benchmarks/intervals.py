"""How often the 95 % interval of a metric's difference holds the truth, where samples are drawn from a law that is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from optc.compiler.measure.evaluate import find, judge
from optc.compiler.numerics import Array

Draw = Callable[[np.random.Generator, int], tuple[Array, Array]]


@dataclass(frozen=True)
class Model:
    """`draw` gives the records of both models for so many samples, `truth` is the difference that endless samples would show."""

    name: str
    metric: str
    samples: int
    truth: float
    draw: Draw


@dataclass(frozen=True)
class Coverage:
    """Shares of intervals: those that hold the truth, those beyond which it is worse than they say, or better."""

    holds: float
    worse: float
    better: float
    method: str


def coverage(model: Model, repeats: int, seed: int) -> Coverage:
    """Of `repeats` simulated evaluations; each model has its own stream of the seed."""
    rng, metric = np.random.default_rng([seed, MODELS.index(model)]), find(model.metric)
    found = [judge(metric, *model.draw(rng, model.samples), None, {}).difference for _ in range(repeats)]
    above, below = (
        sum(outside) / repeats for outside in zip(*((i.high < model.truth, i.low > model.truth) for i in found), strict=True)
    )
    worse, better = (above, below) if metric.better == "lower" else (below, above)
    return Coverage(1 - above - below, worse, better, found[0].method)


def heavy(sigma: float, changed: float = 1.0) -> tuple[float, Draw]:
    """Relative errors of a result, log-normal on a share of the samples and 0 on the others, as after a pass that few notice."""

    def draw(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
        errors = 0.01 * rng.lognormal(0, sigma, n) * (rng.random(n) < changed)
        return np.zeros((n, 1)), errors[:, None]

    return 0.01 * changed * math.exp(sigma**2 / 2), draw


def words(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
    """Edits and lengths of sentences of 12 words, 10 % of them wrong in the source and 11 % in the result."""
    length = 1 + rng.poisson(11, n)
    wrong = rng.binomial(length, 0.1)
    more = wrong + rng.binomial(length - wrong, 1 / 90)  # 1 % of all
    return np.stack([wrong, length], 1).astype(np.float64), np.stack([more, length], 1).astype(np.float64)


def two_classes(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
    """Labels, a fifth of them 1, and scores, normal, whose means differ by 2 deviations in the source; the result adds noise."""
    labels = (rng.random(n) < 0.2).astype(np.float64)
    scores = rng.normal(2 * labels, 1)
    return np.stack([labels, scores], 1), np.stack([labels, scores + rng.normal(0, NOISE, n)], 1)


def numbers(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
    """Numbers that the source meets with a correlation of 0.8; the result adds noise."""
    labels = rng.normal(0, 1, n)
    found = 0.8 * labels + rng.normal(0, 0.6, n)
    return np.stack([found, labels], 1), np.stack([found + rng.normal(0, NOISE, n), labels], 1)


NOISE = 0.2
_AREAS = [NormalDist().cdf(2 / math.sqrt(2 + 2 * noise**2)) for noise in (0.0, NOISE)]
MODELS = (
    *(
        Model(f"relative-l2, log-normal {sigma:g}", "relative-l2", n, *heavy(sigma))
        for sigma, n in ((1, 50), (1, 500), (1.5, 500))
    ),
    *(Model("relative-l2, 1 of 10 changed", "relative-l2", n, *heavy(0.5, 0.1)) for n in (50, 500)),
    Model("wer", "wer", 500, 0.01, words),
    Model("auc", "auc", 500, _AREAS[1] - _AREAS[0], two_classes),
    Model("pearson", "pearson", 500, 0.8 / math.sqrt(1 + NOISE**2) - 0.8, numbers),
)
