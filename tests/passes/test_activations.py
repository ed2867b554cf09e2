"""Activations that became one operator give the same of every number: infinities, NaN, both zeros, tiny and huge ones."""

from __future__ import annotations

import numpy as np
import pytest

from optc.compiler import printer
from optc.compiler.pipeline import Pipeline
from optc.compiler.reference import Reference
from optc.compiler.runner import Options, run

SPECIAL = np.array(
    [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-30, -1e-30, 100, -100, 1e30, -1e30, 3, -3, 0.5, -0.5, 6, 7, 88.5, -88.5, 1],
    np.float32,
)
CONSTANTS = (
    "float zero = {0}, float one = {1}, float six = {6}, float three = {3}, float minus = {-1}, float half = {0.5}, "
    "float slope = {0.25}, float infinite = {inf}, float fifth = {0.2}, float sixth = {0.1666666667}, int64[1] last = {-1}"
)
CASES = {
    "min of max": ("fuse-clip", "a = Max (x, minus) y = Min (a, six)", "Clip"),
    "max of min": ("fuse-clip", "a = Min (x, six) y = Max (a, minus)", "Clip"),
    "relu6": ("fuse-clip", "a = Relu (x) y = Min (a, six)", "Clip"),
    "half bounded": ("fuse-clip", "a = Clip (x, minus) y = Relu (a)", "Clip"),
    "bounded at infinity": ("fuse-clip", "a = Max (x, minus) y = Min (a, infinite)", "Clip"),
    "rectified": ("fuse-clip", "y = Max (x, zero)", "Relu"),
    "relu by clip": ("fuse-clip", "y = Clip (x, zero, infinite)", "Relu"),
    "clip of clip": ("fuse-clip", "a = Clip (x, minus, six) y = Clip (a, zero)", "Clip"),
    "hard sigmoid": ("fuse-hard-swish", "a = Add (x, three) b = Clip (a, zero, six) y = Div (b, six)", "HardSigmoid"),
    "hard sigmoid of a line": ("fuse-hard-swish", "a = Mul (x, fifth) b = Add (a, half) y = Clip (b, zero, one)", "HardSigmoid"),
    "hard swish": ("fuse-hard-swish", "a = Add (x, three) b = Clip (a, zero, six) c = Div (b, six) y = Mul (c, x)", "HardSwish"),
    "sigmoid": ("fuse-sigmoid", "a = Neg (x) b = Exp (a) c = Add (b, one) y = Div (one, c)", "Sigmoid"),
    "gated": ("fuse-sigmoid", "a = Neg (x) b = Exp (a) c = Add (b, one) y = Div (x, c)", "Sigmoid"),
    "leaky": ("fuse-leaky-relu", "a = Mul (x, slope) y = Max (a, x)", "LeakyRelu"),
    "leaky chosen": ("fuse-leaky-relu", "a = Mul (x, slope) b = Greater (x, zero) y = Where (b, x, a)", "LeakyRelu"),
    "leaky sum": ("fuse-leaky-relu", "a = Relu (x) b = Neg (x) c = Relu (b) d = Mul (c, slope) y = Sub (a, d)", "LeakyRelu"),
    "mish": ("fuse-mish", "a = Softplus (x) b = Tanh (a) y = Mul (x, b)", "Mish"),
    "mish spelled out": ("fuse-mish", "a = Exp (x) b = Add (a, one) c = Log (b) d = Tanh (c) y = Mul (x, d)", "Mish"),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("shape", [(1, 1), (20, 1), (1, 20)])
def test_special_numbers(case: str, shape: tuple[int, int]) -> None:
    passes, body, op_type = CASES[case]
    text = f'<ir_version: 10, opset_import: ["" : 18]> net (float[N,C] x) => (float[N,C] y) <{CONSTANTS}> {{ {body} }}'
    before, after = printer.parse(text), printer.parse(text)
    run(Pipeline.parse(passes), after, Options(check="off"))
    assert op_type in {n.op_type for n in after.graph}
    assert len(after.graph) <= len(before.graph)
    values = SPECIAL if np.prod(shape) > 1 else SPECIAL[:1]
    for x in (values.reshape(shape), np.zeros((0, 3), np.float32)):
        a, b = (Reference(m).run({"x": x})["y"] for m in (before, after))
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("form", ["Softmax", "LogSoftmax"])
def test_softmax_of_special_rows(form: str) -> None:
    body = "m = ReduceMax (x, last) d = Sub (x, m) e = Exp (d) s = ReduceSum (e, last) "
    body += "y = Div (e, s)" if form == "Softmax" else "l = Log (s) y = Sub (d, l)"
    text = f'<ir_version: 10, opset_import: ["" : 18]> net (float[N,4] x) => (float[N,4] y) <{CONSTANTS}> {{ {body} }}'
    before, after = printer.parse(text), printer.parse(text)
    run(Pipeline.parse("fuse-softmax"), after, Options(check="off"))
    (node,) = after.graph
    assert node.op_type == form
    inf = np.inf
    rows = np.array([[1e30, 1, 2, 3], [-inf, 0, 1, 2], [-1e30, -1e30, 1, 1], [1000, 1001, -500, 0], [0, 0, 0, 0]], np.float32)
    a, b = (Reference(m).run({"x": rows})["y"] for m in (before, after))
    np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize(
    ("passes", "body"),
    [
        ("fuse-clip", "y = Clip (x, zero)"),  # infinity becomes the largest number
        ("fuse-softmax", "e = Exp (x) s = ReduceSum (e, last) y = Div (e, s)"),  # overflows
        ("fuse-mish", "e = Exp (x) a = Add (e, one) y = Log (a)"),  # overflows
        ("fuse-leaky-relu", "a = Mul (x, three) y = Max (x, a)"),  # a steeper slope
        ("fuse-clip", "a = Min (x, minus) y = Max (a, six)"),  # bounds that cross
    ],
)
def test_what_would_be_another_function_stays(passes: str, body: str) -> None:
    text = f'<ir_version: 10, opset_import: ["" : 18]> net (float[N,4] x) => (float[N,4] y) <{CONSTANTS}> {{ {body} }}'
    model = printer.parse(text)
    expected = [n.op_type for n in model.graph]
    run(Pipeline.parse(passes), model, Options(check="off"))
    assert [n.op_type for n in model.graph] == expected
