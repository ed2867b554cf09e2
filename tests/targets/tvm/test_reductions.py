"""Reductions, softmax and normalizations at their edges, beside onnxruntime: several sizes from one library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from optc.compiler.diagnostics import UserError
from tests.targets.tvm.test_lower import Compiled


def floats(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


NOTHING = """e = Constant <value_ints = [0]> ()
        f = Constant <value_ints = [0]> ()
        a = Constant <value_ints = [1]> ()
        z = Slice(x, e, f, a)"""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ReduceSum", 0),
        ("ReduceL1", 0),
        ("ReduceL2", 0),
        ("ReduceSumSquare", 0),
        ("ReduceProd", 1),
        ("ReduceLogSum", -np.inf),
        ("ReduceLogSumExp", -np.inf),
        ("ReduceMax", -np.inf),
        ("ReduceMin", np.inf),
    ],
)
def test_reductions_of_nothing(name: str, value: float, tmp_path: Path) -> None:
    """The neutral element of each operation, as ONNX defines it."""
    model = Compiled(f"g (float[N, 4, 3] x) => (float[N, 1, 3] y) {{ {NOTHING}\n y = {name}(z, a) }}", tmp_path, 18)
    found = model.engine.run({"x": floats(2, 4, 3)})["y"]
    np.testing.assert_array_equal(found, np.full((2, 1, 3), value, np.float32))


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axes", [[0], [2], [-2]])
def test_axes_may_be_fed(axes: list[int], keepdims: int, tmp_path: Path) -> None:
    """How many there are is known, which ones is seen in each call."""
    graph = f"g (float[N, 4, 3] x, int64[1] a) => (float[A, B{', C' * keepdims}] y)"
    graph += f" {{ y = ReduceSum <keepdims = {keepdims}> (x, a) }}"
    Compiled(graph, tmp_path, 18).check(x=floats(2, 4, 3), a=np.array(axes, np.int64))


def test_statistics_of_each_element_are_refused(tmp_path: Path) -> None:
    graph = "g (float[N, 6] x, float[6] s) => (float[N, 6] y) { y = BatchNormalization <spatial = 0> (x, s, s, s, s) }"
    with pytest.raises(UserError, match="spatial=0"):
        Compiled(graph, tmp_path, 7)


@pytest.mark.parametrize("dims", [", W", ", D, H, W"])
def test_groups_and_instances(dims: str, tmp_path: Path) -> None:
    values = {"s": floats(6), "b": floats(6, seed=1)}
    graph = f"""g (float[N, 6{dims}] x) => (float[N, 6{dims}] y, float[N, 6{dims}] z) {{
        y = GroupNormalization <num_groups = 3> (x, s, b)
        z = InstanceNormalization(x, s, b)
    }}"""
    model = Compiled(graph, tmp_path, 21, **values)
    for size in ((2, 4, 5, 3), (1, 7, 2, 6)):
        model.check(2e-5, x=floats(size[0], 6, *size[1 : 1 + dims.count(",")]))


@pytest.mark.parametrize("axes", ["[0, 2, 3]", "[1]"])
def test_mean_and_variance(axes: str, tmp_path: Path) -> None:
    graph = f"g (float[N, 3, H, W] x) => (float[N, 3, H, W] y) {{ y = MeanVarianceNormalization <axes = {axes}> (x) }}"
    model = Compiled(graph, tmp_path)
    for shape in ((2, 3, 4, 5), (1, 3, 6, 2)):
        model.check(2e-5, x=floats(*shape))


@pytest.mark.parametrize("p", [1, 2])
def test_lines_of_zeros_stay_zero(p: int, tmp_path: Path) -> None:
    model = Compiled(f"g (float[N, 4] x) => (float[N, 4] y) {{ y = LpNormalization <p = {p}> (x) }}", tmp_path)
    x = floats(3, 4)
    x[1] = 0
    model.check(x=x)


def test_a_mean_over_many_pixels_is_exact_to_rounding(tmp_path: Path) -> None:
    """One running sum over 90,000 elements near 1 would lose four digits of float32."""
    for graph in (
        "g (float[N, C, H, W] x) => (float[N, C, 1, 1] y) { y = GlobalAveragePool(x) }",
        "g (float[N, 4, 300, 300] x) => (float[N, 4, 1, 1] y) { y = ReduceMean <axes = [2, 3]> (x) }",
    ):
        x = floats(1, 4, 300, 300) + np.float32(100)
        found = Compiled(graph, tmp_path, 17).engine.run({"x": x})["y"]
        np.testing.assert_allclose(found, x.astype(np.float64).mean((2, 3), keepdims=True), rtol=2e-6)


def test_a_mean_of_integers_is_truncated_once(tmp_path: Path) -> None:
    x = np.arange(12, dtype=np.int32).reshape(1, 3, 4) * 7
    Compiled("g (int32[1, 3, 4] x) => (int32[1, 1, 1] y) { y = ReduceMean <axes = [1, 2]> (x) }", tmp_path, 17).check(x=x)


@pytest.mark.parametrize("kind", ["float", "float16"])
def test_normalization_in_training(kind: str, tmp_path: Path) -> None:
    """By the batch's own statistics, with the running ones beside; against ONNX's evaluator, onnxruntime has no kernel."""
    parameters = ", ".join(f"{kind}[3] {name}" for name in "sbmv")
    graph = f"""g ({kind}[N, 3, H] x, {parameters}) => ({kind}[N, 3, H] y, {kind}[3] n, {kind}[3] w) {{
        y, n, w = BatchNormalization <training_mode = 1, momentum = 0.7, epsilon = 0.01> (x, s, b, m, v)
    }}"""
    model = Compiled(graph, tmp_path)
    dtype = np.float32 if kind == "float" else np.float16
    rng = np.random.default_rng(0)
    for size in ((4, 3, 5), (1, 3, 9)):
        feeds = {name: rng.random((3,)).astype(dtype) for name in "sbmv"} | {"x": rng.standard_normal(size).astype(dtype)}
        expected = ReferenceEvaluator(model.proto).run(None, feeds)
        for found, wanted in zip(model.engine.run(feeds).values(), expected, strict=True):
            assert (found.dtype, found.shape) == (dtype, wanted.shape)
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 if kind == "float" else 1e-2)


def test_a_dropout_that_drops_nothing(tmp_path: Path) -> None:
    graph = "g (float[N] x, bool t) => (float[N] y, bool[N] m) { y, m = Dropout(x, r, t) }"
    model = Compiled(graph, tmp_path, r=np.array(0, np.float32))
    found = model.engine.run({"x": np.arange(4, dtype=np.float32), "t": np.array(True)})
    np.testing.assert_array_equal(found["y"], np.arange(4, dtype=np.float32))
    assert found["m"].all()
    with pytest.raises(UserError, match="training mode"):
        Compiled(graph, tmp_path, r=np.array(0.5, np.float32))
