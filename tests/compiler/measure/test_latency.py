"""Interleaved measurement finds who is faster, and its interval means what it says."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from optc.compiler.measure import latency


class Clock:
    """A clock that moves only when a program runs or somebody sleeps: measurements become exact."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.log: list[str] = []
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(time, "sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.log.append("sleep")

    def program(self, name: str, seconds: Callable[[float], float]) -> Callable[[], None]:
        def run() -> None:
            self.now += seconds(self.now)
            self.log.append(name)

        return run


def test_medians_and_speed_are_exact_on_a_quiet_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    measured = latency.interleaved(
        {"ours": clock.program("a", lambda _: 0.010), "peer": clock.program("b", lambda _: 0.025)}, seconds=6
    )
    assert measured.latencies["ours"].median_ms == pytest.approx(10)
    assert measured.latencies["peer"].p90_ms == pytest.approx(25)
    speed = measured.speed("ours", against="peer")
    assert (speed.value, speed.low, speed.high) == pytest.approx((2.5, 2.5, 2.5))
    assert measured.speed("peer", against="ours").value == pytest.approx(0.4)


def test_blocks_alternate_and_each_follows_a_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    latency.interleaved({"a": clock.program("a", lambda _: 0.1), "b": clock.program("b", lambda _: 0.1)}, seconds=6)
    blocks = "".join(entry for before, entry in zip(clock.log, clock.log[1:], strict=False) if before == "sleep")
    assert blocks == "abba" * 3


def test_a_machine_that_slows_down_favours_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    drift: Callable[[float], float] = lambda now: 0.01 * (1 + now / 10)  # noqa: E731
    measured = latency.interleaved({"a": clock.program("a", drift), "b": clock.program("b", drift)}, seconds=6)
    speed = measured.speed("a", against="b")
    assert speed.low < 1 < speed.high
    assert speed.value == pytest.approx(1, rel=0.05)


def test_one_disturbed_block_moves_neither_median_nor_interval() -> None:
    quiet = latency.median_interval([1.0, 1.01, 1.02, 1.03, 1.04, 1.05, 1.06, 1.07, 1.08])
    disturbed = latency.median_interval([1.0, 1.01, 1.02, 1.03, 1.04, 1.05, 1.06, 1.07, 50.0])
    assert quiet == disturbed


def test_the_interval_holds_the_median_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    intervals = [latency.median_interval(list(rng.lognormal(0, 0.5, 12))) for _ in range(2000)]
    held = np.mean([interval.low <= 1 <= interval.high for interval in intervals])
    assert intervals[0].confidence >= 0.95
    assert held == pytest.approx(intervals[0].confidence, abs=0.015)


def test_too_few_values_say_how_little_they_know() -> None:
    assert latency.median_interval([1.0, 2.0, 3.0]).confidence == pytest.approx(0.75)
    assert latency.median_interval([1.0]).confidence == 0


def test_a_call_longer_than_a_block_is_measured_once_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    measured = latency.interleaved({"slow": clock.program("s", lambda _: 5.0)}, seconds=1, warmup=0)
    assert measured.latencies["slow"].calls == latency.MIN_ROUNDS


def test_nothing_to_measure_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one program"):
        latency.interleaved({})
    with pytest.raises(ValueError, match="no value"):
        latency.median_interval([])


def noisy(clock: Clock, rng: np.random.Generator, spread: float) -> Callable[[], None]:
    return clock.program("", lambda _: 0.3 * float(np.exp(spread * rng.standard_normal())))


@pytest.mark.parametrize(("spread", "rounds"), [(0.001, 6), (0.05, 18)])
def test_noise_is_answered_with_more_rounds_and_named_where_they_were_not_enough(
    monkeypatch: pytest.MonkeyPatch, spread: float, rounds: int
) -> None:
    clock, rng = Clock(monkeypatch), np.random.default_rng(0)
    programs = {"a": noisy(clock, rng, spread), "b": noisy(clock, rng, spread)}
    measured = latency.interleaved(programs, seconds=6, warmup=0)
    assert measured.rounds == rounds
    assert measured.noisy == (spread > 0.01)


def test_the_interval_holds_the_truth_as_often_when_rounds_were_added(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, rng = Clock(monkeypatch), np.random.default_rng(0)
    held = added = 0
    for _ in range(1000):
        programs = {"a": noisy(clock, rng, 0.03), "b": noisy(clock, rng, 0.03)}
        measured = latency.interleaved(programs, seconds=6, warmup=0)
        speed = measured.speed("a", against="b")
        held, added = held + (speed.low <= 1 <= speed.high), added + (measured.rounds > 6)
    assert added > 500
    assert held >= 940  # 950, less two standard errors of 1,000 repeats
