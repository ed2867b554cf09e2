"""Arithmetic that looks like nothing: zeros with signs, NaN, integers that wrap, what is folded at compile time."""

from __future__ import annotations

import numpy as np

from .case import Case

X = "(float[N,3] x) => (float[N,3] y)"
CONSTANTS = "float zero = {0}, float negative = {-0.0}, float one = {1}, float two = {2}, float half = {0.5}, float nan = {nan}"


def _sum(name: str, body: str, weights: str = CONSTANTS, header: str = X, opset: int = 17) -> Case:
    return Case(f"arithmetic: {name}", header, body, weights, opset, bitwise="the sign of zero" in name)


ARITHMETIC = (
    _sum("x·0", "y = Mul (x, zero)"),
    _sum("0·x, by a vector", "y = Mul (k, x)", "float[3] k = {0, 0, 0}"),
    _sum("0/x", "y = Div (zero, x)"),
    _sum("x - x", "y = Sub (x, x)"),
    _sum("x/x", "y = Div (x, x)"),
    _sum("x + 0, the sign of zero", "a = Add (x, zero) y = Div (one, a)"),
    _sum("x + -0, the sign of zero", "a = Add (x, negative) y = Div (one, a)"),
    _sum("0 + x, the sign of zero", "a = Add (zero, x) y = Div (one, a)"),
    _sum("x - 0, the sign of zero", "a = Sub (x, zero) y = Div (one, a)"),
    _sum("x - -0, the sign of zero", "a = Sub (x, negative) y = Div (one, a)"),
    _sum("0 - x, the sign of zero", "a = Sub (zero, x) y = Div (one, a)"),
    _sum("x·-1, the sign of zero", "m = Neg (one) a = Mul (x, m) y = Div (one, a)"),
    _sum("-(-x), the sign of zero", "a = Neg (x) b = Neg (a) y = Div (one, b)"),
    _sum("|-x|", "a = Neg (x) b = Abs (a) y = Div (one, b)"),
    _sum(
        "0 and -0 are no common subexpression",
        "a = Max (x, zero) b = Max (x, negative) c = Div (one, zero) "
        "d = Div (one, negative) e = Sub (c, d) f = Add (a, b) y = Add (f, e)",
    ),
    _sum("x^0", "y = Pow (x, zero)"),
    _sum("x^1", "y = Pow (x, one)"),
    _sum("x^2", "y = Pow (x, two)"),
    _sum("x^½ of negative numbers", "y = Pow (x, half)"),
    _sum("√(x²)", "a = Mul (x, x) y = Sqrt (a)"),
    _sum("(√x)²", "a = Sqrt (x) y = Mul (a, a)"),
    _sum("log of exp", "a = Exp (x) y = Log (a)"),
    _sum("exp of log", "a = Log (x) y = Exp (a)"),
    _sum("1/(1/x)", "a = Reciprocal (x) y = Reciprocal (a)"),
    _sum("(x·2)/2 of integers that wrap", "a = Mul (x, k) y = Div (a, k)", "int32 k = {2}", "(int32[N,3] x) => (int32[N,3] y)"),
    _sum("(x/2)·2 of integers", "a = Div (x, k) y = Mul (a, k)", "int32 k = {2}", "(int32[N,3] x) => (int32[N,3] y)"),
    _sum(
        "x/2/3 of integers", "a = Div (x, k) y = Div (a, l)", "int32 k = {2}, int32 l = {-3}", "(int32[N,3] x) => (int32[N,3] y)"
    ),
    _sum("x + 1 - 1 of large floats", "a = Add (x, big) y = Sub (a, big)", "float big = {33554432}"),
    _sum("NaN is not equal to itself", "a = IsNaN (x) b = Equal (x, x) c = Not (b) d = Xor (a, c) y = Cast <to = 1> (d)"),
    _sum("NaN constants", "a = Max (x, nan) b = Equal (nan, nan) c = Cast <to = 1> (b) y = Add (x, c)"),
    _sum(
        "NaN constants twice",
        "a = Add (x, nan) b = Add (x, other) c = IsNaN (a) d = IsNaN (b) e = And (c, d) y = Cast <to = 1> (e)",
        "float nan = {nan}, float other = {nan}",
    ),
    _sum(
        "comparisons and their negation",
        "a = Less (x, one) b = Not (a) c = GreaterOrEqual (x, one) d = Xor (b, c) y = Cast <to = 1> (d)",
    ),
    _sum("x < x", "a = Less (x, x) b = LessOrEqual (x, x) c = Xor (a, b) y = Cast <to = 1> (c)"),
    _sum("Where of a comparison as Max", "a = Greater (x, one) y = Where (a, x, one)"),
    _sum("Relu of Relu, and of -x", "a = Relu (x) b = Relu (a) c = Neg (x) d = Relu (c) y = Sub (b, d)"),
    _sum("infinities that cancel", "y = Sub (x, inf)", "float inf = {inf}"),
    _sum("an infinity times zero, folded", "a = Mul (inf, zero) y = Add (x, a)", "float inf = {inf}, float zero = {0}"),
    _sum("Sum and Mean of one value twice", "a = Sum (x, x) b = Mean (x, x) y = Sub (a, b)"),
    _sum("a distributed product", "a = Mul (x, two) b = Mul (x, inf) y = Add (a, b)", "float two = {2}, float inf = {inf}"),
)


