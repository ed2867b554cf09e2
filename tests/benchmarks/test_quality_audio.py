"""Audio models: figures that are known from elsewhere are reached again, and a fault in the preprocessing lowers them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx
import pytest

from benchmarks import zoo
from benchmarks.quality import pitch, speech
from benchmarks.quality.samples import Samples
from optc.compiler.measure.evaluate import find
from optc.compiler.numerics import Array
from optc.compiler.reference import Reference


def figure(samples: Samples, run: Callable[[Mapping[str, Array]], Mapping[str, Array]], data: Mapping[str, Array]) -> float:
    feeds = {name: array for name, array in data.items() if name not in ("label", "slice")}
    metric, outputs = find(samples.metric), run(feeds)
    return metric.of(metric.records(outputs[samples.output or next(iter(outputs))], data["label"]))


def runner(samples: Samples) -> Callable[[Mapping[str, Array]], Mapping[str, Array]]:
    assert samples.wrap is not None
    return Reference(samples.wrap(onnx.load(zoo.fetch(samples.model)))).run


def test_crepe_hears_pitches_as_published_and_not_through_faults() -> None:
    data, run = pitch.frames(400, seed=0), runner(pitch.SAMPLES)
    assert data["frames"].shape == (400, 1024) and data["frames"].dtype == np.float32
    assert figure(pitch.SAMPLES, run, data) >= 0.97
    assert figure(pitch.SAMPLES, run, {**data, "frames": data["frames"] * np.float32(0.1)}) < 0.9  # not normalised
    rng = np.random.default_rng(0)
    tones = [pitch.tone(rng, "saw", 0.1, vibrato=False, rate=22_050) for _ in range(100)]
    fast = {
        "frames": np.stack([pitch.normalised(wave) for wave, _ in tones]),
        "label": np.array([pitch.right_run(hertz) for _, hertz in tones]),
    }
    assert figure(pitch.SAMPLES, run, fast) < 0.1  # not at 16 kHz


@pytest.mark.parametrize("hertz", [32.7, 110.0, 440.0, 1975.5])
def test_the_right_run_holds_the_bins_within_50_cents(hertz: float) -> None:
    cents = pitch.LOWEST + pitch.SPACING * np.arange(pitch.BINS)
    right = np.flatnonzero(np.abs(cents - 1200 * np.log2(hertz / 10)) <= 50)
    run = pitch.right_run(hertz)
    assert right.tolist() == [b for b in range(run - pitch.RUN + 1, run + 1) if 0 <= b < pitch.BINS]


@pytest.mark.parametrize("best", [0, 3, 180, 357, 359])
def test_the_runs_of_the_best_bin_are_the_top_five(best: int) -> None:
    salience = np.random.default_rng(0).random((1, pitch.BINS), np.float32) / 2
    salience[0, best] = 1.0
    output = onnx.helper.make_tensor_value_info("salience", 1, ["N", pitch.BINS])
    feed = onnx.helper.make_tensor_value_info("x", 1, ["N", pitch.BINS])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["salience"])], "model", [feed], [output])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    runs = Reference(pitch.runs(model)).run({"x": salience})["runs"]
    top5 = find("top5")
    right = [run for run in range(pitch.BINS + pitch.RUN - 1) if top5.records(runs, np.array([run]))[0, 0]]
    assert right == list(range(best, best + pitch.RUN))


def test_silero_finds_the_syllables_and_fewer_at_the_wrong_sampling_rate() -> None:
    samples = speech.SAMPLES[0]
    data, run = speech.frames(600, seed=0), runner(samples)
    assert data["input"].shape == (600, 576) and data["states"].shape == (600, 2, 128)
    right = figure(samples, run, data)
    slow = np.ascontiguousarray(data["input"].repeat(3, 1)[:, :576])
    assert right > 0.9 and figure(samples, run, {**data, "input": slow}) < right - 0.03


def test_recorded_states_are_those_that_the_model_goes_through() -> None:
    data, run = speech.states(50, seed=0), runner(speech.SAMPLES[1])
    assert not data["states"][0].any() and set(data["slice"]) <= set(speech.KINDS)
    after = run({name: data[name] for name in ("input", "states", "rates")})["states_next"]
    np.testing.assert_allclose(after[:-1], data["states"][1:], atol=1e-4)


def test_five_of_six_files_are_one_model_and_the_one_in_float16_is_not() -> None:
    found = speech.equivalence([speech.stream(120, seed)[0] for seed in (0, 1)])
    assert [name for name, difference in found.items() if difference > speech.AGREE] == ["silero_vad_half"]
    assert found["silero_vad_half"] > 0.1


@pytest.mark.parametrize("samples", [pitch.SAMPLES, *speech.SAMPLES], ids=lambda s: f"{s.model}-{s.metric}")
def test_a_seed_names_one_set_of_samples(samples: Samples) -> None:
    first, again, other = (samples.make(40, seed) for seed in (0, 0, 1))
    assert all(np.array_equal(first[k], again[k]) for k in first)
    assert any(not np.array_equal(first[k], other[k]) for k in first)


def test_what_is_calibrated_on_is_in_no_evaluation() -> None:
    for calibrated, evaluated in (
        (pitch.calibrate(20, 0)["frames"], pitch.frames(20, 0)["frames"]),
        (speech.calibrate(10, 0)["input"], speech.frames(10, 0)["input"]),
    ):
        assert calibrated.shape == evaluated.shape
        assert not (calibrated[:, None] == evaluated).all(2).any()
