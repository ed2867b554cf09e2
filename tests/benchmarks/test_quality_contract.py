"""Samples, heads and models fit each other: what is made goes through optc's own instrument without a word more."""

from __future__ import annotations

import math
from importlib import import_module
from pathlib import Path

import numpy as np
import onnx
import pytest

from benchmarks import zoo
from benchmarks.quality import light
from benchmarks.quality.heads import with_head
from benchmarks.quality.samples import Samples
from optc.compiler.load import load
from optc.compiler.measure.data import Dataset, Source
from optc.compiler.measure.evaluate import Evaluation, Run, evaluate
from optc.compiler.measure.gate import batch_size
from optc.compiler.reference import Reference

FEW = 24
_EVERY: list[Samples] = []
for module in ("sentences", "pitch", "phonemes", "speech", "light"):
    held = import_module(f"benchmarks.quality.{module}").SAMPLES
    _EVERY += held if isinstance(held, tuple) else (held,)
QUICK = ("light_squeezenet", "light_shufflenet", "crepe_tiny", "g2p_encoder", "g2p_decoder_step", "silero_vad")


def case(samples: Samples) -> object:
    marks = () if samples.model in QUICK else (pytest.mark.slow,)
    return pytest.param(samples, id=f"{samples.model}-{samples.metric}", marks=marks)


def evaluation(samples: Samples, folder: Path, result: Run | None = None) -> Evaluation:
    path, model = folder / "samples.npz", zoo.fetch(samples.model)
    if samples.wrap is not None:
        onnx.save(samples.wrap(onnx.load(model)), folder / "model.onnx")
        model = folder / "model.onnx"
    count = 3 * FEW if samples.metric == "auc" else FEW  # enough for both classes
    arrays = samples.make(count, 0)
    assert all(len(array) == count for array in arrays.values())
    np.savez(path, **arrays)  # type: ignore[arg-type]  # the stub takes `allow_pickle` for one of the arrays
    held = {name: name for name in ("label", "slice") if name in arrays}
    source, ours = Source(path, labels=held.get("label", ""), slice=held.get("slice", "")), load(model)
    run = Reference(ours).run
    return evaluate(
        run, result or run, Dataset(source, ours, batch_size(source, ours)), [samples.metric], {}, samples.output or None
    )


@pytest.mark.parametrize("samples", [case(samples) for samples in _EVERY])
def test_optc_measures_the_model_on_its_samples(samples: Samples, tmp_path: Path) -> None:
    (measured,) = evaluation(samples, tmp_path).measured
    assert math.isfinite(measured.source) and measured.difference.value == 0


def test_a_fault_is_seen_in_a_light_model_with_random_weights_and_in_none_as_it_ships() -> None:
    model = onnx.load(zoo.fetch("light_squeezenet"))
    first, second = (light.images("data_0", 1, seed) for seed in (0, 1))
    (blind, blinder), (seen, other) = (
        [next(iter(Reference(m).run(feeds).values())) for feeds in (first, second)]
        for m in (model, light.with_random_weights(model))
    )
    assert np.array_equal(blind, blinder)
    assert np.linalg.norm(seen - other) > 0.1 * np.linalg.norm(seen)


def test_a_head_that_does_not_fit_says_what_is_missing() -> None:
    model = onnx.load(zoo.fetch("fashion_cnn"))
    with pytest.raises(ValueError, match=r"the model has no values \['scores'\]"):
        with_head(model, after="h (float[N, 10] scores) => (float[N, 10] z) { z = Identity(scores) }")
    with pytest.raises(ValueError, match=r"the model has no inputs \['image'\]"):
        with_head(model, before="h (float[N, 784] flat) => (float[N, 784] image) { image = Identity(flat) }")
    onnx.checker.check_model(with_head(model, after="h (float[N, 10] y) => (float[N, 10] z) { z = Softmax(y) }"), full_check=True)