def _folded(name: str, body: str, weights: str, opset: int = 17, evaluator: bool = False) -> Case:
    """`r` is computed from constants alone, and added to what is fed as a double."""
    full = f"{body} d = Cast <to = 11> (r) y = Add (x, d)"
    return Case(f"folded: {name}", "(double[N,1] x) => (y)", full, weights, opset, (1, 3), evaluator=evaluator)


def _pair(op: str, dtype: str, a: str, b: str, attributes: str = "") -> Case:
    size = len(a.split(","))
    weights = f"{dtype}[{size}] a = {{{a}}}, {dtype}[{size}] b = {{{b}}}"
    return _folded(f"{op}{attributes} of {dtype}", f"r = {op} {attributes} (a, b)", weights)


# onnxruntime computes a chain of float16 in float32, and drops the casts between
HALVES = "float[4] f = {2049, 0.1, 65504, 0.00001}, float[4] g = {1, 0.2, 65504, 0.5}"

FOLDED = (
    _pair("Div", "int32", "7, -7, 7, -7", "2, 2, -2, -2"),
    _pair("Div", "int64", "9223372036854775807, -9, 5, -5", "2, 4, -3, 3"),
    _pair("Mod", "int32", "7, -7, 7, -7", "3, 3, -3, -3"),
    _pair("Mod", "int32", "7, -7, 7, -7", "3, 3, -3, -3", "<fmod = 1>"),
    _pair("Mod", "float", "7.5, -7.5, 7.5, -7.5", "3, 3, -3, -3", "<fmod = 1>"),
    _pair("Add", "uint8", "250, 255, 1", "10, 255, 2"),
    _pair("Sub", "uint8", "1, 0, 7", "2, 255, 7"),
    _pair("Mul", "uint8", "16, 255, 3", "16, 255, 5"),
    _pair("Add", "int8", "127, -128, 3", "1, -1, 5"),
    _pair("Mul", "int32", "65536, 2147483647, -5", "65536, 2, 7"),
    _pair("Add", "int64", "9223372036854775807, 1", "1, 2"),
    _pair("Add", "uint64", "18446744073709551615, 1", "0, 2"),
    _pair("Div", "uint64", "18446744073709551615, 1", "3, 2"),
    _pair("Pow", "int32", "2, -3, 0", "10, 3, 0"),
    _pair("Pow", "float", "0, -2, 4", "0, 3, 0.5"),
    _pair("Max", "float", "nan, 1, -0.0", "1, nan, 0"),
    _pair("Min", "int64", "5, -5", "3, 7"),
    _folded("(a·b)/2 of int32 that wraps", "m = Mul (a, a) r = Div (m, k)", "int32 a = {65536}, int32 k = {2}"),
    _folded("Cast of a difference of uint8 that wraps", "s = Sub (a, b) r = Cast <to = 6> (s)", "uint8 a = {1}, uint8 b = {2}"),
    _folded("Cast of int64 to int32 that wraps", "s = Cast <to = 6> (a) r = Cast <to = 7> (s)", "int64 a = {4294967303}"),
    _folded("Cast of int64 to uint8 that wraps", "s = Cast <to = 2> (a) r = Cast <to = 7> (s)", "int64[2] a = {-1, 256}"),
    _folded("Cast of int64 to bool", "s = Cast <to = 9> (a) r = Cast <to = 7> (s)", "int64[3] a = {-1, 256, 0}"),
    _folded("Cast of int64 to float and back", "s = Cast <to = 1> (a) r = Cast <to = 7> (s)", "int64[2] a = {16777217, 3}"),
    _folded("Neg and Abs of the least integer", "s = Neg (a) r = Abs (s)", "int64 a = {-9223372036854775808}"),
    _pair("BitShift", "uint8", "255, 3, 1", "1, 2, 7", '<direction = "LEFT">'),
    _pair("BitShift", "uint32", "255, 3, 4294967295", "1, 2, 31", '<direction = "RIGHT">'),
    _pair("Equal", "float", "nan, 0, inf", "nan, -0.0, inf"),
    _pair("Less", "int64", "-1, 5", "1, -5"),
    _folded(
        "Add of float16", f"{(cast := 'a = Cast <to = 10> (f) b = Cast <to = 10> (g)')} r = Add (a, b)", HALVES, evaluator=True
    ),
    _folded("Mul of float16 that overflows", f"{cast} r = Mul (a, b)", HALVES, evaluator=True),
    _folded("a sum of float16", f"{cast} c = Min (a, b) r = ReduceMean <keepdims = 0> (c)", HALVES, evaluator=True),
    _folded("Round to even", "r = Round (a)", "float[6] a = {0.5, 1.5, 2.5, -0.5, -1.5, -2.5}"),
    _folded(
        "Floor, Ceil and Sign",
        "b = Floor (a) c = Ceil (a) s = Sign (a) t = Sum (b, c) r = Add (t, s)",
        "float[4] a = {-0.5, 0.5, -0.0, -2}",
    ),
    _folded("Sqrt and Log of negative numbers", "b = Sqrt (a) c = Log (a) r = Add (b, c)", "float[3] a = {-1, 0, 4}"),
    _folded("ArgMax of ties", "r = ArgMax <axis = 0, keepdims = 0> (a)", "float[4] a = {1, 3, 3, 2}"),
    _folded("ArgMax of ties, the last", "r = ArgMax <axis = 0, select_last_index = 1> (a)", "float[4] a = {1, 3, 3, 2}"),
    _folded("ArgMin of ties", "i = ArgMin <axis = -1, keepdims = 0> (a) r = Neg (i)", "float[2,3] a = {1, 1, 3, 2, 0, 0}"),
    _folded("TopK of ties", "v, i = TopK (a, k) r = Add (i, i)", "float[5] a = {1, 3, 3, 2, 3}, int64[1] k = {3}"),
    _folded("TopK, the smallest", "v, r = TopK <largest = 0> (a, k)", "float[5] a = {1, 3, 0, 2, 0}, int64[1] k = {3}"),
    _folded(
        "CumSum, exclusive and reversed",
        "r = CumSum <exclusive = 1, reverse = 1> (a, z)",
        "int32[4] a = {1, 2, 3, 4}, int32 z = {0}",
    ),
    _folded("Range backwards", "r = Range (a, b, c)", "int64 a = {5}, int64 b = {-2}, int64 c = {-3}"),
    _folded("Range of none", "e = Range (a, b, c) s = Size (e) r = Neg (s)", "int64 a = {5}, int64 b = {7}, int64 c = {-3}"),
    _folded("Range of floats", "r = Range (a, b, c)", "float a = {0}, float b = {1}, float c = {0.3}"),
    _folded("ConstantOfShape", "r = ConstantOfShape <value = int32[1] {-7}> (s)", "int64[1] s = {3}"),
    _folded("ConstantOfShape of no element", "e = ConstantOfShape (s) t = Size (e) r = Neg (t)", "int64[2] s = {0, 3}"),
    _folded("ConstantOfShape of a scalar", "r = ConstantOfShape (s)", "int64[0] s = {}"),
    _folded("NonZero", "n = NonZero (a) r = ReduceSum <keepdims = 0> (n)", "float[2,3] a = {0, 1, nan, -0.0, 2, 0}"),
    _folded(
        "OneHot of negative indices",
        "h = OneHot (i, k, v) r = ReduceSum <keepdims = 0> (h, z)",
        "int64[3] i = {-1, 0, 5}, int64 k = {4}, float[2] v = {2, 7}, int64[1] z = {0}",
    ),
    _folded("Gather of negative indices", "r = Gather (a, i)", "int64[3] a = {10, 20, 30}, int64[2] i = {-1, -3}"),
    _folded(
        "Slice backwards",
        "r = Slice (a, s, e, z, m)",
        "int64[4] a = {1, 2, 3, 4}, int64[1] s = {-1},int64[1] e = {-9223372036854775808}, int64[1] z = {0}, int64[1] m = {-2}",
    ),
    _folded(
        "Where that broadcasts",
        "w = Where (c, a, b) r = Flatten <axis = 0> (w)",
        "bool[2,1] c = {1, 0}, float[2] a = {1, 2}, float b = {3}",
    ),
    _folded("a sum over no axes, as a no-op", "b = ReduceSum <noop_with_empty_axes = 1> (a) r = Neg (b)", "float[2] a = {1, 2}"),
    _folded("a sum over no axes, over all", "b = ReduceSum (a) r = Neg (b)", "float[2] a = {1, 2}"),
    _folded(
        "a product and a maximum of integers",
        "b = ReduceProd <keepdims = 0> (a) c = ReduceMax <keepdims = 0> (a) r = Sub (b, c)",
        "int32[3] a = {700, 700, -3}",
    ),
    _folded("a sum of no elements", "b = ReduceSum (a, z) r = Neg (b)", "float[0,2] a = {}, int64[1] z = {0}"),
    _folded(
        "QuantizeLinear, to even and saturated",
        "q = QuantizeLinear (a, s, z) r = DequantizeLinear (q, s, z)",
        "float[6] a = {0.5, 1.5, 2.5, 300, -300, -0.5}, float s = {1}, uint8 z = {3}",
    ),
    _folded("Cast of floats to integers", "b = Cast <to = 6> (a) r = Neg (b)", "float[4] a = {1.9, -1.9, 0.5, -0.5}"),
    _folded("Cast of floats to bool", "r = Cast <to = 9> (a)", "float[4] a = {0.1, -0.0, nan, 0}"),
    _folded("Shape of a part", "s = Shape <start = -2, end = 3> (a) r = Neg (s)", "float[2,1,3] a = {1, 2, 3, 4, 5, 6}"),
    _folded("IsInf of one sign", "r = IsInf <detect_negative = 0> (a)", "float[3] a = {inf, -inf, nan}"),
    _folded("Softmax of infinities", "b = Softmax <axis = 0> (a) r = Neg (b)", "float[3] a = {-inf, -inf, -inf}"),
    _folded(
        "Mean of integers by a Div", "s = ReduceSum <keepdims = 0> (a) r = Div (s, n)", "int64[3] a = {-1, -2, -2},int64 n = {3}"
    ),
    _folded("Hardmax of ties", "r = Hardmax <axis = 0> (a)", "float[3] a = {1, 3, 3}"),
    _folded("Unique", "u, i, j, c = Unique (a) r = Neg (j)", "int64[5] a = {3, 1, 3, 2, 1}"),
    _folded(
        "Scatter of a repeated index",
        'b = ScatterElements <reduction = "add"> (a, i, u) r = Neg (b)',
        "float[3] a = {1, 2, 3}, int64[3] i = {0, 0, -1}, float[3] u = {1, 2, 3}",
    ),
    _folded(
        "constants by attributes", "a = Constant <value_ints = [3, 4]> () b = Constant <value_int = 2> () r = Mul (a, b)", ""
    ),
    _folded("Erf, Gelu's friend", "r = Erf (a)", "float[3] a = {-10, 0.5, 10}"),
    _folded(
        "Concat of nothing and something", "b = Concat <axis = 0> (e, a) r = Neg (b)", "int64[0] e = {}, int64[2] a = {1, 2}"
    ),
)

