"""The benchmark of the intervals: it counts what it says, and sees an interval that lies."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks import honesty
from benchmarks.honesty import FIRST, SECOND
from optc.compiler.diagnostics import ContractError, UserError
from optc.compiler.measure.latency import SideBySide, interleaved
from optc.compiler.measure.peers import Peer


class Machine:
    """A race of two programs whose times are planted: the second is `slower` times as slow, and both are noisy."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, slower: float, spread: float = 0.02) -> None:
        self.now, self.rng, self.spread, self.slower = 0.0, np.random.default_rng(0), spread, slower
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(time, "sleep", lambda _: None)

    def run(self, seconds: float) -> None:
        self.now += seconds * float(np.exp(self.spread * self.rng.standard_normal()))

    def race(self, *_: object) -> SideBySide:
        calls = {FIRST: lambda: self.run(0.01), SECOND: lambda: self.run(0.01 * self.slower)}
        return interleaved(calls, seconds=0.6)


def test_intervals_of_the_same_program_hold_1_as_often_as_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    found = honesty.repeated(Machine(monkeypatch, slower=1.0).race, 100)
    mean, deviation = found.expected
    assert 95 <= mean <= 100 and found.required == 90
    assert found.held >= mean - 3 * deviation
    assert str(found).startswith(f"held {found.held} / 100 (required 90, expected ")


def test_a_measurement_that_favours_one_is_seen(monkeypatch: pytest.MonkeyPatch, fashion_cnn: Path) -> None:
    monkeypatch.setattr(honesty, "twice", Machine(monkeypatch, slower=1.05).race)
    with pytest.raises(ContractError, match=r"of 20 intervals hold the truth, 18 are required"):
        honesty.main(repeats=20, model=str(fashion_cnn), engine="onnxruntime")


@pytest.mark.parametrize("apart", [False, True])
def test_a_program_is_raced_against_itself_while_a_core_burns(fashion_cnn: Path, apart: bool) -> None:
    feeds = {"x": np.zeros((1, 1, 28, 28), np.float32)}
    with honesty.bursts(seed=1):
        found = honesty.twice(Peer(fashion_cnn, "onnxruntime"), feeds, threads=1, seconds=0.1, apart=apart)
    assert list(found.latencies) == [FIRST, SECOND] and found.rounds >= 6


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(UserError, match="unknown engine 'onnxrt'"):
        honesty.main(engine="onnxrt")
