"""Slice and Pad with axes, bounds and steps that are fed: one library for all of them, beside onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.targets.tvm.test_lower import Compiled

LEAST, MOST = np.iinfo(np.int64).min, np.iinfo(np.int64).max


def numbers(*shape: int) -> np.ndarray[Any, Any]:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


@pytest.fixture(scope="module")
def ranges(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    graph = """g (float[A, B, 5] x, int64[2] starts, int64[2] ends, int64[2] axes, int64[2] steps) => (float[D, E, F] y) {
        y = Slice(x, starts, ends, axes, steps)
    }"""
    return Compiled(graph, tmp_path_factory.mktemp("ranges"))


@pytest.mark.parametrize(
    ("starts", "ends", "axes", "steps"),
    [
        ([0, 1], [3, 4], [0, 2], [1, 1]),
        ([1, 0], [4, 3], [-1, 0], [2, 1]),
        ([-1, 3], [LEAST, 0], [1, 2], [-1, -2]),
        ([-100, 2], [100, MOST], [2, 1], [3, 1]),
        ([-100, 100], [LEAST, -100], [2, 1], [-1, -3]),
        ([3, 0], [1, 0], [0, 1], [1, 2]),
        ([2, 0], [-1, 1], [0, 1], [-1, 1]),
    ],
)
def test_a_slice_of_fed_ranges(ranges: Compiled, starts: list[int], ends: list[int], axes: list[int], steps: list[int]) -> None:
    given = {"starts": starts, "ends": ends, "axes": axes, "steps": steps}
    for size in ((4, 6, 5), (3, 1, 5), (2, 0, 5)):
        ranges.check(0.0, x=numbers(*size), **{name: np.array(values, np.int64) for name, values in given.items()})


def test_a_step_of_zero_takes_nothing(ranges: Compiled) -> None:
    """It is not valid, and must neither stop the process nor read foreign memory."""
    given = {"starts": [0, 0], "ends": [4, 4], "axes": [0, 1], "steps": [0, 1]}
    found = ranges.engine.run({"x": numbers(4, 6, 5), **{name: np.array(values) for name, values in given.items()}})
    assert found["y"].shape == (0, 4, 5)


@pytest.mark.parametrize("start", [-100, -1, 0, 2, 100])
def test_a_backward_slice_of_a_symbolic_extent_starts_at_an_element(start: int, tmp_path: Path) -> None:
    constants = {"s": np.array([start]), "e": np.array([LEAST]), "a": np.array([0]), "t": np.array([-1])}
    model = Compiled("g (float[N] x) => (float[M] y) { y = Slice(x, s, e, a, t) }", tmp_path, **constants)
    for size in (0, 1, 5):
        model.check(0.0, x=numbers(size))
    fixed = Compiled("g (float[5] x) => (float[M] y) { y = Slice(x, s, e, a, t) }", tmp_path, **constants)
    fixed.check(0.0, x=numbers(5))


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect"])
def test_a_pad_of_fed_axes(mode: str, tmp_path: Path) -> None:
    graph = f"""g (float[A, 4, C] x, int64[4] pads, int64[2] axes) => (float[D, E, F] y) {{
        y = Pad <mode = "{mode}"> (x, pads, v, axes)
    }}"""
    model = Compiled(graph, tmp_path, 18, v=np.array(7, np.float32))
    for axes, pads in (([0, 2], [1, 0, 2, 3]), ([-1, 1], [0, 2, 1, 1]), ([1, -3], [2, 0, 0, 2])):
        model.check(0.0, x=numbers(4, 4, 5), pads=np.array(pads, np.int64), axes=np.array(axes, np.int64))
