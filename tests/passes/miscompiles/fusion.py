"""Convolutions, products and what stands round them: constants that only look like a bias, weights that are shared."""

from __future__ import annotations

from .case import Case

W = "float[2,2,2,2] w = {1,2,3,4,5,6,7,8,-1,2,-3,4,-5,6,-7,8}"
STATISTICS = "float[2] g = {2,-3}, float[2] b = {1,2}, float[2] m = {1,-1}, float[2] v = {4,9}"
IMAGE = "(float[N,2,4,4] x)"
SMALL = "=> (float[N,2,3,3] y)"

CASES = (
    Case(
        "two convolutions on one weight, one BatchNormalization",
        f"{IMAGE} => (float[N,2,3,3] y, float[N,2,3,3] z)",
        "c = Conv (x, w) y = BatchNormalization (c, g, b, m, v) n = Neg (x) z = Conv (n, w)",
        f"{W}, {STATISTICS}",
    ),
    Case(
        "two convolutions on one weight and one bias, two BatchNormalizations",
        f"{IMAGE} => (float[N,2,3,3] y, float[N,2,3,3] z)",
        "c = Conv (x, w, b) y = BatchNormalization (c, g, b, m, v) n = Neg (x) d = Conv (n, w, b) "
        "z = BatchNormalization (d, m, g, b, v)",
        f"{W}, {STATISTICS}",
    ),
    Case(
        "one array is every statistic",
        f"{IMAGE} {SMALL}",
        "c = Conv (x, w, v) y = BatchNormalization (c, v, v, v, v)",
        f"{W}, {STATISTICS}",
    ),
    Case(
        "one convolution, two BatchNormalizations",
        f"{IMAGE} => (float[N,2,3,3] y, float[N,2,3,3] z)",
        "c = Conv (x, w) y = BatchNormalization (c, g, b, m, v) z = BatchNormalization (c, b, g, m, v)",
        f"{W}, {STATISTICS}",
    ),
    Case(
        "the weight is also an output, and read elsewhere",
        f"{IMAGE} => (float[N,2,3,3] y, float[2,2,2,2] w, float s)",
        "c = Conv (x, w) y = BatchNormalization (c, g, b, m, v) s = ReduceSum <keepdims = 0> (w)",
        f"{W}, {STATISTICS}",
    ),
    Case(
        "a large epsilon",
        f"{IMAGE} {SMALL}",
        "c = Conv (x, w) y = BatchNormalization <epsilon = 0.7> (c, g, b, m, v)",
        f"{W}, {STATISTICS}",
    ),
    Case(
        "BatchNormalization in training mode",
        f"{IMAGE} => (float[N,2,3,3] y, float[2] rm, float[2] rv)",
        "c = Conv (x, w) y, rm, rv = BatchNormalization <training_mode = 1> (c, g, b, m, v)",
        f"{W}, {STATISTICS}",
        sizes=(1, 3),
        special=False,
    ),
    Case(
        "BatchNormalization before a padded convolution",
        f"{IMAGE} => (float[N,2,5,5] y)",
        "n = BatchNormalization (x, g, b, m, v) y = Conv <pads = [1,1,1,1]> (n, w)",
        f"{W}, {STATISTICS}",
    ),
    Case(
        "BatchNormalization with a Relu between",
        f"{IMAGE} {SMALL}",
        "c = Conv (x, w) r = Relu (c) y = BatchNormalization (r, g, b, m, v)",
        f"{W}, {STATISTICS}",
    ),
    Case(
        "ConvTranspose in groups and BatchNormalization",
        "(float[N,4,3,3] x) => (float[N,4,4,4] y)",
        "c = ConvTranspose <group = 2> (x, w) y = BatchNormalization (c, g, b, m, v)",
        "float[4,2,2,2] w = {1,2,3,4,5,6,7,8,9,8,7,6,5,4,3,2,-1,2,-3,4,-5,6,-7,8,-9,1,2,3,4,5,6,7},"
        "float[4] g = {1,2,3,4}, float[4] b = {4,3,2,1}, float[4] m = {1,0,1,0}, float[4] v = {1,4,9,16}",
    ),
    Case(
        "ConvTranspose of as many inputs as outputs and BatchNormalization",
        "(float[N,2,3] x) => (float[N,2,4] y)",
        "c = ConvTranspose (x, w, g) y = BatchNormalization (c, g, b, m, v)",
        f"float[2,2,2] w = {{1,2,3,4,5,6,7,8}}, {STATISTICS}",
    ),
    Case(
        "grouped convolution and BatchNormalization",
        f"{IMAGE} {SMALL}",
        "c = Conv <group = 2> (x, w) y = BatchNormalization (c, g, b, m, v)",
        f"float[2,1,2,2] w = {{1,2,3,4,5,6,7,8}}, {STATISTICS}",
    ),
    Case(
        "Gemm, alpha and beta, and BatchNormalization",
        "(float[N,3] x) => (float[N,2] y)",
        "p = Gemm <alpha = 0.5, beta = 2.0, transB = 1> (x, w, c) y = BatchNormalization (p, g, b, m, v)",
        f"float[2,3] w = {{1,2,3,4,5,6}}, float[2] c = {{3,4}}, {STATISTICS}",
    ),
    Case(
        "MatMul of three dimensions and BatchNormalization over the second",
        "(float[N,2,3] x) => (float[N,2,2] y)",
        "p = MatMul (x, w) y = BatchNormalization (p, g, b, m, v)",
        f"float[3,2] w = {{1,2,3,4,5,6}}, {STATISTICS}",
    ),
    *(
        Case(
            f"conv and {op}: a constant of shape {shape}",
            f"{IMAGE} => (float[A,B,C,D] y)" if shape.count(",") < 4 else f"{IMAGE} => (float[E,A,B,C,D] y)",
            f"c = Conv <kernel_shape = [2,2], strides = [2,2]> (x, w) y = {op} (c, k)",
            f"{W}, float[{shape}] k = {{3,-5}}",
            sizes=(1, 2),
        )
        for op in ("Add", "Mul", "Sub", "Div")
        for shape in ("2", "2,1", "2,1,1", "2,1,1,1", "1,1,2,1,1", "1,2,1,1", "1,1,1,2")
    ),
    *(
        Case(
            f"constant {op} conv",
            f"{IMAGE} {SMALL}",
            f"c = Conv (x, w) y = {op} (k, c)",
            f"{W}, float[2,1,1] k = {{3,-5}}",
        )
        for op in ("Sub", "Div")
    ),
    Case(
        "conv of one channel and three constants broadcast the result up",
        f"{IMAGE} => (float[N,3,4,4] y)",
        "c = Conv (x, w) y = Add (c, k)",
        "float[1,2,1,1] w = {2,3}, float[3,1,1] k = {1,2,3}",
    ),
    Case(
        "MatMul and a constant that broadcasts the result up",
        "(float[1,3] x) => (float[4,2] y)",
        "p = MatMul (x, w) y = Add (p, k)",
        "float[3,2] w = {1,2,3,4,5,6}, float[4,2] k = {1,2,3,4,5,6,7,8}",
    ),
    Case(
        "MatMul with free rows and a constant of three rows",
        "(float[N,3] x) => (float[3,2] y)",
        "p = MatMul (x, w) y = Add (p, k)",
        "float[3,2] w = {1,2,3,4,5,6}, float[3,2] k = {1,2,3,4,5,6}",
        sizes=(1, 3),
        feeds=(),
        special=False,
    ),
    Case(
        "MatMul and a constant for each row",
        "(float[3,3] x) => (float[3,3] y)",
        "p = MatMul (x, w) y = Add (p, k)",
        "float[3,3] w = {1,2,3,4,5,6,7,8,9}, float[3,1] k = {1,2,3}",
    ),
    Case(
        "MatMul of a vector",
        "(float[3] x) => (float[2] y)",
        "p = MatMul (x, w) y = Add (p, k)",
        "float[3,2] w = {1,2,3,4,5,6}, float[2] k = {1,2}",
    ),
    Case(
        "MatMul of integers",
        "(int32[N,3] x) => (int32[N,2] y)",
        "p = MatMul (x, w) y = Add (p, k)",
        "int32[3,2] w = {1,2,3,4,5,6}, int32[2] k = {1,2}",
    ),
    *(
        Case(
            f"Gemm with alpha and beta and {op}",
            "(float[N,3] x) => (float[N,2] y)",
            f"p = Gemm <alpha = 0.5, beta = 3.0> (x, w, c) y = {op} (p, k)",
            "float[3,2] w = {1,2,3,4,5,6}, float[2] c = {5,7}, float[2] k = {1,2}",
        )
        for op in ("Add", "Mul", "Sub", "Div")
    ),
    Case(
        "Gemm without a bias, alpha, and Add",
        "(float[3,N] x) => (float[N,2] y)",
        "p = Gemm <alpha = 0.5, beta = 3.0, transA = 1> (x, w) y = Add (p, k)",
        "float[3,2] w = {1,2,3,4,5,6}, float[2] k = {1,2}",
    ),
    Case(
        "Gemm with beta = 0 and Add",
        "(float[N,3] x) => (float[N,2] y)",
        "p = Gemm <beta = 0.0> (x, w, c) y = Add (p, k)",
        "float[3,2] w = {1,2,3,4,5,6}, float[2] c = {5,7}, float[2] k = {1,2}",
    ),
    Case(
        "two Gemms with a transpose between",
        "(float[N,3] x) => (float[2,N] y)",
        "p = Gemm <transB = 1> (x, w, k) t = Transpose (p) y = Mul (t, c)",
        "float[2,3] w = {1,2,3,4,5,6}, float[2] k = {1,2}, float[2,1] c = {3,4}",
    ),
    Case(
        "parallel products whose weights differ in width; one is an output",
        "(float[N,3] x) => (float[N,1] y, float[N,2] q)",
        "p = MatMul (x, v) q = MatMul (x, w) s = ReduceSum (q, one) y = Add (p, s)",
        "float[3,1] v = {1,2,3}, float[3,2] w = {1,2,3,4,5,6}, int64[1] one = {1}",
    ),
    Case(
        "parallel products on one weight",
        "(float[N,3] x) => (float[N,2] y)",
        "n = Neg (x) p = MatMul (x, w) q = MatMul (n, w) r = Relu (q) y = Add (p, r)",
        "float[3,2] w = {1,2,3,4,5,6}",
    ),
    Case(
        "parallel products, one of them the other way round",
        "(float[2,2] x) => (float[2,2] y)",
        "p = MatMul (x, w) q = MatMul (w, x) r = MatMul (x, x) s = Add (p, q) y = Add (s, r)",
        "float[2,2] w = {1,2,3,4}",
    ),
    Case(
        "parallel convolutions with other strides, pads and groups",
        f"{IMAGE} => (float[N,2,3,3] y, float[N,2,2,2] z, float[N,2,3,3] u, float[N,2,3,3] t)",
        "y = Conv (x, w) z = Conv <strides = [2,2]> (x, w) u = Conv <group = 2> (x, v) t = Conv (x, w, k)",
        f"{W}, float[2,1,2,2] v = {{1,2,3,4,5,6,7,8}}, float[2] k = {{1,2}}",
    ),
)

