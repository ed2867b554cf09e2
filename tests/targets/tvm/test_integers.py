"""Quantized tensors: integer results are onnxruntime's, bit by bit; ties go to even, and what does not fit saturates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx.helper import make_node

from optc.compiler.diagnostics import UserError
from tests.targets.tvm.typed import Compiled, real, whole

KINDS = [(np.uint8, np.uint8), (np.uint8, np.int8), (np.int8, np.int8)]
MS = "com.microsoft"


def _scales(count: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return (np.random.default_rng(seed).random(count) * 0.01 + 0.001).astype(np.float32)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16])
def test_quantization_rounds_ties_to_even_and_saturates(dtype: Any, tmp_path: Path) -> None:
    nodes = [make_node("QuantizeLinear", ["x", "s", "z"], ["q"]), make_node("DequantizeLinear", ["q", "s", "z"], ["y"])]
    outputs: list[Any] = [("q", dtype, ["N"]), ("y", np.float32, ["N"])]
    zero = dtype(np.iinfo(dtype).min + 5)
    model = Compiled(nodes, [("x", np.float32, ["N"])], outputs, tmp_path, opset=21, s=np.float32(0.5), z=zero)
    model.check(x=np.array([0.25, 0.75, 1.25, -0.25, -0.75, 1e9, -1e9, np.inf, -np.inf, 0.0, -0.0], np.float32))
    model.check(x=np.zeros(0, np.float32))
    at = model.run(x=np.array([0.25, 0.75, 1.25], np.float32)).astype(np.int64) - int(zero)
    np.testing.assert_array_equal(at, [0, 2, 2])


@pytest.mark.parametrize("dtype", ["int4", "uint4", "int2", "uint2"])
def test_short_integers_are_quantized_by_block(dtype: str, tmp_path: Path) -> None:
    kind = np.dtype(getattr(ml_dtypes, dtype))
    info = ml_dtypes.iinfo(kind)  # type: ignore[no-untyped-call]
    x = real(4, 7, 3, scale=2)
    scale = _scales(4 * 3 * 3).reshape(4, 3, 3) * 100
    zero = np.random.default_rng(1).integers(info.min, info.max + 1, scale.shape).astype(np.int8).astype(kind)
    attributes = {"axis": 1, "block_size": 3}
    nodes = [
        make_node("QuantizeLinear", ["x", "s", "z"], ["q"], **attributes),
        make_node("DequantizeLinear", ["q", "s", "z"], ["y"], **attributes),
    ]
    outputs: list[Any] = [("q", kind, None), ("y", np.float32, None)]
    for shape in (["A", 7, 3], ["A", "B", 3]):
        model = Compiled(nodes, [("x", np.float32, shape)], outputs, tmp_path, s=scale, z=zero)
        wide_s, wide_z = (np.repeat(a, 3, 1)[:, :7] for a in (scale, zero.astype(np.int32)))
        wanted = np.clip(np.rint(x / wide_s).astype(np.int32) + wide_z, info.min, info.max)
        found = model.engine.run({"x": x})
        np.testing.assert_array_equal(found["q"].astype(np.int32), wanted)
        np.testing.assert_array_equal(found["y"], (wanted - wide_z).astype(np.float32) * wide_s)


@pytest.mark.parametrize(("a", "b"), KINDS)
def test_integer_products_with_zero_points(a: Any, b: Any, tmp_path: Path) -> None:
    """One zero point for A, one a column of B; any batch, and none."""
    weight, points = whole(b, 37, 50, seed=1), whole(b, 50, seed=2)
    node = make_node("MatMulInteger", ["a", "b", "az", "bz"], ["y"])
    model = Compiled(
        [node],
        [("a", a, ["N", "M", 37])],
        [("y", np.int32, None)],
        tmp_path,
        21,
        b=weight,
        az=a(-3 if a == np.int8 else 253),
        bz=points,
    )
    model.check(a=whole(a, 2, 3, 37))
    assert model.run(a=whole(a, 0, 3, 37)).shape == (0, 3, 50)
    scales = {"as": np.float32(0.02), "bs": _scales(50), "ys": np.float32(0.5), "yz": a(4)}
    node = make_node("QLinearMatMul", ["a", "as", "az", "b", "bs", "bz", "ys", "yz"], ["y"])
    Compiled([node], [("a", a, ["N", "M", 37])], [("y", a, None)], tmp_path, 21, b=weight, az=a(5), bz=points, **scales).check(
        a=whole(a, 2, 3, 37)
    )


def test_run_time_weights_and_vectors(tmp_path: Path) -> None:
    node = make_node("MatMulInteger", ["a", "b"], ["y"])
    for shapes in (((37,), (37, 5)), ((3, 37), (37,)), ((2, 1, 3, 37), (4, 37, 5))):
        inputs: list[Any] = [("a", np.uint8, list(shapes[0])), ("b", np.int8, list(shapes[1]))]
        model = Compiled([node], inputs, [("y", np.int32, None)], tmp_path, 21)
        a, b = whole(np.uint8, *shapes[0]), whole(np.int8, *shapes[1])
        np.testing.assert_array_equal(model.run(a=a, b=b), a.astype(np.int32) @ b.astype(np.int32))


WINDOWS: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((9,), (3,), {"pads": [1, 2], "strides": [2]}),
    ((7, 8), (3, 2), {"dilations": [2, 1], "pads": [1, 0, 2, 1], "group": 2}),
    ((9, 7), (3, 3), {"pads": [1] * 4, "group": 4}),
    ((9, 7), (3, 3), {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    ((5, 6, 4), (2, 3, 2), {"pads": [1] * 6, "strides": [1, 2, 1]}),
    ((3, 3), (3, 3), {}),
]


@pytest.mark.parametrize(("x", "w"), KINDS)
@pytest.mark.parametrize(("size", "kernel", "attributes"), WINDOWS)
def test_integer_convolutions(x: Any, w: Any, size: Any, kernel: Any, attributes: dict[str, Any], tmp_path: Path) -> None:
    """Of any size; what is padded is the zero point."""
    weight = whole(w, 8, 4 // attributes.get("group", 1), *kernel, seed=1)
    shape: list[int | str] = ["N", 4, *[f"S{i}" for i in range(len(size))]]
    points = np.zeros(8, w) if w == np.int8 else np.full(8, 128, w)
    known = {"xs": np.float32(0.02), "xz": x(3), "w": weight, "ws": _scales(8), "wz": points, "ys": np.float32(0.05), "yz": x(7)}
    bias = np.arange(-4, 4, dtype=np.int32) * 300
    node = make_node("QLinearConv", ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"], ["y"], **attributes)
    Compiled([node], [("x", x, shape)], [("y", x, None)], tmp_path, 21, b=bias, **known).check(x=whole(x, 2, 4, *size))


def test_an_integer_convolution_gives_its_sums(tmp_path: Path) -> None:
    node = make_node("ConvInteger", ["x", "w", "xz", "wz"], ["y"], pads=[1] * 4)
    known = {"w": whole(np.uint8, 5, 3, 3, 3), "xz": np.uint8(9), "wz": np.uint8(11)}
    model = Compiled([node], [("x", np.uint8, ["N", 3, "H", "W"])], [("y", np.int32, None)], tmp_path, 21, **known)
    model.check(x=whole(np.uint8, 2, 3, 6, 5))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("op", ["QLinearAdd", "QLinearMul"])
def test_every_pair_of_quantized_numbers(op: str, dtype: Any, tmp_path: Path) -> None:
    every = np.arange(np.iinfo(dtype).min, np.iinfo(dtype).max + 1)
    a, b = (g.astype(dtype) for g in np.meshgrid(every, every))
    known = {
        "as": np.float32(0.013),
        "az": dtype(7),
        "bs": np.float32(0.031),
        "bz": dtype(90),
        "cs": np.float32(0.05),
        "cz": dtype(3),
    }
    node = make_node(op, ["a", "as", "az", "b", "bs", "bz", "cs", "cz"], ["y"], domain=MS)
    Compiled([node], [("a", dtype, ["N", "M"]), ("b", dtype, ["N", "M"])], [("y", dtype, None)], tmp_path, 21, **known).check(
        a=a, b=b
    )


FUNCTIONS: list[tuple[str, dict[str, Any], list[int | str], tuple[int, ...]]] = [
    ("QLinearSigmoid", {}, ["N"], (256,)),
    ("QLinearLeakyRelu", {"alpha": 0.1}, ["N"], (256,)),
    ("QLinearAveragePool", {"kernel_shape": [3, 3], "pads": [1] * 4}, ["N", 5, 9, 7], (8, 5, 9, 7)),
    ("QLinearAveragePool", {"kernel_shape": [2, 3], "channels_last": 1}, ["N", 5, 9, 7], (8, 5, 9, 7)),
    ("QLinearGlobalAveragePool", {}, ["N", 5, "H", "W"], (8, 5, 9, 7)),
    ("QLinearSoftmax", {"opset": 13}, ["N", 33], (20, 33)),
]


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize(("op", "attributes", "shape", "size"), FUNCTIONS)
def test_functions_of_quantized_tensors(
    op: str, attributes: dict[str, Any], shape: list[int | str], size: tuple[int, ...], dtype: Any, tmp_path: Path
) -> None:
    known = {"xs": np.float32(0.05), "xz": dtype(9), "ys": np.float32(1 / 64), "yz": dtype(3)}
    node = make_node(op, ["x", "xs", "xz", "ys", "yz"], ["y"], domain=MS, **attributes)
    Compiled([node], [("x", dtype, shape)], [("y", dtype, None)], tmp_path, 21, **known).check(x=whole(dtype, *size))


def test_joined_parts_take_the_scale_of_the_whole(tmp_path: Path) -> None:
    known = {"ys": np.float32(0.04), "yz": np.uint8(3), "as": np.float32(0.05), "az": np.uint8(9)}
    node = make_node("QLinearConcat", ["ys", "yz", "a", "as", "az", "b", "ys", "yz"], ["y"], domain=MS, axis=1)
    inputs: list[Any] = [("a", np.uint8, ["N", 4]), ("b", np.uint8, ["N", "M"])]
    Compiled([node], inputs, [("y", np.uint8, None)], tmp_path, 21, **known).check(
        a=whole(np.uint8, 64, 4), b=whole(np.uint8, 64, 3)
    )


def test_products_that_end_in_float32(tmp_path: Path) -> None:
    weight, points, bias = whole(np.int8, 37, 50), whole(np.int8, 50, seed=1), real(50)
    node = make_node("DynamicQuantizeMatMul", ["x", "b", "bs", "bz", "c"], ["y"], domain=MS)
    known: dict[str, Any] = {"b": weight, "bs": _scales(50), "bz": points, "c": bias}
    Compiled([node], [("x", np.float32, ["N", 37])], [("y", np.float32, None)], tmp_path, 21, **known).check(1e-6, x=real(6, 37))
    node = make_node("MatMulIntegerToFloat", ["x", "b", "xs", "bs", "xz", "bz", "c"], ["y"], domain=MS)
    known |= {"xs": np.float32(0.02), "xz": np.uint8(5)}
    Compiled([node], [("x", np.uint8, ["N", 37])], [("y", np.float32, None)], tmp_path, 21, **known).check(
        1e-6, x=whole(np.uint8, 6, 37)
    )
    node = make_node("QGemm", ["x", "xs", "xz", "b", "s", "z", "c", "ys", "yz"], ["y"], domain=MS, transB=1, alpha=0.5)
    more = {
        "xs": np.float32(0.02),
        "xz": np.uint8(5),
        "b": np.ascontiguousarray(weight.T),
        "s": np.float32(0.01),
        "z": np.int8(3),
    }
    more |= {"c": np.arange(50, dtype=np.int32) * 20, "ys": np.float32(0.5), "yz": np.uint8(4)}
    Compiled([node], [("x", np.uint8, ["N", 37])], [("y", np.uint8, None)], tmp_path, 21, **more).check(x=whole(np.uint8, 6, 37))


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("points", [False, True])
def test_packed_weights_of_few_bits(bits: int, points: bool, tmp_path: Path) -> None:
    depth, width, size = 50, 24, 16
    blocks = -(-depth // size)
    known: dict[str, Any] = {"b": whole(np.uint8, width, blocks, size * bits // 8), "s": np.abs(real(width, blocks))}
    if points:
        known["z"] = whole(np.uint8, width, -(-blocks * bits // 8))
    node = make_node("MatMulNBits", ["x", *known], ["y"], domain=MS, K=depth, N=width, bits=bits, block_size=size)
    Compiled([node], [("x", np.float32, ["N", "M", depth])], [("y", np.float32, None)], tmp_path, 21, **known).check(
        1e-6, x=real(2, 3, depth)
    )


def test_packed_weights_from_the_caller_are_refused(tmp_path: Path) -> None:
    node = make_node("MatMulNBits", ["x", "b", "s"], ["y"], domain=MS, K=32, N=4, bits=4, block_size=16)
    inputs: list[Any] = [("x", np.float32, ["N", 32]), ("b", np.uint8, [4, 2, 8]), ("s", np.float32, [4, 2])]
    with pytest.raises(UserError, match="weights are computed at run time"):
        Compiled([node], inputs, [("y", np.float32, None)], tmp_path, 21)


def test_the_sums_of_one_column_are_kept_apart(tmp_path: Path) -> None:
    """An epilogue over an axis of one element once vectorized the loop around its reduction: lanes shared one sum."""
    nodes = [make_node("Conv", ["x", "w", "b"], ["y"], group=4)]
    inputs: list[Any] = [("x", np.float32, [2, 4, 4]), ("w", np.float32, [4, 1, 4]), ("b", np.float32, [4])]
    Compiled(nodes, inputs, [("y", np.float32, None)], tmp_path, 21).check(
        1e-6, x=real(2, 4, 4), w=real(4, 1, 4, seed=1), b=real(4, seed=2)
    )


def test_floats_of_8_bits_divide_in_the_precision_that_is_asked_for(tmp_path: Path) -> None:
    node = make_node(
        "QuantizeLinear",
        ["x", "s"],
        ["y"],
        output_dtype=onnx.TensorProto.FLOAT8E4M3FN,
        precision=onnx.TensorProto.FLOAT,
        saturate=0,
    )
    model = Compiled([node], [("x", np.float16, ["N"])], [("y", ml_dtypes.float8_e4m3fn, ["N"])], tmp_path, s=np.float16(3))
    x = (real(200, scale=500)).astype(np.float16)
    wanted = (x.astype(np.float32) / np.float32(3)).astype(ml_dtypes.float8_e4m3fn)
    np.testing.assert_array_equal(model.run(x=x).view(np.uint8), wanted.view(np.uint8))


@pytest.mark.parametrize(("fmod", "dtype"), [(0, np.float32), (1, np.float32), (1, np.float64), (0, np.int16), (1, np.int64)])
def test_remainders(fmod: int, dtype: Any, tmp_path: Path) -> None:
    inputs: list[Any] = [("a", dtype, ["N"]), ("b", dtype, ["N"])]
    model = Compiled([make_node("Mod", ["a", "b"], ["y"], fmod=fmod)], inputs, [("y", dtype, ["N"])], tmp_path, 24)
    a, b = np.array([7, -7, 7, -7, 0, 6], dtype), np.array([4, 4, -4, -4, -3, 3], dtype)
    np.testing.assert_array_equal(model.run(a=a, b=b), np.fmod(a, b) if fmod else np.mod(a, b))
    if dtype == np.float32:
        far = np.array([1e30], dtype), np.array([3e-5], dtype)
        np.testing.assert_array_equal(model.run(a=far[0], b=far[1]), np.fmod(*far))
