"""Element types: every value of the short floats and integers, the nearest of them to a number, and who may stand for whom."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx.helper import make_node

from tests.targets.tvm.typed import Compiled, element_type, real

FLOATS = ["bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float4_e2m1fn"]
INTEGERS = ["int4", "uint4", "int2", "uint2"]


def _type(name: str) -> np.dtype[Any]:
    return np.dtype(getattr(ml_dtypes, name))


def _codes(name: str) -> np.ndarray[Any, Any]:
    bits = {"int4": 4, "uint4": 4, "int2": 2, "uint2": 2, "float4_e2m1fn": 4, "bfloat16": 16}.get(name, 8)
    return np.arange(1 << bits, dtype=np.uint16 if bits == 16 else np.uint8).view(_type(name))


def _same(actual: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> None:
    """Equal numbers of equal signs; NaN where NaN is expected."""
    a, b = actual.astype(np.float64), expected.astype(np.float64)
    np.testing.assert_array_equal(a, b)
    number = ~np.isnan(b)
    np.testing.assert_array_equal(np.signbit(a)[number], np.signbit(b)[number])


def _numbers() -> np.ndarray[Any, Any]:
    """float32 of every exponent, ties among them, both zeros, infinities; no NaN, whose sign is nobody's."""
    found = np.concatenate([np.arange(1 << 16, dtype=np.uint32) << 16, np.arange(0, 1 << 32, 65537 * 31, dtype=np.uint32)])
    numbers = found.view(np.float32)
    return numbers[~np.isnan(numbers)]


@pytest.mark.parametrize("name", [*FLOATS, "float8_e8m0fnu", *INTEGERS])
def test_every_element_goes_in_and_out_and_becomes_a_float32(name: str, tmp_path: Path) -> None:
    codes = _codes(name)
    nodes = [make_node("Identity", ["x"], ["y"]), make_node("Cast", ["x"], ["z"], to=onnx.TensorProto.FLOAT)]
    model = Compiled(nodes, [("x", _type(name), ["N"])], [("y", _type(name), ["N"]), ("z", np.float32, ["N"])], tmp_path)
    found = model.engine.run({"x": codes})
    assert found["y"].dtype == _type(name)
    _same(found["y"].astype(np.float32), codes.astype(np.float32))
    _same(found["z"], codes.astype(np.float32))


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("saturate", [0, 1])
def test_a_float_becomes_the_nearest_short_one(name: str, saturate: int, tmp_path: Path) -> None:
    node = make_node("Cast", ["x"], ["y"], to=element_type(_type(name)), saturate=saturate)
    model = Compiled([node], [("x", np.float32, ["N"])], [("y", _type(name), ["N"])], tmp_path)
    numbers = _numbers()
    with np.errstate(all="ignore"):
        wanted = numbers.astype(_type(name))
        if saturate and name.startswith("float8"):
            wanted = onnx.numpy_helper.saturate_cast(numbers, _type(name))
    _same(model.run(x=numbers).astype(np.float32), wanted.astype(np.float32))
    assert np.isnan(model.run(x=np.array([np.nan], np.float32)).astype(np.float32)).all() != (name == "float4_e2m1fn")


def test_a_double_becomes_a_bfloat16_in_one_rounding(tmp_path: Path) -> None:
    """Through float32 a number just above the middle would become the middle, and then the even neighbour below."""
    node = make_node("Cast", ["x"], ["y"], to=onnx.TensorProto.BFLOAT16)
    model = Compiled([node], [("x", np.float64, ["N"])], [("y", ml_dtypes.bfloat16, ["N"])], tmp_path)
    middle = 1 + 2.0**-8
    x = np.array([middle, middle + 2.0**-40, middle - 2.0**-40, -middle - 2.0**-40])
    np.testing.assert_array_equal(model.run(x=x).astype(np.float64), [1, 1 + 2.0**-7, 1, -1 - 2.0**-7])


