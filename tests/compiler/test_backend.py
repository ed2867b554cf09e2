"""ONNX's interface of a backend: suites that know nothing of optc drive it."""

from __future__ import annotations

import unittest
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import optc.backend as backend
from optc.compiler.diagnostics import UserError

from .models import DENSE, parsed

X = np.arange(-4, 4, dtype=np.float32).reshape(2, 4)
Y = np.maximum(X + np.float32([1, 2, 3, 4]), 0)


@pytest.mark.parametrize("target", ["cpu", "onnxruntime"])
def test_a_model_is_prepared_once_and_run_with_a_list_a_mapping_or_an_array(target: str) -> None:
    prepared = backend.prepare(parsed(DENSE), "CPU", target=target)
    for inputs in ([X], {"x": X}, X):
        outputs = prepared.run(inputs)
        assert isinstance(outputs, tuple) and len(outputs) == 1
        assert np.array_equal(outputs[0], Y) and np.array_equal(outputs["y"], Y)  # type: ignore[call-overload]


def test_outputs_come_in_the_order_of_the_model() -> None:
    text = "g (float[2] x) => (float[2] b, float[2] a) { a = Neg (x) b = Abs (x) }"
    (b, a) = backend.run_model(parsed(text), [np.float32([-1, 2])])
    assert (b.tolist(), a.tolist()) == ([1, 2], [1, -2])


def test_the_bundle_lives_as_long_as_what_was_prepared() -> None:
    prepared = backend.prepare(parsed(DENSE))
    path = Path(prepared.program.path)
    assert (path / "manifest.json").is_file()
    del prepared
    assert not path.exists()


def test_preparing_leaves_the_model_as_it_was() -> None:
    model = parsed(DENSE)
    before = model.SerializeToString(deterministic=True)
    backend.prepare(model, target="onnxruntime")
    assert model.SerializeToString(deterministic=True) == before


def test_one_node_is_run_by_position_or_by_name() -> None:
    clip = helper.make_node("Clip", ["x", "", "high"], ["y"])
    x, high = np.float32([-1, 3]), np.asarray(2, np.float32)
    for inputs in ([x, high], {"x": x, "high": high}):
        assert backend.run_node(clip, inputs)[0].tolist() == [-1, 2]
    info = [(np.float32, (2,))]
    assert backend.run_node(clip, [x, high], outputs_info=info, opset_version=13)[0].tolist() == [-1, 2]
    with pytest.raises(UserError, match="1 inputs were given, the node has 2: x, high"):
        backend.run_node(clip, [x])


def test_a_device_that_is_not_there_is_refused() -> None:
    assert backend.supports_device("CPU") and not backend.supports_device("CUDA") and not backend.supports_device("Abacus")
    assert not backend.is_compatible(parsed(DENSE), "CUDA:1")
    with pytest.raises(UserError, match="the device 'CUDA' is not supported"):
        backend.prepare(parsed(DENSE), "CUDA")
    with pytest.raises(UserError, match="unknown target 'abacus'"):
        backend.prepare(parsed(DENSE), target="abacus")


def test_a_model_that_is_invalid_and_one_that_is_foreign_are_refused() -> None:
    wrong = parsed(DENSE.replace("Relu (a)", "Relu (nowhere)"))
    with pytest.raises(onnx.checker.ValidationError, match="nowhere"):
        backend.prepare(wrong)
    foreign = parsed(DENSE.replace("= Relu", "= my.Relu").replace('"" : 17', '"" : 17, "my" : 1'))
    assert backend.is_compatible(parsed(DENSE)) and not backend.is_compatible(foreign)
    with pytest.raises(UserError, match="of an unknown domain"):
        backend.prepare(foreign)


def test_inputs_that_do_not_fit_are_refused() -> None:
    prepared = backend.prepare(parsed(DENSE), target="onnxruntime")
    with pytest.raises(UserError, match="2 inputs were given, the model has 1: x: float32"):
        prepared.run([X, X])
    with pytest.raises(UserError, match="'x' has dtype float64"):
        prepared.run([X.astype(np.float64)])


def test_onnx_s_own_runner_drives_it() -> None:
    from onnx.backend.test.runner import Runner

    runner = Runner(backend, __name__).include("^test_(relu|abs|clip|softmax_axis_1|conv_with_strides_padding)_cpu")
    suite = unittest.TestSuite(
        test
        for cls in runner.test_cases.values()
        for test in unittest.defaultTestLoader.loadTestsFromTestCase(cls)
        if not getattr(getattr(test, test._testMethodName), "__unittest_skip__", False)
    )
    outcome = unittest.TestResult()
    suite.run(outcome)
    assert outcome.testsRun == 5 and outcome.wasSuccessful() and not outcome.skipped, outcome.failures + outcome.errors


def test_half_precision_goes_through() -> None:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        "g",
        [value("x", TensorProto.FLOAT16, ["N"])],
        [value("y", TensorProto.FLOAT16, ["N"])],
    )
    (y,) = backend.run_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), [np.float16([1, 2])])
    assert y.dtype == np.float16 and y.tolist() == [2, 4]
