"""Intervals hold the truth as often as they say, and decisions on budgets are right, in simulations with known truth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from optc.compiler.measure import statistics
from optc.compiler.measure.statistics import Interval, decide, paired_proportions, samples_needed

Z2 = 1.959963984540054**2


def simulated(n: int, gained: float, lost: float, repeats: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of the harm (source - result) in simulated evaluations in which these shares of samples change sides."""
    counts = np.random.default_rng(seed).multinomial(n, [gained, lost, 1 - gained - lost], repeats)
    bounds = -paired_proportions(counts[:, 0], counts[:, 1], n)
    return bounds[:, 1], bounds[:, 0]


def test_tangos_interval_of_a_published_table() -> None:
    # airway hyper-responsiveness (Bentur et al., 2009) as in M. Fagerland et al., Statistics in Medicine 33 (2014) 2850-2875
    assert paired_proportions(1, 7, 21) == pytest.approx([-0.517, -0.026], abs=5e-4)


@pytest.mark.parametrize(("gained", "lost", "n"), [(1, 7, 21), (40, 20, 160), (0, 3, 50)])
def test_the_score_at_both_bounds_is_the_normal_quantile(gained: int, lost: int, n: int) -> None:
    """With the likelihood's maximum under the bound searched on a grid, where the code has it in closed form."""
    for bound in paired_proportions(gained, lost, n):
        q = np.linspace(max(0.0, -bound), (1 - bound) / 2, 1_000_001)[1:-1]  # what only the source has right
        likelihood = gained * np.log(q + bound) + lost * np.log(q) + (n - gained - lost) * np.log(1 - 2 * q - bound)
        best = q[likelihood.argmax()]
        score = (gained - lost - n * bound) / math.sqrt(n * (2 * best + bound - bound**2))
        assert score**2 == pytest.approx(Z2, rel=1e-4)


def test_without_discordance_the_interval_has_a_closed_form() -> None:
    for n in (1, 20, 10_000):
        assert paired_proportions(0, 0, n) == pytest.approx([-Z2 / (n + Z2), Z2 / (n + Z2)], rel=1e-9)


def test_exchanging_source_and_result_mirrors_the_interval() -> None:
    assert paired_proportions(3, 9, 50) == pytest.approx(-paired_proportions(9, 3, 50)[::-1])


@pytest.mark.parametrize(("n", "gained", "lost"), [(1000, 0.005, 0.005), (10_000, 0.0035, 0.0065), (200, 0.1, 0.05)])
def test_the_interval_holds_the_truth_in_95_of_100(n: int, gained: float, lost: float) -> None:
    low, high = simulated(n, gained, lost, 20_000)
    assert 0.935 <= np.mean((low <= lost - gained) & (lost - gained <= high)) <= 0.97


def test_a_drop_of_0_3_points_never_passes_a_budget_of_0_1_points() -> None:
    """n = 10,000 and 1 % discordance. A gate keeps only what is surely within the budget, so not keeping is the right way."""
    low, high = simulated(10_000, 0.0035, 0.0065, 1000)
    decisions = [decide(Interval(0.0, a, b, 0.95, ""), 0.001) for a, b in zip(low, high, strict=True)]
    assert decisions.count("keep") == 0 and 1000 - decisions.count("keep") >= 950
    assert decisions.count("reject") >= 450  # the others are said to be undecided: so much is in 10,000 samples, and no more


def test_no_drop_passes_a_budget_of_0_5_points() -> None:
    low, high = simulated(10_000, 0.005, 0.005, 1000)
    decisions = [decide(Interval(0.0, a, b, 0.95, ""), 0.005) for a, b in zip(low, high, strict=True)]
    assert decisions.count("keep") >= 950


def test_a_drop_beyond_the_budget_is_kept_in_at_most_25_of_1000() -> None:
    _, high = simulated(10_000, 0.004, 0.006, 20_000)  # a drop of 0.2 points
    assert np.mean(high <= 0.00199) <= 0.03


