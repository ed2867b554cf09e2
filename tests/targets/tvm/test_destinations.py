"""A Concat of results is no copy: each kernel writes its part where the whole lies, unless others read it, too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optc.targets.tvm import destinations
from tests.targets.tvm.test_lower import Compiled


def floats(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def names(model: Compiled) -> list[str]:
    return [kernel["name"] for kernel in model.artifact.program["kernels"]]


def copies(model: Compiled) -> int:
    return sum(name.startswith("concat") for name in names(model))


PRODUCTS = """g (float[N, 24] x) => (float[N, {width}] y) {{
    a = MatMul (x, u)
    b = MatMul (x, v)
    c = Relu (b)
    y = Concat <axis = -1> ({parts})
}}"""


@pytest.mark.parametrize("rows", [1, 7, 40])
def test_products_are_written_side_by_side(rows: int, tmp_path: Path) -> None:
    graph = PRODUCTS.format(width=53, parts="a, c")
    model = Compiled(graph, tmp_path, u=floats(24, 16), v=floats(24, 37, seed=1))
    assert copies(model) == 0 and len(names(model)) == 2
    x = floats(rows, 24, seed=2)
    model.check(1e-5, x=x)
    told = model.engine.kernels({"x": x})
    assert sorted(call.multiply_adds for call in told) == [rows * 24 * 16, rows * 24 * 37]  # of its part, not of the whole


def test_a_part_that_others_read_is_copied(tmp_path: Path) -> None:
    graph = """g (float[N, 24] x) => (float[N, 77] y, float[N, 16] z) {
        a = MatMul (x, u)
        b = MatMul (x, v)
        z = Softmax (a)
        y = Concat <axis = -1> (b, a, x)
    }"""
    model = Compiled(graph, tmp_path, u=floats(24, 16), v=floats(24, 37, seed=1))
    assert copies(model) == 2  # a and x
    model.check(1e-5, x=floats(9, 24, seed=2))


@pytest.mark.parametrize("parts", ["a, a", "x, x", "a, c, a"])
def test_a_value_twice_is_copied(parts: str, tmp_path: Path) -> None:
    width = sum({"a": 16, "c": 37, "x": 24}[p] for p in parts.split(", "))
    model = Compiled(PRODUCTS.format(width=width, parts=parts), tmp_path, u=floats(24, 16), v=floats(24, 37, seed=1))
    model.check(1e-5, x=floats(9, 24, seed=2))


def test_parts_of_parts_and_of_results(tmp_path: Path) -> None:
    graph = """g (float[N, 24] x) => (float[N, 69] y, float[N, 53] z) {
        a = MatMul (x, u)
        b = MatMul (x, v)
        z = Concat <axis = 1> (a, b)
        c = MatMul (z, w)
        y = Concat <axis = 1> (z, c)
    }"""
    model = Compiled(graph, tmp_path, u=floats(24, 16), v=floats(24, 37, seed=1), w=floats(53, 16, seed=3))
    model.check(1e-5, x=floats(5, 24, seed=2))


def test_what_is_fed_to_a_part_may_be_another_part(tmp_path: Path) -> None:
    graph = """g (float[N, 24] x) => (float[N, 53] y) {
        a = MatMul (x, u)
        b = MatMul (a, v)
        y = Concat <axis = 1> (a, b)
    }"""
    model = Compiled(graph, tmp_path, u=floats(24, 16), v=floats(16, 37, seed=1))
    assert copies(model) == 1
    model.check(1e-5, x=floats(5, 24, seed=2))


@given(st.data())
@settings(max_examples=12, deadline=None)
def test_any_axis_and_any_sizes(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Pools and reductions of random shapes along any axis, with a free batch."""
    axis = data.draw(st.integers(1, 3))
    shape = data.draw(st.lists(st.integers(1, 19), min_size=3, max_size=3))
    own = data.draw(st.lists(st.integers(1, 19), min_size=1, max_size=3))
    parts, feeds, kinds = [], {}, []
    for i, extent in enumerate(own):
        dims = [*shape]
        dims[axis - 1] = extent
        kinds.append(f"float[N, {', '.join(map(str, dims))}] x{i}")
        feeds[f"x{i}"] = floats(2, *dims, seed=i)
        parts.append(f"p{i} = MaxPool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x{i})")
    whole = [*shape]
    whole[axis - 1] = sum(own)
    result = f"float[N, {', '.join(map(str, whole))}] y"
    joined = ", ".join(f"p{i}" for i in range(len(own)))
    graph = f"g ({', '.join(kinds)}) => ({result}) {{ {' '.join(parts)} y = Concat <axis = {axis}> ({joined}) }}"
    Compiled(graph, tmp_path_factory.mktemp("any")).check(**feeds)


def test_a_wrong_place_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = destinations.shifted

    def wrong(function: Any, axis: int, start: int, total: int) -> Any:
        return right(function, axis, max(start - 1, 0), total)

    monkeypatch.setattr(destinations, "shifted", wrong)
    model = Compiled(PRODUCTS.format(width=53, parts="a, c"), tmp_path, u=floats(24, 16), v=floats(24, 37, seed=1))
    with pytest.raises(AssertionError):
        model.check(1e-5, x=floats(5, 24, seed=2))
