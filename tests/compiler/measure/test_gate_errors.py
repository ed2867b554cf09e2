"""What a metric cannot be told of: on the source it is wrong input, of what a pass made it is the pass that is refused."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

from optc.compiler import api, load, runner, sensitivity
from optc.compiler.diagnostics import ContractError, UserError
from optc.compiler.measure import evaluate, gate
from optc.compiler.measure.data import Source
from optc.compiler.measure.limits import Limits
from optc.compiler.measure.metrics.metric import Metric
from optc.compiler.numerics import Array
from optc.compiler.pipeline import Pipeline
from optc.compiler.recipe import Recipe
from optc.compiler.reference import Reference
from optc.compiler.target import Target
from tests.compiler import patterns
from tests.compiler.measure.test_gate_slices import RuinClass

pytestmark = pytest.mark.usefixtures("short_races")
MODEL = patterns.MODEL


@dataclass
class Picky:
    """A metric of a package that takes no scores below a bound, or of no result at all."""

    least: float = -1e3
    results: bool = True

    def __call__(self, output: Array, source: Array) -> Array:
        if output is not source and not self.results:
            raise UserError("it needs the source's own scores")
        if output.min() < self.least:
            raise UserError(f"it needs scores above {self.least:g}")
        return np.abs(output - source).max(1, keepdims=True).astype(np.float64)


@pytest.fixture
def picky(monkeypatch: pytest.MonkeyPatch) -> Picky:
    """The metric, found by the name `picky`."""
    found, known = Picky(), evaluate.find
    metric = Metric("picky", "source", "lower", found)
    monkeypatch.setattr(evaluate, "find", lambda name: metric if name == "picky" else known(name))
    return found


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return Source(patterns.write(tmp_path_factory.mktemp("data") / "test.npz", 400), labels="y", batch=100)


def compiled(output: Path, data: Source, *passes: Any, **more: Any) -> list[dict[str, Any]]:
    limits = Limits(metrics=("picky",), keep_neutral=True)
    recipe = Recipe(pipeline=Pipeline(passes), target=Target.parse("onnxruntime"), data=data, budgets=limits)
    api.compile(MODEL, output, recipe=recipe, cache=False, **more)
    found: list[dict[str, Any]] = json.loads((output / "measurements.json").read_text())["steps"][1:]
    return found


@pytest.mark.usefixtures("picky")
def test_a_pass_whose_result_a_metric_refuses_is_rolled_back_and_the_next_one_runs(tmp_path: Path, data: Source) -> None:
    (quantize,) = Pipeline.parse("quantize-weights")
    ruined, following = compiled(tmp_path / "a.optc", data, RuinClass(), quantize)
    assert not ruined["kept"]
    assert ruined["reason"] == "it cannot be measured: metric 'picky' does not fit: it needs scores above -1000"
    assert following["kept"] and following["metrics"][0]["metric"] == "picky"


def test_a_source_that_a_metric_refuses_is_wrong_input(tmp_path: Path, data: Source, picky: Picky) -> None:
    picky.least = 1e3
    with pytest.raises(UserError, match="it needs scores above 1000"):
        compiled(tmp_path / "a.optc", data, RuinClass())
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_that_a_metric_refuses_is_not_the_source_model(tmp_path: Path, data: Source, picky: Picky) -> None:
    def told(text: str) -> None:
        picky.results = text != "measuring on the target"

    with pytest.raises(ContractError, match=r"the result cannot be measured.*it needs the source's own scores"):
        compiled(tmp_path / "a.optc", data, *Pipeline.parse("fold-constants"), tell=told)
    assert list(tmp_path.iterdir()) == []


def test_a_budget_of_what_the_source_itself_has_no_value_of_is_said_before_any_pass(tmp_path: Path) -> None:
    text = '<ir_version: 8, opset_import: ["" : 17]> g (float[N, 4] x) => (float[N, 4] y) <float[4] c = {1,2,3,4}> '
    onnx.save(onnx.parser.parse_model(text + "{ h = Mul(x, c) y = Log(h) }"), tmp_path / "log.onnx")
    x = np.random.default_rng(0).random((400, 4), np.float32)
    x[321] *= -1  # its logarithm is NaN
    np.savez(tmp_path / "x.npz", x=x)
    told: list[str] = []
    asked: dict[str, Any] = {"target": "onnxruntime", "data": Source(tmp_path / "x.npz", batch=100), "cache": False}
    said = "metric 'relative-l2' has no value for the source model: its output 'y' holds NaN, first in sample 321"
    with pytest.raises(UserError, match=said):
        budgets = Limits(metrics=("cosine",), max_drop=("relative-l2=0.1",))
        api.compile(tmp_path / "log.onnx", tmp_path / "a.optc", budgets=budgets, tell=told.append, **asked)
    assert told == ["reading the model", "measuring the source"]
    budgets = Limits(metrics=("relative-l2",), max_drop=("agreement=5%",))  # which has a value, also where there is NaN
    assert api.compile(tmp_path / "log.onnx", tmp_path / "b.optc", budgets=budgets, **asked).budgets[0]["holds"]


@pytest.mark.usefixtures("picky")
def test_a_layer_whose_result_a_metric_refuses_is_the_most_sensitive(data: Source) -> None:
    model = load.load(MODEL)
    source, ruined = Reference(model).run, model.clone()
    runner.run(Pipeline((RuinClass(),)), ruined, runner.Options(check="off"))
    stream, _ = gate.streams(model, data)
    drops = gate.drops(source, {"ruined": Reference(ruined).run, "same": source}, stream, "picky", None)
    assert math.isnan(drops["ruined"].value) and drops["same"].value == 0
    layers = [sensitivity.Layer(name, "Conv", 1, 0.1, drop) for name, drop in drops.items()]
    assert [layer.node for layer in sorted(layers, key=lambda n: -sensitivity._lost(n))] == ["ruined", "same"]