@pytest.mark.parametrize(("budget", "gained", "lost"), [(0.001, 0.0035, 0.0065), (0.005, 0.005, 0.005), (0.001, 0.01, 0.01)])
def test_the_number_of_samples_that_is_named_would_do(budget: float, gained: float, lost: float) -> None:
    n = samples_needed(budget, gained + lost, lost - gained)
    assert n is not None
    low, high = simulated(n, gained, lost, 2000)
    settled = np.mean((high <= budget) | (low > budget))
    assert settled >= 0.7
    low, high = simulated(n // 3, gained, lost, 2000)
    assert np.mean((high <= budget) | (low > budget)) < settled - 0.2  # and far fewer would not


def test_how_many_samples_it_takes_without_any_discordance() -> None:
    n = samples_needed(0.001, 0.0)
    assert n is not None and Z2 / (n + Z2) <= 0.001 < Z2 / (n - 1 + Z2)
    assert samples_needed(0.001, 0.01, drop=0.001) is None  # the drop is the budget


@pytest.mark.parametrize(
    ("low", "high", "decision"),
    [(0.0, 0.1, "keep"), (0.0, 0.11, "undecided"), (0.11, 0.2, "reject"), (-math.inf, math.inf, "undecided")],
)
def test_decisions_are_made_on_the_bounds(low: float, high: float, decision: str) -> None:
    assert decide(Interval(0.05, low, high, 0.95, ""), 0.1) == decision


def test_what_is_no_number_is_rejected() -> None:
    samples = np.ones((30, 1))
    for broken in (math.nan, math.inf):
        assert decide(statistics.bootstrap(samples, samples * broken), 1.0) == "reject"


def test_the_bootstrap_of_a_mean_holds_the_truth() -> None:
    rng, held = np.random.default_rng(0), 0
    for seed in range(200):
        source = rng.exponential(1.0, (200, 1))
        found = statistics.bootstrap(source, source + rng.normal(0.1, 0.5, (200, 1)), seed=seed)
        held += found.low <= 0.1 <= found.high
    assert held >= 180


def test_the_bootstrap_of_a_mean_that_few_samples_make_is_not_too_sure() -> None:
    """Percentiles alone miss the truth on the side that matters in 10 of 100 such evaluations."""
    rng, missed = np.random.default_rng(0), 0
    for _ in range(200):
        errors = rng.lognormal(0, 1, (50, 1))
        missed += statistics.bootstrap(np.zeros((50, 1)), errors).high < math.exp(0.5)
    assert missed <= 16
    for changed in (1, 2, 3):  # so few are in a draw now and then
        errors = np.where(np.arange(1000) < changed, 1.0, 0.0)[:, None]
        assert statistics.bootstrap(np.zeros((1000, 1)), errors).high >= 2 * changed / 1000


def test_the_bootstrap_pairs_samples_and_repeats_itself() -> None:
    source = np.random.default_rng(0).normal(0, 100, (500, 1))
    found = statistics.bootstrap(source, source + 1)
    assert (found.low, found.high) == (pytest.approx(1), pytest.approx(1))  # the spread of the samples cancels
    assert found == statistics.bootstrap(source, source + 1)


def test_a_value_of_all_records_is_resampled_whole() -> None:
    rng = np.random.default_rng(0)
    source = rng.normal(1, 1, (300, 2))
    ratio = statistics.bootstrap(source, source * [1.1, 1.0], lambda r: r[:, 0].sum() / r[:, 1].sum())
    exact = 0.1 * source[:, 0].sum() / source[:, 1].sum()
    assert ratio.value == pytest.approx(exact) and ratio.low < exact < ratio.high


def test_few_or_unchanged_samples_claim_no_certainty() -> None:
    few = statistics.bootstrap(np.ones((5, 1)), np.ones((5, 1)))
    assert decide(few, 1.0) == "undecided"
    unchanged = statistics.bootstrap(np.ones((100, 1)), np.ones((100, 1)), reach=1.0)
    assert unchanged.high == pytest.approx(Z2 / (100 + Z2))
