"""Averages hide harm: a pass that ruins one class passes a gate on the mean, and is caught by the gate on slices."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optc.compiler import api
from optc.compiler.cli import main
from optc.compiler.diagnostics import UserError
from optc.compiler.edit import Editor
from optc.compiler.measure.data import Source
from optc.compiler.measure.limits import Limits
from optc.compiler.pipeline import LossyPass, Pipeline
from optc.compiler.recipe import Recipe
from optc.compiler.target import Target
from tests.compiler import patterns

pytestmark = pytest.mark.usefixtures("short_races")
MODEL = patterns.MODEL


@dataclass(frozen=True)
class RuinClass(LossyPass):
    """Never say class 0 again."""

    max_error: float = 1e9

    name = "ruin-class"

    def run(self, edit: Editor) -> None:
        out = edit.graph.outputs[0]
        last = out.producer()
        assert last is not None and out.shape is not None
        if edit.step(last):
            bias = edit.initializer(np.array([-1e4, *[0.0] * 9], np.float32), "bias")
            node = edit.node("Add", [out, bias], name="ruined", sources=[last])
            edit.append(edit.graph, [node])
            edit.set_type(node.outputs[0], out.dtype, out.shape)
            edit.replace(out, node.outputs[0])
            edit.set_input(node, 0, out)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Source:
    path = patterns.write(tmp_path_factory.mktemp("data") / "test.npz", 2000)
    assert 0.02 < np.mean(np.load(path)["y"] == 0) < 0.04
    return Source(path, labels="y", batch=100)


def steps(
    output: Path, data: Source, *passes: Any, slices: tuple[str, ...] = ("top1=70%",)
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    limits = Limits(max_drop=("top1=5%",), max_slice_drop=slices, keep_neutral=True)
    recipe = Recipe(pipeline=Pipeline(passes), target=Target.parse("onnxruntime"), data=data, budgets=limits)
    api.compile(MODEL, output, recipe=recipe, cache=False)
    found = json.loads((output / "measurements.json").read_text())
    return found["steps"][1:], found


def test_a_gate_on_the_mean_lets_a_ruined_class_through(tmp_path: Path, data: Source) -> None:
    (step,), found = steps(tmp_path / "a.optc", data, RuinClass(), slices=())
    assert step["kept"] and found["metrics"][0]["decision"] == "keep"


def test_the_gate_on_slices_catches_it_and_goes_on_with_the_next_pass(tmp_path: Path, data: Source) -> None:
    quantize = Pipeline.parse("quantize-weights").passes
    (ruined, kept), found = steps(tmp_path / "a.optc", replace(data, slice="y"), RuinClass(), *quantize)
    assert not ruined["kept"] and "top1 of slice '0' is worse by 1 " in ruined["reason"]
    assert kept["kept"] and kept["pass"] == "quantize-weights"
    assert {s["name"] for s in found["metrics"][0]["slices"]} == {"0", "1", "2", "3", "4", "5", "6", "8", "9"}


def test_a_budget_of_slices_needs_slices(tmp_path: Path, data: Source) -> None:
    with pytest.raises(UserError, match="the data have no slices"):
        steps(tmp_path / "a.optc", data, RuinClass())
    with pytest.raises(UserError, match="the data have no slices"):
        api.measure(MODEL, MODEL, data, ["top1"], ["top1=5%"], max_slice_drop=["top1=70%"])


def test_check_says_which_slice_was_ruined(tmp_path: Path, data: Source) -> None:
    steps(tmp_path / "a.optc", data, RuinClass(), slices=())
    found = api.measure(MODEL, tmp_path / "a.optc", replace(data, slice="y"), ["top1"], ["top1=5%"], max_slice_drop=["top1=70%"])
    assert not found.holds
    worst = found.measured[0].worst
    assert worst is not None and worst.name == "0" and worst.result == 0.0 and worst.source == 1.0
    assert found.measured[0].overall == "keep" and found.worst[0].slice is not None


def test_the_command_says_which_budgets_are_held(tmp_path: Path, data: Source, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["compile", str(MODEL), "-o", str(tmp_path / "a.optc"), "--target", "onnxruntime", "--passes", "quantize-weights"]
    arguments += ["--data", str(data.path), "--labels", "y", "--slice", "y", "--batch", "100", "--max-drop", "top1=5%"]
    with pytest.raises(SystemExit) as done:
        main([*arguments, "--max-slice-drop", "top1=70%", "--max-size", "1MB", "--no-cache"])
    assert done.value.code == 0
    out = capsys.readouterr().out
    assert "max-drop top1 0.05: held, " in out and "max-size 1e+06 bytes: held, " in out


def test_a_slice_with_too_few_samples_for_its_budget_is_said_before_any_work(tmp_path: Path, data: Source) -> None:
    limits = Limits(max_drop=("top1=5%",), max_slice_drop=("top1=5%",))
    recipe = Recipe(pipeline=Pipeline((RuinClass(),)), target=Target.parse("cpu"), data=replace(data, slice="y"), budgets=limits)
    told: list[str] = []
    with pytest.raises(UserError, match=r"\d+ samples of slice '\d' are too few for a budget of 5%.*: 73 would do") as refused:
        api.compile(MODEL, tmp_path / "a.optc", recipe=recipe, cache=False, tell=told.append)
    assert refused.value.place == "--max-slice-drop top1=5%"
    assert told == ["reading the model", "measuring the source"]
