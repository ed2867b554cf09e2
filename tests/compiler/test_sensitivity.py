"""Sensitivity: each layer alone, on the outputs and on a metric, however many models are held side by side."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Mapping
from dataclasses import astuple
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import onnx.parser
import psutil
import pytest

from optc.compiler import api, ir, load, sensitivity
from optc.compiler.cli import main
from optc.compiler.diagnostics import UserError
from optc.compiler.measure.data import Source
from optc.compiler.numerics import Array, compare
from optc.compiler.pipeline import Pipeline
from optc.compiler.reference import Reference
from tests.compiler import patterns

MODEL = patterns.MODEL
PASSES = "prune-weights{sparsity=0.8 max-error=10}"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return Source(patterns.write(tmp_path_factory.mktemp("data") / "d.npz", 200), labels="y", batch=50)


def test_a_layer_is_changed_alone_the_most_sensitive_first() -> None:
    model = load.load(MODEL)
    feeds = [{"x": np.random.default_rng(1).random((8, 1, 28, 28), np.float32)}]
    (p,) = Pipeline.parse(PASSES).passes
    layers = sensitivity.sweep(model, p, feeds)
    assert {layer.node for layer in layers} == {s.node for s in sensitivity.steps(model, p)}
    assert [layer.error for layer in layers] == sorted((layer.error for layer in layers), reverse=True)
    assert all(layer.elements > 1000 and layer.drop is None for layer in layers)
    pruned = load.load(MODEL)  # by hand: the one weight of the most sensitive layer
    (weight,) = (v for n in pruned.graph if n.name == layers[0].node for v in n.inputs[1:2] if v is not None)
    assert weight.const_value is not None
    held = weight.const_value.numpy()
    threshold = np.sort(np.abs(held).ravel())[int(0.8 * held.size) - 1]
    weight.const_value = ir.Tensor(np.where(np.abs(held) <= threshold, 0, held).astype(np.float32), name=weight.name)
    worst = compare(Reference(model).run_all(feeds), Reference(pruned).run_all(feeds))
    assert worst.l2 == pytest.approx(layers[0].error, rel=1e-5)


def test_the_metric_orders_layers_and_the_number_of_models_held_changes_nothing(
    data: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept = api.sensitivity(MODEL, PASSES, data=data, metric="top1")
    drops = [layer.drop.value for layer in swept.layers if layer.drop is not None]
    assert len(drops) == len(swept.layers) and drops == sorted(drops, reverse=True) and drops[0] > 0.3
    assert swept.samples == 200
    monkeypatch.setattr(sensitivity, "HELD", 1)
    assert api.sensitivity(MODEL, PASSES, data=data, metric="top1") == swept


class Counted(Reference):
    """A reference that is counted while it lives, and so are its outputs."""

    models: ClassVar[set[int]] = set()
    outputs: ClassVar[set[int]] = set()
    most: ClassVar[dict[str, int]] = {}

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._count("models", self)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        found = super().run(feeds)
        for array in found.values():
            self._count("outputs", array)
        return found

    def _count(self, what: str, thing: object) -> None:
        alive = getattr(self, what)
        alive.add(id(thing))
        weakref.finalize(thing, alive.discard, id(thing))
        self.most[what] = max(self.most.get(what, 0), len(alive))


@pytest.mark.parametrize("bound", [("SIDE_BY_SIDE", 2), ("HELD", 8 * 190_000)])
def test_a_few_models_are_held_at_once_and_of_their_outputs_those_of_one_feed(
    data: Source, monkeypatch: pytest.MonkeyPatch, bound: tuple[str, int]
) -> None:
    monkeypatch.setattr(sensitivity, *bound)
    monkeypatch.setattr(sensitivity, "Reference", Counted)
    monkeypatch.setattr(Counted, "most", {})
    model, feeds = load.load(MODEL), [{"x": np.zeros((1, 1, 28, 28), np.float32)} for _ in range(50)]
    (p,) = Pipeline.parse(PASSES).passes
    streamed = []

    def judge(runs: Mapping[str, sensitivity.Run]) -> dict[str, sensitivity.Drop]:
        streamed.append(list(runs))
        return {}

    layers = sensitivity.sweep(model, p, feeds, judge)
    assert len(layers) > 2 and sorted(map(len, streamed)) == sorted([2] * (len(layers) // 2) + [1] * (len(layers) % 2))
    assert Counted.most == {"models": 2, "outputs": 50 + 2}  # beside those of the unchanged model: the last and the next


def test_a_lean_reference_keeps_no_activations() -> None:
    model = '<ir_version: 8, opset_import: ["" : 17]> g (float[N] x) => (float[N] y) { a = Exp(x) b = Exp(a) y = Neg(b) }'

    def kept(lean: bool) -> int:
        reference = Reference(onnx.parser.parse_model(model), lean=lean)
        gc.collect()
        before = psutil.Process().memory_info().rss
        reference.run({"x": np.zeros(20_000_000, np.float32)})  # 80 MB
        gc.collect()
        return psutil.Process().memory_info().rss - before

    # the least of three: memory that a process gives back late is no memory that a reference keeps
    assert min(kept(lean=True) for _ in range(3)) < 40e6 < min(kept(lean=False) for _ in range(3))


def test_a_layer_survives_being_written() -> None:
    for drop in (None, sensitivity.Drop("top1", 0.1, 0.0, 0.2)):
        layer = sensitivity.Layer("a", "Conv", 3, 0.5, drop)
        assert sensitivity.layer_of(json.loads(json.dumps(astuple(layer)))) == layer


def test_the_command(tmp_path: Path, data: Source, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "layers.html"
    with pytest.raises(SystemExit) as done:
        main(
            [
                "sensitivity",
                str(MODEL),
                "--passes",
                PASSES,
                "--data",
                str(data.path),
                "--labels",
                "y",
                "--metric",
                "top1",
                "--json",
                "-o",
                str(page),
            ]
        )
    found = json.loads(capsys.readouterr().out)
    assert done.value.code == 0 and found["pass"].startswith("prune-weights{sparsity=0.8") and found["metric"] == "top1"
    assert all(layer["low"] <= layer["drop"] <= layer["high"] for layer in found["layers"])
    told = page.read_text()
    assert "<svg" in told and all(layer["layer"] in told for layer in found["layers"]) and "left alone" not in told


def test_an_output_without_a_metric_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(["sensitivity", str(MODEL), "--passes", PASSES, "--output", "y"])
    assert done.value.code == 2 and "--output says what metrics look at" in capsys.readouterr().err


@pytest.mark.parametrize("passes", ["canonicalize", ""])
def test_an_exact_pass_has_none(passes: str) -> None:
    with pytest.raises(UserError, match="sensitivity is of a lossy pass"):
        api.sensitivity(MODEL, passes)


def test_a_metric_that_does_not_fit_is_said_before_any_work(data: Source) -> None:
    with pytest.raises(UserError, match="metric 'wer' does not fit"):
        api.sensitivity(MODEL, PASSES, data=data, metric="wer")
