"""Normalizations, activations and attention, written out by exporters, and what only looks like them."""

from __future__ import annotations

from itertools import product
from typing import Any

from .case import Case

SQUARE = "(float[N,4,4] x) => (float[A,B,C] y)"
CONSTANTS = "float two = {2}, float eps = {1e-5}, float[4] scale = {1,2,3,4}, float[4] bias = {4,3,2,1}"
ROWS = "float two = {2}, float eps = {1e-5}, float[4,1] scale = {1,2,3,4}, float[4,1] bias = {4,3,2,1}"
FULL = (
    "float two = {2}, float eps = {1e-5}, float[4,4] scale = {1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7},"
    "float[4,4] bias = {1,2,1,4,1,6,1,8,1,1,1,3,1,5,1,7}"
)


def _norm(
    name: str,
    mean: str,
    variance: str,
    tail: str = "g = Mul (n, scale) y = Add (g, bias)",
    weights: str = CONSTANTS,
    square: str = "q = Pow (d, two)",
    root: str = "e = Add (v, eps) s = Sqrt (e)",
) -> Case:
    body = f"m = ReduceMean <{mean}> (x) d = Sub (x, m) {square} v = ReduceMean <{variance}> (q) {root} n = Div (d, s) {tail}"
    return Case(f"layer norm: {name}", SQUARE, body, weights, sizes=(1, 3))


LAST = "axes = [-1]"