MIN32, MAX32 = np.iinfo(np.int32).min, np.iinfo(np.int32).max

INTEGERS = (
    Case(
        "integers: x·1, x/1, x + 0 and x - 0 at the ends of the range",
        "(int32[4] x) => (int32[4] y)",
        "a = Mul (x, one) b = Div (a, one) c = Add (b, zero) d = Sub (c, zero) y = Neg (d)",
        "int32 one = {1}, int32 zero = {0}",
        feeds=({"x": np.array([MIN32, MAX32, 0, -1], np.int32)},),
    ),
    Case(
        "integers: x·0 and x - x",
        "(int32[N,4] x) => (int32[N,4] y)",
        "a = Mul (x, zero) b = Sub (x, x) y = Add (a, b)",
        "int32 zero = {0}",
    ),
    Case(
        "integers: Mod of fed negative numbers",
        "(int64[N,4] x) => (int64[N,4] y, int64[N,4] z)",
        "y = Mod (x, three) z = Mod <fmod = 1> (x, three)",
        "int64 three = {3}",
    ),
    Case(
        "integers: unsigned differences wrap",
        "(uint8[N,4] x) => (uint8[N,4] y)",
        "a = Sub (x, k) b = Add (a, k) c = Sub (k, b) y = Mul (c, k)",
        "uint8 k = {200}",
        integers=(0, 255),
    ),
    Case(
        "integers: a product of floats that are whole is no product of integers",
        "(int32[N,4] x) => (int32[N,4] y)",
        "f = Cast <to = 1> (x) m = Mul (f, k) y = Cast <to = 6> (m)",
        "float k = {0.5}",
    ),
)

CASES = (*ARITHMETIC, *FOLDED, *INTEGERS)
