"""Resize and Upsample beside onnxruntime, several sizes from one library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.targets.tvm.test_lower import Compiled


def floats(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _scaled(settings: str, scales: list[float], folder: Path, opset: int = 18, roi: list[float] | None = None) -> Compiled:
    graph = f"g (float[N, 2, H, W] x) => (float[N, 2, A, B] y) {{ y = Resize <{settings}> (x, roi, scales) }}"
    return Compiled(graph, folder, opset, roi=np.array(roi or [], np.float32), scales=np.array(scales, np.float32))


def _several(model: Compiled, tolerance: float = 2e-5) -> None:
    for size in ((2, 2, 6, 8), (1, 2, 12, 10)):
        model.check(tolerance, x=floats(*size))


@pytest.mark.parametrize("scales", [[1, 1, 2, 1.5], [1, 1, 0.5, 0.5]], ids=["up", "down"])
@pytest.mark.parametrize("transform", ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel", "half_pixel_symmetric"])
@pytest.mark.parametrize("extra", ["", ", exclude_outside = 1, cubic_coeff_a = -0.5"])
def test_cubic(extra: str, transform: str, scales: list[float], tmp_path: Path) -> None:
    settings = f'mode = "cubic", coordinate_transformation_mode = "{transform}"{extra}'
    _several(_scaled(settings, scales, tmp_path, 19))


@pytest.mark.parametrize("rounding", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
@pytest.mark.parametrize("transform", ["half_pixel", "asymmetric", "align_corners"])
def test_nearest(transform: str, rounding: str, tmp_path: Path) -> None:
    settings = f'mode = "nearest", coordinate_transformation_mode = "{transform}", nearest_mode = "{rounding}"'
    _several(_scaled(settings, [1, 1, 0.5, 2], tmp_path))


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("scales", [[1, 1, 0.5, 0.25], [1, 1, 0.5, 2]])
@pytest.mark.parametrize("excluded", [0, 1])
def test_antialias(excluded: int, mode: str, scales: list[float], tmp_path: Path) -> None:
    _several(_scaled(f'mode = "{mode}", antialias = 1, exclude_outside = {excluded}', scales, tmp_path))


@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
def test_regions_of_interest(mode: str, tmp_path: Path) -> None:
    settings = f'mode = "{mode}", coordinate_transformation_mode = "tf_crop_and_resize", extrapolation_value = 7.0'
    _several(_scaled(settings, [1, 1, 1.5, 0.5], tmp_path, roi=[0, 0, 0.2, -0.1, 1, 1, 0.9, 1.2]), 1e-4)


def test_a_region_that_is_computed(tmp_path: Path) -> None:
    graph = """g (float[N, 2, H, W] x, float[8] roi) => (float[N, 2, 5, 4] y) {
        y = Resize <mode = "linear", coordinate_transformation_mode = "tf_crop_and_resize"> (x, roi, none, sizes)
    }"""
    model = Compiled(graph, tmp_path, 18, **_sizes_of(5, 4))
    for right in (0.5, 0.9):
        model.check(1e-4, x=floats(2, 2, 6, 8), roi=np.array([0, 0, 0.1, 0.1, 1, 1, right, 0.8], np.float32))


def _sizes_of(height: int, width: int) -> dict[str, np.ndarray[Any, Any]]:
    return {"none": np.zeros(0, np.float32), "sizes": np.array([2, 2, height, width], np.int64)}


def test_sizes_of_another_input(tmp_path: Path) -> None:
    graph = """g (float[N, 2, H, W] x, float[N, 2, A, B] z) => (float[N, 2, A, B] y) {
        sizes = Shape(z)
        y = Resize <mode = "linear"> (x, none, none, sizes)
    }"""
    model = Compiled(graph, tmp_path, 18, none=np.zeros(0, np.float32))
    model.check(2e-5, x=floats(2, 2, 6, 8), z=floats(2, 2, 9, 5))
    model.check(2e-5, x=floats(1, 2, 4, 3), z=floats(1, 2, 2, 7))


@pytest.mark.parametrize("policy", ["not_larger", "not_smaller"])
def test_the_aspect_ratio_is_kept(policy: str, tmp_path: Path) -> None:
    graph = f"""g (float[2, 2, 6, 8] x) => (float[2, 2, A, B] y) {{
        y = Resize <mode = "nearest", axes = [3, 2], keep_aspect_ratio_policy = "{policy}"> (x, none, none, sizes)
    }}"""
    none, sizes = np.zeros(0, np.float32), np.array([11, 9], np.int64)
    Compiled(graph, tmp_path, 18, none=none, sizes=sizes).check(x=floats(2, 2, 6, 8))


def test_volumes(tmp_path: Path) -> None:
    graph = 'g (float[N, 2, D, H, W] x) => (float[N, 2, A, B, C] y) { y = Resize <mode = "linear"> (x, none, scales) }'
    constants = {"none": np.zeros(0, np.float32), "scales": np.array([1, 1, 2, 0.5, 1.5], np.float32)}
    model = Compiled(graph, tmp_path, 18, **constants)
    for size in ((1, 2, 3, 4, 6), (2, 2, 5, 6, 4)):
        model.check(2e-5, x=floats(*size))


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("opset", [7, 9])
def test_upsample(opset: int, mode: str, tmp_path: Path) -> None:
    given = (f'Upsample <mode = "{mode}", scales = [1.0, 1.0, 2.0, 3.0]> (x)', {})
    if opset == 9:
        given = (f'Upsample <mode = "{mode}"> (x, scales)', {"scales": np.array([1, 1, 2, 3], np.float32)})
    graph = f"g (float[N, 2, H, W] x) => (float[N, 2, A, B] y) {{ y = {given[0]} }}"
    _several(Compiled(graph, tmp_path, opset, **given[1]))


@pytest.mark.parametrize("extra", ["", ", antialias = 1"])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_scales_that_are_fed(mode: str, extra: str, tmp_path: Path) -> None:
    """One library for all of them; a stretched filter has as many taps as the scale asks for."""
    smooth = extra and mode != "nearest"
    graph = f"""g (float[N, 2, H, W] x, float[2] s) => (float[N, 2, A, B] y) {{
        y = Resize <mode = "{mode}", axes = [3, -2] {extra if smooth else ""}> (x, none, s)
    }}"""
    model = Compiled(graph, tmp_path, 18, none=np.zeros(0, np.float32))
    for scales in ([2, 1.5], [0.5, 0.25], [1, 3.2], [0.6, 1]):
        model.check(2e-5, x=floats(2, 2, 12, 10), s=np.array(scales, np.float32))


@pytest.mark.parametrize("transform", ["asymmetric", "align_corners", "half_pixel_symmetric", "pytorch_half_pixel"])
def test_coordinates_by_scales_that_are_fed(transform: str, tmp_path: Path) -> None:
    graph = f"""g (float[N, 2, H, W] x, float[4] s) => (float[N, 2, A, B] y) {{
        y = Resize <mode = "linear", coordinate_transformation_mode = "{transform}"> (x, none, s)
    }}"""
    model = Compiled(graph, tmp_path, 19, none=np.zeros(0, np.float32))
    for scales in ([1, 1, 2, 1.5], [1, 1, 0.5, 0.7], [1, 1, 1, 1]):
        model.check(2e-5, x=floats(2, 2, 12, 10), s=np.array(scales, np.float32))


@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_antialias_to_sizes_that_are_fed(mode: str, tmp_path: Path) -> None:
    graph = f"""g (float[N, 2, H, W] x, int64[4] s) => (float[N, 2, A, B] y) {{
        y = Resize <mode = "{mode}", antialias = 1> (x, none, none, s)
    }}"""
    model = Compiled(graph, tmp_path, 18, none=np.zeros(0, np.float32))
    for height, width in ((3, 5), (7, 20), (12, 4)):
        model.check(2e-5, x=floats(2, 2, 12, 10), s=np.array([2, 2, height, width]))


@pytest.mark.parametrize("mode", ["linear", "nearest"])
@pytest.mark.parametrize("policy", ["not_larger", "not_smaller"])
def test_the_aspect_ratio_is_kept_by_sizes_that_are_fed(policy: str, mode: str, tmp_path: Path) -> None:
    graph = f"""g (float[N, 2, H, W] x, int64[2] s) => (float[N, 2, A, B] y) {{
        y = Resize <mode = "{mode}", axes = [3, 2], keep_aspect_ratio_policy = "{policy}"> (x, none, none, s)
    }}"""
    model = Compiled(graph, tmp_path, 18, none=np.zeros(0, np.float32))
    for size, wanted in (((2, 2, 6, 8), [11, 9]), ((1, 2, 5, 7), [4, 3]), ((1, 2, 4, 4), [4, 4])):
        model.check(2e-5, x=floats(*size), s=np.array(wanted))


def test_an_upsample_by_fed_scales(tmp_path: Path) -> None:
    model = Compiled("g (float[N, 2, H, W] x, float[4] s) => (float[N, 2, A, B] y) { y = Upsample(x, s) }", tmp_path, 9)
    for scales in ([1, 1, 2, 3], [1, 1, 1.5, 2]):
        model.check(0.0, x=floats(1, 2, 4, 6), s=np.array(scales, np.float32))
