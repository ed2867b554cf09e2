"""Values that are seen from outside: fused across, listed twice, or nothing but an input or a weight."""

from __future__ import annotations

from .case import Case

IMAGE = "(float[N,2,4,4] x)"

CASES = (
    Case(
        "conv-bn: the convolution is also an output",
        f"{IMAGE} => (float[N,3,3,3] y, float[N,3,3,3] c)",
        "c = Conv (x, w) y = BatchNormalization (c, g, b, m, v)",
        "float[3,2,2,2] w = {1,2,3,4,5,6,7,8,-1,2,-3,4,-5,6,-7,8,1,0,2,0,3,0,4,0},"
        "float[3] g = {1,2,3}, float[3] b = {0,1,2}, float[3] m = {1,1,2}, float[3] v = {1,2,4}",
    ),
    Case(
        "conv-add: the convolution is also an output",
        f"{IMAGE} => (float[N,2,4,4] c, float[N,2,4,4] y)",
        "c = Conv (x, w) y = Add (c, b)",
        "float[2,2,1,1] w = {1,2,3,4}, float[2,1,1] b = {5,6}",
    ),
    Case(
        "matmul-add: the product is also an output",
        "(float[N,3] x) => (float[N,2] y, float[N,2] p)",
        "p = MatMul (x, w) y = Add (p, b)",
        "float[3,2] w = {1,2,3,4,5,6}, float[2] b = {7,8}",
    ),
    Case(
        "gelu: the error function is also an output",
        "(float[N,3] x) => (float[N,3] y, float[N,3] e)",
        "d = Div (x, r) e = Erf (d) s = Add (e, one) p = Mul (x, s) y = Mul (p, half)",
        "float r = {1.4142135}, float one = {1}, float half = {0.5}",
    ),
    Case(
        "layer norm: the centred value is also an output",
        "(float[N,4] x) => (float[N,4] y, float[N,4] d)",
        "m = ReduceMean <axes = [-1]> (x) d = Sub (x, m) q = Pow (d, two) v = ReduceMean <axes = [-1]> (q) "
        "e = Add (v, eps) s = Sqrt (e) n = Div (d, s) g = Mul (n, scale) y = Add (g, bias)",
        "float two = {2}, float eps = {1e-5}, float[4] scale = {1,2,3,4}, float[4] bias = {4,3,2,1}",
    ),
    Case(
        "pad-conv: the padded image is also an output",
        f"{IMAGE} => (float[N,2,6,6] p, float[N,1,6,6] y)",
        "p = Pad (x, pads) y = Conv (p, w)",
        "int64[8] pads = {0,0,1,1,0,0,1,1}, float[1,2,1,1] w = {2,3}",
    ),
    Case(
        "transposes: the one between is also an output",
        "(float[N,2,3] x) => (float[N,2,3] y, float[2,3,N] t)",
        "t = Transpose <perm = [1,2,0]> (x) u = Transpose <perm = [2,0,1]> (t) y = Relu (u)",
    ),
    Case(
        "casts: the one between is also an output",
        "(float[N] x) => (float[N] y, double[N] d)",
        "d = Cast <to = 11> (x) y = Cast <to = 1> (d)",
    ),
    Case("the only output is an input", "(float[N,2] x) => (float[N,2] x)", ""),
    Case("one of two outputs is an input", "(float[N,2] x) => (float[N,2] x, float[N,2] y)", "y = Neg (x)"),
    Case("the only output is an initializer", "(float[N,2] x) => (float[2] w)", "", "float[2] w = {1, 2}"),
    Case(
        "an output is an initializer that is used, too",
        "(float[N,2] x) => (float[N,2] y, float[2] w)",
        "z = Identity (w) y = Add (x, z)",
        "float[2] w = {1, 2}",
    ),
    Case(
        "two equal initializers are outputs",
        "(float[N,2] x) => (float[2] v, float[2] w, float[N,2] y)",
        "a = Add (x, v) y = Add (a, w)",
        "float[2] v = {1, 2}, float[2] w = {1, 2}",
    ),
    Case("the only output is an Identity of an input", "(float[N,2] x) => (float[N,2] y)", "y = Identity (x)"),
    Case(
        "the only output is a chain of no-ops of an input",
        "(float[N,2] x) => (float[N,2] y)",
        "a = Dropout (x) b = Cast <to = 1> (a) c = Transpose <perm = [0,1]> (b) y = Identity (c)",
    ),
    Case("the only output is a constant", "(float[N,2] x) => (float[2] y)", "y = Constant <value_floats = [1.0, 2.0]> ()"),
    Case(
        "the only output is computed from constants",
        "(float[N,2] x) => (float[2] y)",
        "y = Mul (w, w)",
        "float[2] w = {3, 4}",
    ),
    Case(
        "both outputs are an Identity of one value",
        "(float[N,2] x) => (float[N,2] y, float[N,2] z)",
        "r = Relu (x) y = Identity (r) z = Identity (r)",
    ),
    Case(
        "both outputs are an Identity of an input",
        "(float[N,2] x) => (float[N,2] y, float[N,2] z)",
        "y = Identity (x) z = Identity (x)",
    ),
    Case(
        "both outputs are the same computation",
        "(float[N,2] x) => (float[N,2] y, float[N,2] z)",
        "y = Sigmoid (x) z = Sigmoid (x)",
    ),
    Case(
        "an output feeds an Identity that is another output",
        "(float[N,2] x) => (float[N,2] y, float[N,2] z)",
        "y = Relu (x) z = Identity (y)",
    ),
    Case(
        "a no-op of an output is an output",
        "(float[N,2] x) => (float[N,2] y, float[N,2] z)",
        "y = Relu (x) r = Reshape (y, s) z = Cast <to = 1> (r)",
        "int64[2] s = {0, 2}",
    ),
    Case("an input that nothing reads", "(float[N,2] x, float[N] unused) => (float[N,2] y)", "y = Neg (x)"),
    Case(
        "the mask of a Dropout is used",
        "(float[N,3] x) => (float[N,3] y, float[N,3] z)",
        "d, mask = Dropout (x) f = Cast <to = 1> (mask) y = Mul (d, f) z = Neg (d)",
    ),
    Case(
        "the mask of a Dropout is an output",
        "(float[N,3] x) => (float[N,3] y, bool[N,3] mask)",
        "d, mask = Dropout (x, ratio) y = Neg (d)",
        "float ratio = {0.5}",
    ),
    Case(
        "Dropout whose training mode is fed as false",
        "(float[N,3] x, bool t) => (float[N,3] y)",
        "no = Not (t) off = And (t, no) y = Dropout (x, ratio, off)",
        "float ratio = {0.5}",
    ),
)

WEIGHTS = "float[3,2] w = {1,2,3,4,5,6}, float[2] k = {1,2}, float one = {1}"

TWICE = tuple(
    Case(f"an output is listed twice: {name}", f"(float[N,3] x) => ({outputs})", body, WEIGHTS)
    for name, outputs, body in (
        ("of one operator", "float[N,3] y, float[N,3] y", "y = Neg (x)"),
        ("of a fusion", "float[N,2] y, float[N,2] y", "p = MatMul (x, w) y = Add (p, k)"),
        ("with an Identity of it between", "float[N,3] y, float[N,3] z, float[N,3] y", "y = Relu (x) z = Identity (y)"),
        ("with the same computation between", "float[N,3] y, float[N,3] z, float[N,3] y", "y = Relu (x) z = Relu (x)"),
        ("an Identity", "float[N,3] y, float[N,3] y", "r = Relu (x) y = Identity (r)"),
        ("a no-op", "float[N,3] y, float[N,3] y", "y = Mul (x, one)"),
        ("an input", "float[N,3] x, float[N,3] x", ""),
        ("an initializer", "float[2] k, float[2] k", ""),
        ("a constant", "float[2] y, float[2] y", "y = Constant <value_floats = [1.0, 2.0]> ()"),
    )
)