@pytest.mark.parametrize("mode", ["up", "down", "nearest"])
def test_powers_of_two_round_by_their_mode(mode: str, tmp_path: Path) -> None:
    node = make_node("Cast", ["x"], ["y"], to=onnx.TensorProto.FLOAT8E8M0, round_mode=mode)
    model = Compiled([node], [("x", np.float32, ["N"])], [("y", ml_dtypes.float8_e8m0fnu, ["N"])], tmp_path)
    x = np.abs(_numbers())
    wanted = onnx.numpy_helper.to_float8e8m0(x, True, mode)
    np.testing.assert_array_equal(model.run(x=x).view(np.uint8), wanted.view(np.uint8))


@pytest.mark.parametrize(
    "source", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float16"]
)
def test_numbers_become_integers_and_truths_as_in_c(source: str, tmp_path: Path) -> None:
    """Integers keep their low bits; a float loses its fraction; NaN is true."""
    targets = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "bool", "float32", "float64"]
    nodes = [make_node("Cast", ["x"], [t], to=element_type(t)) for t in targets]
    model = Compiled(nodes, [("x", source, ["N"])], [(t, t, ["N"]) for t in targets], tmp_path)
    if source.startswith("float"):
        x = np.array([0, -0.0, 0.5, 1.9, 2.5, 100.7], source)
    else:
        info = np.iinfo(source)
        x = np.array([info.min, -1 if info.min else 1, 0, 1, 200 % info.max, info.max], source)
    found = model.engine.run({"x": x})
    for target in targets:
        np.testing.assert_array_equal(found[target], x.astype(target), target)
    if source.startswith("float"):
        assert model.engine.run({"x": np.array([np.nan], source)})["bool"].all()


@pytest.mark.parametrize("name", INTEGERS)
def test_short_integers_keep_their_low_bits(name: str, tmp_path: Path) -> None:
    node = make_node("Cast", ["x"], ["y"], to=element_type(_type(name)))
    model = Compiled([node], [("x", np.int32, ["N"])], [("y", _type(name), ["N"])], tmp_path)
    x = np.arange(-300, 300, dtype=np.int32)
    np.testing.assert_array_equal(model.run(x=x).astype(np.int32), x.astype(_type(name)).astype(np.int32))


def test_bits_are_read_as_another_type(tmp_path: Path) -> None:
    nodes = [
        make_node("BitCast", ["x"], ["i"], to=onnx.TensorProto.INT32),
        make_node("BitCast", ["b"], ["h"], to=onnx.TensorProto.UINT16),
    ]
    x, b = real(5), real(5).astype(ml_dtypes.bfloat16)
    inputs: list[Any] = [("x", np.float32, ["N"]), ("b", ml_dtypes.bfloat16, ["N"])]
    found = Compiled(nodes, inputs, [("i", np.int32, ["N"]), ("h", np.uint16, ["N"])], tmp_path, opset=26).engine.run(
        {"x": x, "b": b}
    )
    np.testing.assert_array_equal(found["i"], x.view(np.int32))
    np.testing.assert_array_equal(found["h"], b.view(np.uint16))


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_each_operator_rounds_once_in_half_precision(kind: str, tmp_path: Path) -> None:
    """Fused or not: a sum that is lost in the type is lost, though it is computed in float32."""
    dtype = np.dtype(getattr(ml_dtypes, kind)) if kind == "bfloat16" else np.dtype(kind)
    nodes = [make_node("Add", ["x", "e"], ["s"]), make_node("Sub", ["s", "x"], ["y"])]
    inputs: list[Any] = [("x", dtype, ["N"]), ("e", dtype, ["N"])]
    model = Compiled(nodes, inputs, [("y", dtype, ["N"])], tmp_path)
    x, e = np.full(8, 1, dtype), np.full(8, 2.0**-12, dtype)
    np.testing.assert_array_equal(model.run(x=x, e=e).astype(np.float32), np.zeros(8, np.float32))
    assert model.run(x=x[:0], e=e[:0]).shape == (0,)