PADS = "int64[8] pads = {0,0,1,1,0,0,1,1}, float[1,2,2,2] w = {1,2,3,4,5,6,7,8}"


def _padded(name: str, pad: str, weights: str = PADS, conv: str = "", opset: int = 17) -> Case:
    body = f"p = Pad {pad} y = Conv {conv} (p, w)"
    return Case(f"pad-conv: {name}", f"{IMAGE} => (float[N,1,A,B] y)", body, weights, opset)


PADDED = (
    *(_padded(f"mode {mode}", f'<mode = "{mode}"> (x, pads)') for mode in ("reflect", "edge", "constant")),
    _padded("a value that is not zero", "(x, pads, one)", f"{PADS}, float one = {{1}}"),
    _padded("the value -0.0", "(x, pads, zero)", f"{PADS}, float zero = {{-0.0}}"),
    _padded("crops", "(x, pads)", PADS.replace("0,0,1,1,0,0,1,1", "0,0,-1,-1,0,0,0,0")),
    _padded("crops on one side and pads on the other", "(x, pads)", PADS.replace("0,0,1,1,0,0,1,1", "0,0,-1,1,0,0,1,-1")),
    _padded("pads channels", "(x, pads)", "int64[8] pads = {0,1,1,1,0,0,1,1}, float[1,3,2,2] w = {1,2,3,4,5,6,7,8,9,8,7,6}"),
    _padded("pads the batch", "(x, pads)", PADS.replace("0,0,1,1,0,0,1,1", "1,0,1,1,1,0,1,1")),
    _padded("auto_pad", "(x, pads)", conv='<auto_pad = "SAME_LOWER">'),
    _padded("pads of its own, asymmetric", "(x, pads)", PADS.replace("1,1,0,0,1,1", "1,2,0,0,3,0"), "<pads = [0,1,2,0]>"),
    _padded(
        "axes",
        "(x, pads, , axes)",
        f"{PADS.replace('8] pads = {0,0,1,1,0,0,1,1', '4] pads = {1,0,2,1')},int64[2] axes = {{3, 2}}",
        opset=18,
    ),
    Case(
        "pad before an average pool that counts its own padding, and a max pool of negative numbers",
        f"{IMAGE} => (float[N,2,A,B] y, float[N,2,A,B] z)",
        "p = Pad (x, pads) y = AveragePool <kernel_shape = [2,2]> (p) n = Abs (x) m = Neg (n) q = Pad (m, pads)"
        "z = MaxPool <kernel_shape = [2,2]> (q)",
        "int64[8] pads = {0,0,1,1,0,0,1,1}",
    ),
)
