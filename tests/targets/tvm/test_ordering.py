"""What depends on the order of elements: ties go to the lower index, NaN counts as greater than any number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from optc.compiler.diagnostics import UserError
from tests.targets.tvm.test_indexing import against_the_reference, floats
from tests.targets.tvm.test_lower import Compiled


@pytest.mark.parametrize("largest", [0, 1])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("dtype", ["float", "int32", "uint8", "double"])
def test_top_k(dtype: str, axis: int, largest: int, tmp_path: Path) -> None:
    """Ties: the lower index comes first, also among those that are left out."""
    kind = {"float": np.float32, "double": np.float64}.get(dtype, dtype)
    model = Compiled(
        f"""g ({dtype}[A, B, C] x) => ({dtype}[D, E, F] v, int64[D, E, F] i) {{
            k = Constant <value_ints = [5]> ()
            v, i = TopK <axis = {axis}, largest = {largest}> (x, k)
        }}""",
        tmp_path,
    )
    rng = np.random.default_rng(axis + 1)
    for spread in (3, 3, 100, 100):
        shape = rng.integers(1, 9, 3)
        shape[axis] = rng.integers(5, 60)
        model.check(0.0, x=rng.integers(0, spread, shape).astype(kind))


def test_top_k_of_all_and_of_none(tmp_path: Path) -> None:
    """k as a symbolic dimension sorts; NaN counts as greater than any number."""
    model = Compiled(
        """g (float[N, K] x) => (float[N, K] v, int64[N, K] i, float[N, 0] w, int64[N, 0] j) {
            shape = Shape <start = 1> (x)
            v, i = TopK(x, shape)
            none = Constant <value_ints = [0]> ()
            w, j = TopK <largest = 0> (x, none)
        }""",
        tmp_path,
    )
    rng = np.random.default_rng(0)
    for n, k in ((1, 1), (3, 100), (2, 17)):
        model.check(0.0, x=floats(rng, (n, k)))
    x = np.array([[1, np.nan, np.inf, -np.inf, np.nan, 1]], np.float32)
    assert model.engine.run({"x": x})["i"].tolist() == [[1, 4, 2, 0, 5, 3]]


def test_top_k_of_too_few_is_an_error(tmp_path: Path) -> None:
    graph = "g (float[N, {}] x) => (float[N, 5] v, int64[N, 5] i) {{ k = Constant <value_ints = [5]> () \n v, i = TopK(x, k) }}"
    model = Compiled(graph.format("K"), tmp_path)
    with pytest.raises(ValueError, match="larger than the axis"):
        model.engine.run({"x": np.zeros((2, 4), np.float32)})
    with pytest.raises(UserError, match="contradict"):
        Compiled(graph.format("4"), tmp_path)


@pytest.mark.parametrize("operator", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_the_first_and_the_last_extreme(axis: int, operator: str, tmp_path: Path) -> None:
    model = Compiled(
        f"""g (float[A, B, C] x, int32[A, B, C] z) => (int64[D, E, F] a, int64[D, E] b, int64[D, E] c) {{
            a = {operator} <axis = {axis}> (x)
            b = {operator} <axis = {axis}, keepdims = 0, select_last_index = 1> (x)
            c = {operator} <axis = {axis}, keepdims = 0> (z)
        }}""",
        tmp_path,
    )
    rng = np.random.default_rng(0)
    for _ in range(8):
        shape = rng.integers(1, 40, 3)
        few = rng.integers(-3, 3, shape)
        model.check(0.0, x=few.astype(np.float32), z=few.astype(np.int32))
    x = floats(rng, (4, 5, 20))
    x[1:3, 2:4, 5:9] = np.nan
    x[0], x[1] = np.inf, -np.inf
    against_the_reference(model, x=x, z=np.ones((4, 5, 20), np.int32))


@pytest.mark.parametrize("opset", [11, 13])
def test_hardmax(opset: int, tmp_path: Path) -> None:
    model = Compiled(
        "g (float[A, B, C] x) => (float[A, B, C] y, float[A, B, C] z) { y = Hardmax(x) \n z = Hardmax <axis = 1> (x) }",
        tmp_path,
        opset,
    )
    rng = np.random.default_rng(0)
    for _ in range(5):
        model.check(0.0, x=rng.integers(0, 3, rng.integers(1, 20, 3)).astype(np.float32))