LAYER_NORMS = (
    _norm("as it should be", LAST, LAST),
    _norm("no bias", LAST, LAST, "y = Mul (n, scale)"),
    _norm("no scale", LAST, LAST, "y = Add (n, bias)"),
    _norm("neither scale nor bias", LAST, LAST, "y = Relu (n)"),
    _norm("axis 1", "axes = [1]", "axes = [1]"),
    _norm("axis 1, a scale for each", "axes = [1]", "axes = [1]", weights=ROWS),
    _norm("axis 0", "axes = [0]", "axes = [0]"),
    _norm("axes 1 and 2", "axes = [1, 2]", "axes = [1, 2]"),
    _norm("axes 1 and 2, a scale for each", "axes = [1, 2]", "axes = [1, 2]", weights=FULL),
    _norm("axes -2 and -1 in the other order", "axes = [-1, -2]", "axes = [-2, -1]", weights=FULL),
    _norm("axes 0 and 2", "axes = [0, 2]", "axes = [0, 2]"),
    _norm("all axes", "keepdims = 1", "keepdims = 1", weights=FULL),
    _norm("mean and variance over other axes", LAST, "axes = [1]"),
    _norm("a scale for each row", LAST, LAST, weights=ROWS),
    _norm("a scale for each element", LAST, LAST, weights=FULL),
    _norm("a scale of one element", LAST, LAST, weights=CONSTANTS.replace("[4] scale = {1,2,3,4}", "[1] scale = {3}")),
    _norm("a scalar scale", LAST, LAST, weights=CONSTANTS.replace("[4] scale = {1,2,3,4}", " scale = {3}")),
    _norm(
        "a scale that raises the rank",
        LAST,
        LAST,
        "g = Mul (n, scale) h = Add (g, bias) y = ReduceSum <keepdims = 0> (h, z)",
        CONSTANTS.replace("[4] scale", "[2,1,1,4] scale").replace("{1,2,3,4}", "{1,2,3,4,5,6,7,8}") + ", int64[1] z = {0}",
    ),
    _norm("the cube", LAST, LAST, weights=CONSTANTS.replace("two = {2}", "two = {3}")),
    _norm("without the root", LAST, LAST, root="s = Add (v, eps)"),
    _norm("epsilon behind the root", LAST, LAST, root="e = Sqrt (v) s = Add (e, eps)"),
    _norm("a large epsilon", LAST, LAST, weights=CONSTANTS.replace("1e-5", "0.7")),
    _norm("an epsilon for each channel", LAST, LAST, weights=CONSTANTS.replace(" eps = {1e-5}", "[4] eps = {1e-5, 0.1, 0.5, 1}")),
    _norm("squared by a product", LAST, LAST, square="q = Mul (d, d)"),
    _norm("a product that is no square", LAST, LAST, square="q = Mul (d, x)"),
    _norm("squares of the input, not of the difference", LAST, LAST, square="q = Mul (x, x)"),
    _norm(
        "unbiased",
        LAST,
        LAST,
        root="u = Mul (v, more) e = Add (u, eps) s = Sqrt (e)",
        weights=f"{CONSTANTS}, float more = {{1.3333334}}",
    ),
    Case(
        "layer norm: of an operand that a sum broadcasts up",
        "(float[N,4,4] x, float[N,1,4] z) => (float[N,4,4] y)",
        "a = Add (z, x) m = ReduceMean <axes = [-1]> (a) d = Sub (a, m) q = Pow (d, two) v = ReduceMean <axes = [-1]> (q) "
        "e = Add (v, eps) s = Sqrt (e) n = Div (d, s) g = Mul (n, scale) y = Add (g, bias)",
        CONSTANTS,
        sizes=(1, 3),
    ),
    *(
        Case(
            f"LayerNormalization at axis {axis}{', with a bias' if bias else ''}",
            "(float[N,2,3] x) => (float[N,2,3] y)",
            f"y = LayerNormalization <axis = {axis}, epsilon = 0.1> (x, scale{', bias' if bias else ''})",
            f"float[{shape}] scale = {{1,2,3,4,5,6}}, float[{shape}] bias = {{6,5,4,3,2,1}}"
            if "," in shape
            else "float[3] scale = {1,2,3}, float[3] bias = {3,2,1}",
            sizes=(1, 3),
        )
        for (axis, shape), bias in product(((-1, "3"), (2, "3"), (1, "2,3"), (-2, "2,3")), (False, True))
    ),
    Case(
        "LayerNormalization whose mean is an output",
        "(float[N,3] x) => (float[N,3] y, float[N,1] mean)",
        "y, mean = LayerNormalization (x, scale)",
        "float[3] scale = {1,2,3}",
        sizes=(1, 3),
        otherwise={"inline-functions": "onnxruntime gives another mean of a row that holds an infinity than ONNX defines"},
    ),
    *(
        Case(
            f"root mean square norm over {axes}",
            SQUARE,
            f"q = Mul (x, x) v = ReduceMean <axes = {axes}> (q) e = Add (v, eps) s = Sqrt (e) r = Reciprocal (s) "
            "n = Mul (x, r) y = Mul (scale, n)",
            CONSTANTS,
            sizes=(1, 3),
        )
        for axes in ("[-1]", "[1]", "[1, 2]", "[0]")
    ),
)

_ONE = "float one = {1}, float half = {0.5}, float three = {3}, float zero = {0}, float six = {6}"


def _act(name: str, body: str, weights: str = _ONE, opset: int = 17, within: float = 8.0) -> Case:
    return Case(f"activation: {name}", "(float[N,3] x) => (float[A,B] y)", body, weights, opset, within=within)


