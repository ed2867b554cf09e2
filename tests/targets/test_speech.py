"""Silero VAD, six files of one network: none needs a fallback, and over a stream each is the model that was compiled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import optc
from benchmarks import coverage, zoo
from benchmarks.recipes import RECIPES
from optc.compiler.diagnostics import UserError

CASES = [case for case in coverage.CASES if case.name.startswith("silero_vad")]


def feeds(width: int, rate: int) -> dict[str, np.ndarray]:
    return {
        "input": np.zeros((1, width), np.float32),
        "state": np.zeros((2, 1, 128), np.float32),
        "sr": np.array(rate, np.int64),
    }


def test_there_are_six_and_one_is_run_at_both_rates() -> None:
    assert len(CASES) == 6
    assert [size["sr"] for size in CASES[0].sizes] == [16000, 8000]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_native_at_every_rate_over_a_stream(case: coverage.Case, tmp_path: Path) -> None:
    model, bundle = zoo.fetch(case.name), tmp_path / "b.optc"
    assert optc.compile(model, bundle, shapes=RECIPES[case.name].inputs, cache=False).fallback is None
    assert coverage.error(case, model, optc.load(bundle, threads=1)) < 1e-4


def test_a_frame_that_the_model_does_not_take_fails_there_and_harms_no_other(tmp_path: Path) -> None:
    """More samples than one step of the encoder give a tensor of another rank, which its LSTM does not take."""
    made = optc.compile(zoo.fetch("silero_vad"), tmp_path / "b.optc", shapes=RECIPES["silero_vad"].inputs, cache=False)
    assert made.notes == () and made.fallback is None
    program = optc.load(tmp_path / "b.optc", threads=1)
    for width, rate in ((576, 8000), (1088, 16000)):
        with pytest.raises(UserError, match="does not take inputs of these sizes"):
            program.run(feeds(width, rate))
    for width, rate in ((288, 8000), (576, 16000)):
        assert program.run(feeds(width, rate))["output"].shape == (1, 1)


def test_a_rate_that_fixed_sizes_exclude_is_no_fallback(tmp_path: Path) -> None:
    shapes = {"input": (1, 576), "state": (2, 1, 128), "sr": ()}
    made = optc.compile(zoo.fetch("silero_vad"), tmp_path / "b.optc", shapes=shapes, cache=False)
    program = optc.load(tmp_path / "b.optc", threads=1)
    assert made.fallback is None
    assert program.run(feeds(576, 16000))["output"].shape == (1, 1)
    with pytest.raises(UserError, match="no input makes valid"):
        program.run(feeds(576, 8000))
