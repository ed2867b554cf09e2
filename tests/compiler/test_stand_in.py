"""onnxruntime loads a model with a body that no input makes valid, and what it computes is unchanged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from onnxruntime.capi import onnxruntime_pybind11_state as errors

from optc.compiler import ir, printer, runner, save
from optc.compiler.diagnostics import UserError
from optc.compiler.pipeline import Pipeline
from optc.compiler.reference import Reference
from optc.compiler.stand_in import loadable
from optc.compiler.target import Target
from tests.compiler.test_compose import IMPOSSIBLE, _program

SOURCE = f'<ir_version: 8, opset_import: ["" : 17]> {IMPOSSIBLE}'
X = np.arange(6, dtype=np.float32).reshape(2, 3)


def sunk() -> ir.Model:
    model = printer.parse(SOURCE)
    runner.run(Pipeline.parse("sink-into-if"), model, runner.Options(check="off"))
    return model


def test_a_model_without_such_bodies_is_not_copied() -> None:
    model = printer.parse(SOURCE)
    assert loadable(model) is model


@pytest.mark.parametrize("level", ["ORT_DISABLE_ALL", "ORT_ENABLE_ALL"])
def test_it_loads_computes_the_same_and_fails_for_the_same_inputs(level: str) -> None:
    options = ort.SessionOptions()
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    with pytest.raises(errors.Fail, match="Transpose"):
        ort.InferenceSession(save.to_bytes(sunk()), options)
    session = ort.InferenceSession(save.to_bytes(loadable(sunk())), options)
    feeds = {"x": X, "trips": np.array(2)}
    expected = Reference(printer.parse(SOURCE)).run({**feeds, "flat": np.array(False)})
    for name, found in zip(expected, session.run(None, {**feeds, "flat": np.array(False)}), strict=True):
        np.testing.assert_array_equal(found, expected[name])
    with pytest.raises(errors.InvalidArgument, match="out of data bounds"):
        session.run(None, {**feeds, "flat": np.array(True)})


def test_the_original_keeps_its_bodies() -> None:
    model = sunk()
    text = printer.text(model)
    assert loadable(model) is not model
    assert printer.text(model) == text


def test_a_bundle_of_onnxruntime_loads_too(tmp_path: Path) -> None:
    program = _program(Target.parse("onnxruntime"), sunk(), tmp_path / "b")
    feeds = {"x": X, "trips": np.array(0)}
    np.testing.assert_array_equal(program.run({**feeds, "flat": np.array(False)})["y"], -X.T.ravel())
    with pytest.raises((UserError, errors.InvalidArgument)):
        program.run({**feeds, "flat": np.array(True)})
