"""Reading at computed coordinates, and other windows, beside onnxruntime: several sizes from one library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from tests.targets.tvm.test_lower import Compiled


def floats(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("corners", [0, 1])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
def test_grids(mode: str, padding: str, corners: int, tmp_path: Path) -> None:
    settings = f'mode = "{mode}", padding_mode = "{padding}", align_corners = {corners}'
    graph = f"g (float[N, 2, H, W] x, float[N, A, B, 2] z) => (float[N, 2, A, B] y) {{ y = GridSample <{settings}> (x, z) }}"
    model = Compiled(graph, tmp_path, 20)
    for n, height, width in ((2, 5, 7), (1, 6, 4)):
        model.check(1e-4, x=floats(n, 2, height, width), z=floats(n, 3, 8, 2, seed=1))


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_grids_in_volumes(mode: str, padding: str, tmp_path: Path) -> None:
    settings = f'mode = "{mode}", padding_mode = "{padding}"'
    kinds = "float[N, 2, D, H, W] x, float[N, A, B, C, 3] z"
    graph = f"g ({kinds}) => (float[N, 2, A, B, C] y) {{ y = GridSample <{settings}> (x, z) }}"
    Compiled(graph, tmp_path, 20).check(1e-4, x=floats(2, 2, 4, 5, 6), z=floats(2, 3, 2, 4, 3, seed=1))


@pytest.mark.parametrize("corners", [0, 1])
@pytest.mark.parametrize("size", [(2, 3, 4, 5), (2, 3, 4, 5, 6)])
def test_affine_grids(size: tuple[int, ...], corners: int, tmp_path: Path) -> None:
    rank = len(size) - 2
    dims = ", ".join("ABCD"[: rank + 1])
    graph = (
        f"g (float[N, {rank}, {rank + 1}] t) => (float[{dims}, {rank}] y) {{ y = AffineGrid <align_corners = {corners}> (t, s) }}"
    )
    Compiled(graph, tmp_path, 20, s=np.array(size)).check(1e-5, t=floats(2, rank, rank + 1))


ROIS = np.array([[0, 0, 4, 5], [1.5, 2.5, 9, 6.5], [3, 1, 3.2, 1.1], [-2, -3, 20, 30]], np.float32)


@pytest.mark.parametrize("transform", ["half_pixel", "output_half_pixel"])
@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("ratio", [2, 0])
def test_aligned_regions(ratio: int, mode: str, transform: str, tmp_path: Path) -> None:
    """Of a given number of samples, or (0) of as many as a region is large."""
    settings = f'mode = "{mode}", coordinate_transformation_mode = "{transform}", output_height = 3, output_width = 2'
    graph = f"""g (float[N, 2, H, W] x, float[R, 4] r, int64[R] i) => (float[R, 2, 3, 2] y) {{
        y = RoiAlign <{settings}, sampling_ratio = {ratio}, spatial_scale = 0.5> (x, r, i)
    }}"""
    model = Compiled(graph, tmp_path)
    for n, height, width in ((2, 8, 9), (1, 6, 12)):
        model.check(1e-5, x=floats(n, 2, height, width), r=ROIS, i=np.arange(4) % n)


def test_maxima_of_regions(tmp_path: Path) -> None:
    graph = """g (float[N, 2, H, W] x, float[R, 5] r) => (float[R, 2, 3, 2] y) {
        y = MaxRoiPool <pooled_shape = [3, 2], spatial_scale = 0.5> (x, r)
    }"""
    model = Compiled(graph, tmp_path)
    rois = np.concatenate([np.array([[0], [1], [0], [1]], np.float32), np.abs(ROIS)], 1)
    model.check(x=floats(2, 2, 8, 9), r=rois)


@pytest.mark.parametrize("masked", [False, True])
def test_deformable_convolution(masked: bool, tmp_path: Path) -> None:
    """Beside onnx's evaluator and its rounding."""
    inputs = "x, w, o, b, m" if masked else "x, w, o, b"
    graph = f"""g (float[N, 4, H, W] x, float[N, 36, A, B] o, float[N, 18, A, B] m) => (float[N, 6, A, B] y) {{
        y = DeformConv <group = 2, offset_group = 2, pads = [1, 1, 1, 1], strides = [2, 1], kernel_shape = [3, 3]> ({inputs})
    }}"""
    model = Compiled(graph, tmp_path, 19, w=floats(6, 2, 3, 3, seed=2), b=floats(6, seed=3))
    for n, height, width in ((2, 7, 5), (1, 6, 6)):
        out = ((height - 1) // 2 + 1, width)
        feeds = {"x": floats(n, 4, height, width), "o": floats(n, 36, *out, seed=4), "m": floats(n, 18, *out, seed=5)}
        expected = ReferenceEvaluator(model.proto).run(None, feeds)[0]
        np.testing.assert_allclose(model.engine.run(feeds)["y"], expected, rtol=1e-4, atol=1e-4)


def test_columns_to_images(tmp_path: Path) -> None:
    graph = """g (float[N, 12, L] x) => (float[N, 2, 7, 8] y) {
        y = Col2Im <strides = [2, 1], pads = [1, 0, 0, 1], dilations = [1, 2]> (x, image, block)
    }"""
    model = Compiled(graph, tmp_path, 18, image=np.array([7, 8]), block=np.array([2, 3]))
    for n in (1, 3):
        model.check(1e-6, x=floats(n, 12, 4 * 5))


@pytest.mark.parametrize("size", [1, 3])
def test_local_response(size: int, tmp_path: Path) -> None:
    graph = f"g (float[N, 7, H, W] x) => (float[N, 7, H, W] y) {{ y = LRN <size = {size}, alpha = 0.5, bias = 2.0> (x) }}"
    model = Compiled(graph, tmp_path)
    for shape in ((2, 7, 3, 4), (1, 7, 5, 5)):
        model.check(1e-5, x=floats(*shape))