ACTIVATIONS = (
    *(
        _act(
            f"gelu with √2 = {root}",
            "d = Div (x, r) e = Erf (d) s = Add (e, one) p = Mul (x, s) y = Mul (p, half)",
            f"{_ONE}, float r = {{{root}}}",
        )
        for root in ("1.4142135", "1.41", "1.5", "0.70710677")
    ),
    _act(
        "gelu of another value in the gate",
        "z = Neg (x) d = Div (z, r) e = Erf (d) s = Add (e, one) p = Mul (x, s) y = Mul (p, half)",
        f"{_ONE}, float r = {{1.4142135}}",
    ),
    _act(
        "gelu scaled by two",
        "d = Div (x, r) e = Erf (d) s = Add (e, one) p = Mul (x, s) y = Mul (p, two)",
        f"{_ONE}, float r = {{1.4142135}}, float two = {{2}}",
    ),
    _act(
        "gelu whose half broadcasts up",
        "d = Div (x, r) e = Erf (d) s = Add (e, one) p = Mul (x, s) h = Mul (p, halves) y = ReduceSum <keepdims = 0> (h, z)",
        "float r = {1.4142135}, float one = {1}, float[2,1,1] halves = {0.5, 0.5},int64[1] z = {0}",
    ),
    _act(
        "tanh gelu with another cube",
        "c = Pow (x, k) s = Mul (c, a) i = Add (x, s) j = Mul (i, r) t = Tanh (j) "
        "u = Add (t, one) p = Mul (x, u) y = Mul (p, half)",
        f"{_ONE}, float k = {{2}}, float a = {{0.044715}}, float r = {{0.7978846}}",
    ),
    _act("hard swish", "a = Add (x, three) c = Clip (a, zero, six) p = Mul (x, c) y = Div (p, six)"),
    *(
        _act(
            f"hard swish clipped to [{low}, {high}]",
            "a = Add (x, three) c = Clip (a, lo, hi) p = Mul (x, c) y = Div (p, six)",
            f"{_ONE}, float lo = {{{low}}}, float hi = {{{high}}}",
        )
        for low, high in ((0, 5), (-1, 6), (6, 0))
    ),
    _act("hard swish without a lower bound", "a = Add (x, three) c = Clip (a, , six) p = Mul (x, c) y = Div (p, six)"),
    _act("hard swish of another value", "z = Neg (x) a = Add (z, three) c = Clip (a, zero, six) p = Mul (x, c) y = Div (p, six)"),
    _act("hard sigmoid of the default slope", "s = HardSigmoid (x) y = Mul (x, s)"),
    _act("hard sigmoid by Relu and Min", "a = Add (x, three) r = Relu (a) c = Min (r, six) d = Div (c, six) y = Mul (x, d)"),
    _act("swish", "s = Sigmoid (x) y = Mul (s, x)"),
    _act("swish of a scaled value", "b = Mul (x, three) s = Sigmoid (b) y = Mul (x, s)"),
    _act("swish of another value", "n = Neg (x) s = Sigmoid (n) y = Mul (x, s)"),
    _act("mish", "s = Softplus (x) t = Tanh (s) y = Mul (x, t)"),
    _act("mish with one half for one", "e = Exp (x) a = Add (e, half) l = Log (a) t = Tanh (l) y = Mul (x, t)"),
    _act("softplus", "e = Exp (x) a = Add (e, one) y = Log (a)", within=60),
    _act("softplus of large numbers", "e = Exp (x) a = Add (one, e) y = Log (a)", within=100),
    _act("leaky relu by Where", "g = Greater (x, zero) m = Mul (x, half) y = Where (g, x, m)"),
    _act("leaky relu by Max", "m = Mul (x, half) y = Max (x, m)"),
    _act("prelu of a slope above one by Max", "m = Mul (x, three) y = Max (x, m)"),
)


def _clip(name: str, body: str, weights: str = "", header: str = "(float[N,3] x) => (float[N,3] y)", **more: Any) -> Case:
    bounds = "float lo = {-1}, float hi = {2}, float mid = {0.5}, float far = {9}, float zero = {0}, float nan = {nan}"
    return Case(f"clip: {name}", header, body, weights or bounds, **more)


UNBOUNDED = {
    "inline-functions": "by its definition in ONNX a Clip without a bound lets infinities through, by its text it does not"
}

