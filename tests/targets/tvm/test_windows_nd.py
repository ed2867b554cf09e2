"""Convolution and pooling over any number of axes, beside onnxruntime: several sizes from one library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.targets.tvm.test_lower import Compiled

SIZES = {1: ([9], [12]), 2: ([9, 7], [6, 11]), 3: ([5, 6, 7], [6, 5, 4])}


def floats(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _model(
    node: str, rank: int, folder: Path, dtype: str = "float", opset: int = 17, **constants: np.ndarray[Any, Any]
) -> Compiled:
    dims, out = (", ".join(f"{p}{i}" for i in range(rank)) for p in "DE")
    outputs = f"{dtype}[N, C, {out}] y" + (f", int64[N, C, {out}] i" if "IDX" in node else "")
    names = "y, i" if "IDX" in node else "y"
    graph = f"g ({dtype}[N, 4, {dims}] x) => ({outputs}) {{ {names} = {node.replace('IDX', '')} }}"
    return Compiled(graph, folder, opset, **constants)


CONVOLUTIONS = [
    (1, "Conv <strides = [2], pads = [1, 2], dilations = [2], group = 2> (x, w, b)", (6, 2, 3)),
    (1, 'Conv <strides = [3], auto_pad = "SAME_LOWER"> (x, w, b)', (6, 4, 4)),
    (2, 'Conv <strides = [2, 3], auto_pad = "SAME_UPPER"> (x, w, b)', (6, 4, 3, 4)),
    (3, "Conv <strides = [2, 1, 2], pads = [1, 0, 1, 0, 1, 2]> (x, w, b)", (6, 4, 3, 2, 3)),
    (3, "Conv <group = 4, pads = [1, 1, 1, 1, 1, 1], dilations = [2, 1, 1]> (x, w, b)", (4, 1, 2, 3, 3)),
    (3, 'Conv <group = 2, strides = [2, 2, 2], auto_pad = "SAME_UPPER"> (x, w, b)', (6, 2, 3, 3, 3)),
    (1, "ConvTranspose <strides = [2], pads = [1, 0], output_padding = [1]> (x, w, b)", (4, 3, 3)),
    (2, "ConvTranspose <strides = [2, 2], pads = [3, 3, 3, 3]> (x, w, b)", (4, 3, 3, 3)),
    (2, "ConvTranspose <strides = [2, 2], group = 2, dilations = [2, 1]> (x, w, b)", (4, 3, 3, 3)),
    (3, "ConvTranspose <strides = [2, 1, 2], group = 2, pads = [1, 0, 0, 1, 1, 0]> (x, w, b)", (4, 3, 3, 2, 3)),
    (2, 'ConvTranspose <strides = [3, 2], auto_pad = "SAME_LOWER"> (x, w, b)', (4, 3, 4, 3)),
    (2, "ConvTranspose <strides = [2, 2], output_shape = [15, 14]> (x, w, b)", (4, 3, 4, 3)),
]


@pytest.mark.parametrize("constant", [True, False], ids=["constant weights", "computed weights"])
@pytest.mark.parametrize(("rank", "node", "weight"), CONVOLUTIONS)
def test_convolutions(rank: int, node: str, weight: tuple[int, ...], constant: bool, tmp_path: Path) -> None:
    outputs = weight[1] * (2 if "group = 2" in node else 1) if "Transpose" in node else weight[0]
    values = {"w": floats(*weight, seed=1), "b": floats(outputs, seed=2)}
    if constant:
        model = _model(node, rank, tmp_path, **values)
        feeds: dict[str, Any] = {}
    else:
        dims, out = (", ".join(f"{p}{i}" for i in range(rank)) for p in "DE")
        kinds = f"float[{', '.join(map(str, weight))}] w, float[{outputs}] b"
        model = Compiled(f"g (float[N, 4, {dims}] x, {kinds}) => (float[N, C, {out}] y) {{ y = {node} }}", tmp_path)
        feeds = values
    sizes = SIZES[rank] if "output_shape" not in node else ([7, 7], [7, 6])
    for batch, size in enumerate(sizes, 1):
        model.check(1e-5, x=floats(batch, 4, *size), **feeds)


POOLS = [
    (1, "MaxPool <kernel_shape = [3], strides = [2], pads = [1, 1], ceil_mode = 1> (x)"),
    (3, "MaxPool <kernel_shape = [3, 2, 2], strides = [2, 1, 2], dilations = [1, 2, 1]> (x)"),
    (1, "MaxPool <kernel_shape = [3], strides = [2]> (x) IDX"),
    (2, "MaxPool <kernel_shape = [3, 2], strides = [2, 2], pads = [1, 0, 1, 1], dilations = [2, 1]> (x) IDX"),
    (2, "MaxPool <kernel_shape = [2, 2], storage_order = 1> (x) IDX"),
    (3, "MaxPool <kernel_shape = [2, 2, 2], storage_order = 1> (x) IDX"),
    (2, 'MaxPool <kernel_shape = [3, 3], strides = [2, 2], auto_pad = "SAME_UPPER"> (x)'),
    (1, "AveragePool <kernel_shape = [3], strides = [2], pads = [1, 1], ceil_mode = 1> (x)"),
    (3, "AveragePool <kernel_shape = [3, 2, 2], strides = [2, 1, 2], pads = [1, 0, 0, 1, 1, 1], count_include_pad = 1> (x)"),
    (2, 'AveragePool <kernel_shape = [3, 3], strides = [2, 2], auto_pad = "SAME_LOWER"> (x)'),
    (1, "LpPool <kernel_shape = [3], strides = [2], p = 1> (x)"),
    (2, "LpPool <kernel_shape = [3, 2], pads = [1, 0, 1, 1], p = 3> (x)"),
    (3, "LpPool <kernel_shape = [2, 2, 2]> (x)"),
    (1, "GlobalAveragePool(x)"),
    (3, "GlobalAveragePool(x)"),
    (3, "GlobalMaxPool(x)"),
    (3, "GlobalLpPool(x)"),
    (1, "GlobalLpPool <p = 1> (x)"),
]


@pytest.mark.parametrize(("rank", "node"), POOLS)
def test_pools(rank: int, node: str, tmp_path: Path) -> None:
    model = _model(node, rank, tmp_path)
    for batch, size in enumerate(SIZES[rank], 1):
        model.check(1e-5, x=floats(batch, 4, *size))


@pytest.mark.parametrize("rank", [2, 3])
def test_average_pools_dilate(rank: int, tmp_path: Path) -> None:
    settings = f"kernel_shape = {[2] * rank}, dilations = {[2] * rank}, strides = {[2] * rank}, ceil_mode = 1"
    model = _model(f"AveragePool <{settings}> (x)", rank, tmp_path, opset=19)
    for batch, size in enumerate(SIZES[rank], 1):
        model.check(1e-5, x=floats(batch, 4, *size))


def test_the_first_of_equal_maxima_is_pointed_at(tmp_path: Path) -> None:
    model = _model("MaxPool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x) IDX", 2, tmp_path)
    model.check(x=np.random.default_rng(0).integers(0, 3, (2, 4, 6, 5)).astype(np.float32))


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_maxima_of_bytes(dtype: str, tmp_path: Path) -> None:
    model = _model("MaxPool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]> (x)", 2, tmp_path, dtype)
    low = -128 if dtype == "int8" else 0
    model.check(x=np.random.default_rng(0).integers(low, low + 256, (2, 4, 7, 9)).astype(dtype))


def test_unpooling_puts_maxima_back(tmp_path: Path) -> None:
    model = Compiled(
        """g (float[N, 2, H, W] x) => (float[N, 2, A, B] y) {
            v, i = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x)
            y = MaxUnpool <kernel_shape = [2, 2], strides = [2, 2]> (v, i)
        }""",
        tmp_path,
    )
    for size in ((1, 2, 6, 4), (3, 2, 4, 8)):
        model.check(x=floats(*size))


def test_maxima_of_nothing_but_negative_infinity(tmp_path: Path) -> None:
    model = _model("MaxPool <kernel_shape = [3]> (x)", 1, tmp_path)
    assert np.isneginf(model.engine.run({"x": np.full((1, 4, 6), -np.inf, np.float32)})["y"]).all()
