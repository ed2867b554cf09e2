"""The simulations of decisions: what they promise holds, with few repeats, and a rule that is wrong would be seen."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.decisions import CASES, Case, decisions, main
from benchmarks.intervals import MODELS, Model, coverage
from optc.compiler.measure import evaluate, statistics
from optc.compiler.numerics import Array

REPEATS = 100
SLACK = 4.5  # in 100 repeats: three deviations of a share of 2.5 %


@pytest.mark.parametrize("case", [c for c in CASES if c.kept or c.not_kept], ids=lambda c: f"{c.name} {c.budget:g}")
def test_cases_are_judged_the_right_way(case: Case) -> None:
    found = decisions(case, REPEATS, seed=1)
    assert found["keep"] >= case.kept - SLACK
    assert REPEATS - found["keep"] >= case.not_kept - SLACK
    assert found.total() == REPEATS and set(found) <= {"keep", "undecided", "reject"}


def test_a_drop_of_0_3_points_is_never_kept_within_0_1_points() -> None:
    case = CASES[0]
    assert (case.samples, case.drop, case.budget, case.changed) == (10_000, 0.3, 0.1, 1.0)
    found = decisions(case, 200, seed=0)
    assert found["keep"] == 0 and found["reject"] >= 90
    assert found == decisions(case, 200, seed=0)  # the seed is all that chance knows


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.name} {c.budget:g}")
def test_samples_have_the_drop_that_is_planted(case: Case) -> None:
    many = Case(case.name, case.drop, case.budget, 1_000_000, case.changed, case.slices)
    source, result, parts = many.records(np.random.default_rng(0))
    rows = parts.get("0", np.arange(len(source)))
    assert 100 * np.mean(source[rows] - result[rows]) == pytest.approx(case.drop, abs=0.2 if parts else 0.04)
    assert 100 * np.mean(source != result) == pytest.approx(case.changed, abs=0.1)
    assert len(parts) == (case.slices if case.slices > 1 else 0)


def test_judging_by_the_estimate_alone_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def hasty(harm: statistics.Interval, budget: float) -> statistics.Decision:
        return "keep" if harm.value <= budget else "reject"

    case = next(c for c in CASES if c.name == "drop is the budget")
    monkeypatch.setattr(evaluate.statistics, "decide", hasty)
    assert decisions(case, 40, seed=0)["keep"] > 10


@pytest.mark.parametrize("model", [m for m in MODELS if m.metric == "relative-l2"], ids=lambda m: f"{m.name} {m.samples}")
def test_the_truth_of_a_model_is_what_many_samples_show(model: Model) -> None:
    _, errors = model.draw(np.random.default_rng(0), 1_000_000)
    assert errors.mean() == pytest.approx(model.truth, rel=0.02)


@pytest.mark.parametrize("name", ["wer", "auc", "pearson"])
def test_the_truth_of_a_metric_of_all_records_is_what_many_samples_show(name: str) -> None:
    model = next(m for m in MODELS if m.metric == name)
    before, after = model.draw(np.random.default_rng(0), 1_000_000)
    metric = evaluate.find(name)
    assert metric.of(after) - metric.of(before) == pytest.approx(model.truth, abs=3e-4)


def test_intervals_hold_the_truth_and_those_that_are_too_narrow_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    model = next(m for m in MODELS if m.metric == "relative-l2" and m.samples == 500)
    assert coverage(model, REPEATS, seed=0).holds >= 0.9

    def narrow(source: Array, result: Array, *_: object) -> statistics.Interval:
        found = statistics.bootstrap(source, result)
        third = (found.high - found.low) / 6
        return statistics.Interval(found.value, found.value - third, found.value + third, 0.95, "a third of it")

    class Narrow:
        bootstrap = staticmethod(narrow)

    monkeypatch.setattr(evaluate, "statistics", Narrow)
    assert coverage(model, REPEATS, seed=0).holds < 0.8


def test_both_tables_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    main(repeats=2, seed=0, only="drop is")
    printed = capsys.readouterr().out
    assert "drop is the budget" in printed and "97.5 % not kept" in printed and "hold it" not in printed
    main(repeats=2, seed=0, only="auc")
    printed = capsys.readouterr().out
    assert "bootstrap" in printed and "not kept" not in printed