CLIPS = (
    _clip("min above max", "y = Clip (x, hi, lo)"),
    _clip("no minimum", "y = Clip (x, , hi)", otherwise=UNBOUNDED),
    _clip("no maximum", "y = Clip (x, lo)", otherwise=UNBOUNDED),
    _clip("neither", "y = Clip (x)", otherwise=UNBOUNDED),
    _clip("a minimum of NaN", "y = Clip (x, nan, hi)"),
    _clip("a maximum of NaN", "y = Clip (x, lo, nan)"),
    _clip("bounds that are fed", "y = Clip (x, a, b)", header="(float[N,3] x, float a, float b) => (float[N,3] y)"),
    _clip(
        "of a clip with fed bounds",
        "c = Clip (x, a, b) y = Clip (c, lo, hi)",
        header="(float[N,3] x, float a, float b) => (float[N,3] y)",
    ),
    _clip("of a clip", "c = Clip (x, lo, hi) y = Clip (c, mid, far)"),
    _clip("of a clip that is disjoint from below", "c = Clip (x, lo, zero) y = Clip (c, hi, far)"),
    _clip("of a clip that is disjoint from above", "c = Clip (x, hi, far) y = Clip (c, lo, zero)"),
    _clip("of a clip whose minimum is above its maximum", "c = Clip (x, hi, lo) y = Clip (c, lo, far)"),
    _clip("a minimum of a clip without one", "c = Clip (x, , hi) y = Clip (c, lo)"),
    _clip("a minimum above the maximum of a clip", "c = Clip (x, , lo) y = Clip (c, hi)"),
    _clip("of a Relu", "r = Relu (x) y = Clip (r, lo, hi)"),
    _clip("below zero of a Relu", "r = Relu (x) y = Clip (r, , lo)"),
    _clip("Relu of it", "c = Clip (x, lo, hi) y = Relu (c)"),
    _clip("Relu of one below zero", "c = Clip (x, , lo) y = Relu (c)"),
    _clip("Max and Min", "a = Max (x, lo) y = Min (a, hi)"),
    _clip("Min and Max", "a = Min (x, hi) y = Max (lo, a)"),
    _clip("Max and Min that cross", "a = Max (x, hi) y = Min (a, lo)"),
    _clip("Min and Max that cross", "a = Min (x, lo) y = Max (a, hi)"),
    _clip("Max of NaN", "y = Max (x, nan)"),
    _clip(
        "Max and Min of bounds for each column",
        "a = Max (x, p) y = Min (a, q)",
        "float[3] p = {-1, 0, 1}, float[3] q = {2, 1, 0}",
    ),
    _clip(
        "Max that broadcasts up",
        "a = Max (x, p) y = Min (a, q)",
        "float[2,1,1] p = {-1, 0}, float q = {1}",
        "(float[N,3] x) => (float[2,N,3] y)",
    ),
    _clip("integers", "y = Clip (x, p, q)", "int32 p = {-3}, int32 q = {4}", "(int32[N,3] x) => (int32[N,3] y)"),
    _clip("by attributes", "c = Clip <min = -1.0, max = 2.0> (x) y = Clip <max = 0.5> (c)", "float unused = {0}", opset=10),
    _clip("Relu, before opset 11", "r = Relu (x) y = Clip <max = 6.0> (r)", "float unused = {0}", opset=9),
)

_QKV = "(float[N,3,4] q, float[N,3,4] k, float[N,3,4] v"
_SCALE = "float root = {2}, float[1] half = {0.5}"


def _attention(name: str, body: str, more: str = "", weights: str = _SCALE, opset: int = 17) -> Case:
    return Case(
        f"attention: {name}",
        f"{_QKV}{more}) => (float[A,B,C] y)",
        f"t = Transpose <perm = [0,2,1]> (k) {body}",
        weights,
        opset,
        sizes=(1, 3),
        tolerance=1e-5,
    )


