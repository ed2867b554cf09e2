"""Measuring chooses among the candidates that analysis leaves: once for a kernel and a machine, and as the decisions say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import optc
from optc.compiler import load
from optc.compiler.diagnostics import UserError
from optc.compiler.facts import Facts
from optc.targets import cpu
from optc.targets.cpu import Cpu
from optc.targets.tvm import machine, measured
from optc.targets.tvm.build import build
from optc.targets.tvm.picks import MARGIN, Picks, fastest
from tests.targets.tvm import test_lower
from tests.targets.tvm.test_lower import HEADER, Compiled


def floats(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_another_candidate_must_be_faster_than_noise() -> None:
    near, far = MARGIN + 0.01, MARGIN - 0.01
    assert fastest({"a": {0: 1.0, 1: near}, "b": {0: 1.0, 1: 0.99, 2: far}, "c": {0: 1.0}}) == {"a": 0, "b": 2, "c": 0}


LAYERS = """g (float[1, 16, {size}, {size}] x) => (float[1, 24, {size}, {size}] y) {{
    a = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w)
    b = Relu (a)
    y = Conv <kernel_shape = [1, 1]> (b, v)
}}"""
WEIGHTS = {"w": floats(32, 16, 3, 3), "v": floats(24, 32, 1, 1, seed=1)}


@pytest.mark.parametrize("number", range(6))
def test_every_candidate_computes_the_same(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picks = Picks(other=number)
    monkeypatch.setattr(test_lower, "build", lambda model, host, name: build(model, host, name, picks))
    model = Compiled(LAYERS.format(size=19), tmp_path, **WEIGHTS)
    assert sorted(picks.counts.values()) == [4, 6]
    model.check(1e-4, x=floats(1, 16, 19, 19, seed=2))


@given(st.integers(1, 3), st.integers(1, 40), st.integers(1, 40), st.integers(1, 70), st.integers(1, 3))
@settings(max_examples=10, deadline=None)
def test_every_tile_of_a_product(tmp_path_factory: pytest.TempPathFactory, n: int, m: int, k: int, c: int, rank: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(test_lower, "build", lambda model, host, name: build(model, host, name, Picks(other=rank)))
        graph = f"g (float[N, {m}, {k}] x) => (float[N, {m}, {c}] y) {{ y = MatMul (x, w) }}"
        model = Compiled(graph, tmp_path_factory.mktemp("tile"), w=floats(k, c))
    model.check(1e-4, x=floats(n, m, k, seed=1))


def _model(folder: Path, size: int) -> Path:
    proto = onnx.parser.parse_model(HEADER.format(opset=17) + LAYERS.format(size=size))
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(a, name) for name, a in WEIGHTS.items())
    path = folder / f"model{size}.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def test_what_was_measured_is_kept_and_replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTC_CACHE", str(tmp_path / "cache"))
    asked: list[int] = []

    def seconds(*args: Any) -> dict[str, dict[int, float]]:
        asked.append(1)
        found = Picks()
        measured.lower(*args[:2], found)
        return {site: {number: 1.0 - 0.1 * number for number in range(count)} for site, count in found.counts.items()}

    monkeypatch.setattr(measured, "_seconds", seconds)
    path = _model(tmp_path, 12)

    def compiled(name: str, **options: Any) -> tuple[list[bytes], dict[str, int]]:
        optc.compile(path, tmp_path / name, cache=False, **options)
        held = json.loads((tmp_path / name / "decisions.json").read_bytes())["choices"]
        return [file.read_bytes() for file in (tmp_path / name / "lib").iterdir()], held

    by_analysis, none = compiled("analysis")
    assert none == {} and asked == []
    first, choices = compiled("first", level=3)
    assert sorted(choices.values()) == [3, 5] and asked == [1] and first != by_analysis
    assert compiled("second", level=3) == (first, choices) and asked == [1]
    monkeypatch.setenv("OPTC_CACHE", str(tmp_path / "another"))
    decisions = tmp_path / "first" / "decisions.json"
    assert compiled("replayed", level=3, decisions=decisions) == (first, choices) and asked == [1]


def test_a_program_is_measured_by_its_kernels(tmp_path: Path) -> None:
    model, host = load.load(_model(tmp_path, 12)), machine.host()
    found = measured.choose(model, host, Facts(tmp_path / "facts"))
    picks = Picks()
    measured.lower(model, host, picks)
    assert found.keys() == picks.counts.keys()
    assert all(0 <= number < picks.counts[site] for site, number in found.items())
    timed = measured._seconds(model, host, {}, 6)
    assert {site: sorted(each) for site, each in timed.items()} == {s: list(range(n)) for s, n in picks.counts.items()}
    assert all(value > 0 for each in timed.values() for value in each.values())


def test_a_target_that_measures_nothing_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to measure"):
        optc.compile(_model(tmp_path, 12), tmp_path / "m.optc", target="onnxruntime", level=3)


def test_what_cannot_be_measured_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that this one cannot stand for, and a model that no generated inputs suit."""
    path, lacking = _model(tmp_path, 12), "neoverse-n1" if machine.host().arch == "x86_64" else "x86-64-v3"
    _, notes = cpu._measured(load.load(path), machine.named(lacking))
    assert "not measured: this processor lacks" in notes[0]

    def nothing(*_: Any, **__: Any) -> Any:
        raise UserError("found no sizes")

    monkeypatch.setattr(measured.inputs, "generate", nothing)
    monkeypatch.setenv("OPTC_CACHE", str(tmp_path / "cache"))
    artifact = Cpu(measure=True).build(load.load(path))
    assert artifact.choices == {} and "found no sizes" in "".join(artifact.notes)
