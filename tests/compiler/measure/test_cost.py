"""A pass that brings nothing on the target is dropped, a slower one too, and every step's figures are in the record."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optc.compiler import api
from optc.compiler.edit import Editor
from optc.compiler.instrument import Instrument
from optc.compiler.measure import cost
from optc.compiler.measure.limits import Limits
from optc.compiler.numerics import Numerics
from optc.compiler.pipeline import LossyPass, Pass, Pipeline
from optc.compiler.recipe import Recipe
from optc.compiler.target import Target

MODEL = Path(__file__).resolve().parents[2] / "models" / "fashion_cnn.onnx"
pytestmark = pytest.mark.usefixtures("short_races")


def detour(edit: Editor, factors: list[float], name: str) -> None:
    """Multiply the output by each of the factors, one after another."""
    out = edit.graph.outputs[0]
    last = out.producer()
    assert last is not None and out.shape is not None
    if not edit.step(last):
        return
    value, nodes = out, []
    for i, factor in enumerate(factors):
        held = edit.initializer(np.array(factor, np.float32), f"{name}{i}")
        nodes.append(edit.node("Mul", [value, held], name=f"{name}_{i}", sources=[last]))
        value = nodes[-1].outputs[0]
        edit.set_type(value, out.dtype, out.shape)
    edit.append(edit.graph, nodes)
    edit.replace(out, value)
    edit.set_input(nodes[0], 0, out)


@dataclass(frozen=True)
class Detour(Pass):
    """Correct, and very slow: doubles and halves the output a thousand times."""

    name = "planted-detour"
    numerics = Numerics.BITWISE

    def run(self, edit: Editor) -> None:
        detour(edit, [2.0, 0.5] * 500, "detour")


@dataclass(frozen=True)
class Harmless(Pass):
    """Correct, and costs next to nothing."""

    name = "planted-harmless"
    numerics = Numerics.BITWISE

    def run(self, edit: Editor) -> None:
        detour(edit, [2.0, 0.5], "harmless")


@dataclass(frozen=True)
class Nudge(LossyPass):
    """Within its bound, and for nothing."""

    name = "planted-nudge"
    max_error: float = 0.1

    def run(self, edit: Editor) -> None:
        detour(edit, [1.01, *[2.0, 0.5] * 20], "nudge")


def compiled(output: Path, passes: tuple[Pass, ...], **budgets: Any) -> dict[str, Any]:
    limits = Limits(measure=True, **budgets)
    recipe = Recipe(pipeline=Pipeline(passes), target=Target.parse("onnxruntime"), budgets=limits)
    api.compile(MODEL, output, recipe=recipe, cache=False)
    found: dict[str, Any] = json.loads((output / "measurements.json").read_text())
    return found


def test_a_slower_pass_is_dropped_and_the_others_of_its_group_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "SLOWER", 2.0)  # so short a race cannot tell two more multiplications from none
    _, before, slow, after = compiled(tmp_path / "a.optc", (*Pipeline.parse("infer-shapes").passes, Detour(), Harmless()))[
        "steps"
    ]
    assert not slow["kept"] and slow["reason"].startswith("is slower: 0.") and "first at node" in slow["reason"]
    assert slow["speed"]["high"] < 1
    assert before["kept"] and after["kept"] and after["rewrites"] and after["speed"]["low"] > slow["speed"]["high"]


def test_a_lossy_pass_that_brings_nothing_is_dropped_unless_it_is_to_be_kept(tmp_path: Path) -> None:
    dropped = compiled(tmp_path / "a.optc", (Nudge(),))["steps"][1]
    assert not dropped["kept"] and "brings nothing on this target: size 0.19" in dropped["reason"]
    assert compiled(tmp_path / "b.optc", (Nudge(),), keep_neutral=True)["steps"][1]["kept"]


def test_what_counts_is_the_figure_that_has_a_budget(tmp_path: Path) -> None:
    quantize = Pipeline.parse("quantize-weights").passes
    kept = compiled(tmp_path / "a.optc", quantize, max_size="1MB")["steps"][1]
    assert kept["kept"] and kept["bytes"] < 100_000
    dropped = compiled(tmp_path / "b.optc", (Nudge(),), max_size="1MB")["steps"][1]
    assert "brings nothing to size, which has a budget" in dropped["reason"]


def test_the_record_has_the_figures_of_every_step_and_says_where_and_how(tmp_path: Path) -> None:
    found = compiled(tmp_path / "a.optc", (Harmless(), *Pipeline.parse("quantize-weights").passes))
    source, *steps = found["steps"]
    assert source["kind"] == "source" and source["bytes"] == found["source"]["bytes"] == MODEL.stat().st_size
    for step in steps:
        assert step["kept"] and step["bytes"] > 0 and step["memory_mb"] > 10 and step["latency_ms"] > 0
        assert step["against_baseline"]["low"] <= step["against_baseline"]["value"] <= step["against_baseline"]["high"]
    assert found["baseline"]["latency_ms"]["p50"] > 0 and found["result"]["bytes"] == steps[-1]["bytes"]
    assert found["environment"]["cores"] >= 1 and found["environment"]["tools"]["onnxruntime"]
    assert found["command"] == "optc compile fashion_cnn.onnx -o again.optc --recipe recipe.toml"
    assert "[budgets]\nmetrics = []" in (tmp_path / "a.optc" / "recipe.toml").read_text()


class Seen(Instrument):
    """What passes were run."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def before(self, p: Pass, edit: Editor) -> None:
        self.names.append(p.name)


def test_states_that_are_built_only_to_be_measured_are_not_shown_to_watchers(tmp_path: Path) -> None:
    seen = Seen()
    options = api.watched(api.runner.Options(), seen)
    recipe = Recipe(pipeline=Pipeline.parse("fuse-matmul-add"), target=Target.parse("cpu"))
    limits = Limits(measure=True)
    api.compile(MODEL, tmp_path / "a.optc", recipe=replace(recipe, budgets=limits), options=options, cache=False)
    assert seen.names.count("fuse-matmul-add") == 1