ATTENTION = (
    _attention("plain", "s = MatMul (q, t) d = Div (s, root) p = Softmax <axis = -1> (d) y = MatMul (p, v)"),
    _attention("another scale", "s = MatMul (q, t) d = Mul (s, root) p = Softmax <axis = -1> (d) y = MatMul (p, v)"),
    _attention("no scale", "s = MatMul (q, t) p = Softmax <axis = -1> (s) y = MatMul (p, v)"),
    _attention("softmax over the queries", "s = MatMul (q, t) d = Div (s, root) p = Softmax <axis = 1> (d) y = MatMul (p, v)"),
    _attention("softmax of opset 11 over two axes", "s = MatMul (q, t) p = Softmax <axis = 1> (s) y = MatMul (p, v)", opset=11),
    _attention(
        "softmax of opset 11 over the last axis", "s = MatMul (q, t) p = Softmax <axis = 2> (s) y = MatMul (p, v)", opset=11
    ),
    _attention(
        "the scale for each row",
        "s = MatMul (q, t) d = Mul (s, rows) p = Softmax <axis = -1> (d) y = MatMul (p, v)",
        weights="float[3,1] rows = {0.5, 1, 2}",
    ),
    _attention(
        "a mask before the scale",
        "s = MatMul (q, t) a = Add (s, mask) d = Div (a, root) p = Softmax <axis = -1> (d) y = MatMul (p, v)",
        ", float[N,1,3] mask",
    ),
    _attention(
        "a mask behind the softmax",
        "s = MatMul (q, t) d = Div (s, root) p = Softmax <axis = -1> (d) m = Mul (p, mask) y = MatMul (m, v)",
        ", float[N,1,3] mask",
    ),
    _attention(
        "a mask by Where that keeps what is false",
        "s = MatMul (q, t) d = Div (s, root) w = Where (mask, low, d) "
        "p = Softmax <axis = -1> (d) u = Softmax <axis = -1> (w) a = Add (p, u) y = MatMul (a, v)",
        ", bool[N,1,3] mask",
        f"{_SCALE}, float low = {{-10000}}",
    ),
    _attention(
        "a row that is masked whole",
        "s = MatMul (q, t) w = Where (mask, s, low) p = Softmax <axis = -1> (w) y = MatMul (p, v)",
        ", bool[N,3,1] mask",
        "float low = {-inf}",
    ),
    _attention(
        "keys that are not transposed", "s = MatMul (q, u) p = Softmax <axis = -1> (s) y = MatMul (p, v)", ", float[N,4,3] u"
    ),
    _attention(
        "the probabilities are used, too",
        "s = MatMul (q, t) d = Div (s, root) p = Softmax <axis = -1> (d) o = MatMul (p, v) r = ReduceSum (p, z) y = Add (o, r)",
        weights=f"{_SCALE}, int64[1] z = {{-1}}",
    ),
    _attention("queries scaled, keys not", "h = Mul (q, half) s = MatMul (h, t) p = Softmax <axis = -1> (s) y = MatMul (p, v)"),
)

ROTARY = (
    *(
        Case(
            f"rotary: {name}",
            "(float[N,3,4] x, float[3,4] cos, float[3,4] sin) => (float[N,3,4] y)",
            f"a = Slice (x, s0, s2, last) b = Slice (x, s2, s4, last) {turned} p = Mul (x, cos) q = Mul (r, sin) y = Add (p, q)",
            "int64[1] s0 = {0}, int64[1] s2 = {2}, int64[1] s4 = {9223372036854775807}, int64[1] last = {-1}",
            sizes=(1, 3),
        )
        for name, turned in (
            ("halves turned", "n = Neg (b) r = Concat <axis = -1> (n, a)"),
            ("halves turned the other way", "n = Neg (a) r = Concat <axis = -1> (b, n)"),
            ("both halves negated", "n = Neg (b) m = Neg (a) r = Concat <axis = -1> (n, m)"),
            ("not turned", "n = Neg (a) r = Concat <axis = -1> (n, b)"),
        )
    ),
    Case(
        "rotary: pairs interleaved",
        "(float[N,3,4] x, float[3,4] cos, float[3,4] sin) => (float[N,3,4] y)",
        "a = Slice (x, zero, end, last, two) b = Slice (x, one, end, last, two) n = Neg (b) c = Unsqueeze (n, last) "
        "d = Unsqueeze (a, last) e = Concat <axis = -1> (c, d) r = Reshape (e, s) p = Mul (x, cos) q = Mul (r, sin) "
        "y = Add (p, q)",
        "int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}, int64[1] end = {9223372036854775807},"
        "int64[1] last = {-1}, int64[3] s = {0, 0, 4}",
        sizes=(1, 3),
    ),
)

CASES = (*LAYER_NORMS, *ACTIVATIONS, *CLIPS, *ATTENTION, *ROTARY)