@pytest.mark.parametrize("axis", [-1, 0])
def test_softmax_in_half_precision_rounds_what_its_definition_stores(axis: int, tmp_path: Path) -> None:
    """Differences, powers and their sum: ONNX's tests are made so. Rounded at the end alone, some elements differ."""
    node = make_node("Softmax", ["x"], ["y"], axis=axis)
    model = Compiled([node], [("x", np.float16, ["N", "M"])], [("y", np.float16, ["N", "M"])], tmp_path)
    x = real(40, 37, scale=3.0).astype(np.float16)
    difference = (x - x.max(axis=axis, keepdims=True)).astype(np.float32)
    powers = np.exp(difference).astype(np.float16).astype(np.float32)
    total = powers.sum(axis=axis, keepdims=True).astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(model.run(x=x), (powers / total).astype(np.float16))
    exact = np.exp(x.astype(np.float64))
    once = (exact / exact.sum(axis=axis, keepdims=True)).astype(np.float16)
    assert (once != (powers / total).astype(np.float16)).any()


def test_a_product_in_bfloat16_is_summed_in_float32(tmp_path: Path) -> None:
    weight = real(300, 8, seed=1).astype(ml_dtypes.bfloat16)
    model = Compiled(
        [make_node("MatMul", ["x", "w"], ["y"])],
        [("x", weight.dtype, ["N", 300])],
        [("y", weight.dtype, ["N", 8])],
        tmp_path,
        w=weight,
    )
    x = real(5, 300).astype(ml_dtypes.bfloat16)
    exact = x.astype(np.float64) @ weight.astype(np.float64)
    np.testing.assert_allclose(model.run(x=x).astype(np.float64), exact, rtol=2.0**-8, atol=1e-4)


def test_a_constant_shape_is_filled_with_bfloat16(tmp_path: Path) -> None:
    value = onnx.numpy_helper.from_array(np.array([1.5], ml_dtypes.bfloat16))
    nodes = [make_node("Shape", ["x"], ["s"]), make_node("ConstantOfShape", ["s"], ["y"], value=value)]
    model = Compiled(nodes, [("x", np.float32, ["N"])], [("y", ml_dtypes.bfloat16, ["N"])], tmp_path)
    np.testing.assert_array_equal(model.run(x=real(3)).astype(np.float32), [1.5] * 3)


@pytest.mark.parametrize(
    ("kind", "names"), [("bfloat16", "Add"), ("float32", "Sigmoid Mul"), ("float32", "Relu Add"), ("float16", "Gelu")]
)
def test_long_chains_compile_in_time_that_grows_with_their_length(kind: str, names: str, tmp_path: Path) -> None:
    """Each operator reads its operand more than once: fused without bound, twenty would take longer than anyone waits."""
    dtype = np.dtype(getattr(ml_dtypes, kind)) if kind == "bfloat16" else np.dtype(kind)
    chain = names.split() * 10
    value = ["x", *[f"v{i}" for i in range(len(chain))]]
    nodes = [
        make_node(op, [value[i], *(["x"] if op in ("Add", "Mul") else [])], [value[i + 1]], domain="")
        for i, op in enumerate(chain)
    ]
    start = time.process_time()
    model = Compiled(nodes, [("x", dtype, ["N"])], [(value[-1], dtype, ["N"])], tmp_path)
    assert time.process_time() - start < 60
    assert model.run(x=np.ones(8, dtype)).shape == (8,)


def test_what_is_not_less_is_not_always_greater_or_equal(tmp_path: Path) -> None:
    """Fused, a negated comparison stays one: NaN is neither less nor greater."""
    nodes = [make_node("Less", ["a", "b"], ["l"]), make_node("Equal", ["a", "b"], ["e"])]
    nodes += [make_node("Not", ["l"], ["x"]), make_node("Not", ["e"], ["y"])]
    inputs: list[Any] = [("a", np.float32, ["N"]), ("b", np.float32, ["N"])]
    model = Compiled(nodes, inputs, [("x", np.bool_, ["N"]), ("y", np.bool_, ["N"])], tmp_path)
    model.check(a=np.array([np.nan, 1, 1, 2], np.float32), b=np.array([1, np.nan, 1, 1], np.float32))
