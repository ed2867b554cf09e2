"""What every lowering must keep: ONNX's semantics, for symbolic sizes, NaN, infinities, negative axes and empty batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnxruntime as ort
import pytest

from optc.compiler import load
from optc.compiler.diagnostics import UserError
from optc.targets.tvm import machine
from optc.targets.tvm.build import build
from optc.targets.tvm.compact import aligned_copy
from optc.targets.tvm.engine import TvmEngine
from optc.targets.tvm.lower import lower

HEADER = '<ir_version: 10, opset_import: ["" : {opset}]>'


class Compiled:
    """A model, compiled without any pass."""

    def __init__(self, graph: str, folder: Path, opset: int = 17, **constants: np.ndarray[Any, Any]) -> None:
        self.proto = onnx.parser.parse_model(HEADER.format(opset=opset) + graph)
        self.proto.graph.initializer.extend(onnx.numpy_helper.from_array(a, name) for name, a in constants.items())
        self.artifact = build(load.from_proto(self.proto, "test"), machine.host(), "cpu")
        library = folder / self.artifact.program["library"]
        library.parent.mkdir(exist_ok=True)
        library.write_bytes(self.artifact.files[self.artifact.program["library"]])
        weights = {name: aligned_copy(array) for name, array in self.artifact.weights.items()}
        self.engine = TvmEngine(library, self.artifact.program, weights, 1)

    def check(self, tolerance: float = 1e-6, **feeds: Any) -> None:
        """Against onnxruntime without optimizations: values, NaN, infinities, dtypes and shapes."""
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 3
        session = ort.InferenceSession(self.proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        arrays = {k: np.asarray(v) for k, v in feeds.items()}
        found = self.engine.run(arrays)
        for output, expected in zip(session.get_outputs(), session.run(None, arrays), strict=True):
            actual = found[output.name]
            assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape), output.name
            scale = np.abs(expected[np.isfinite(expected)]).max(initial=0) if expected.dtype.kind == "f" else 0
            np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance * float(scale), err_msg=output.name)


def _floats(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


SPECIAL = np.array([[-np.inf, -3.5, -2.5, -1, -0.0, 0.0, 0.5, 1.5, 2.5, 7, 100, np.inf, np.nan]], np.float32)


@pytest.mark.parametrize(
    "names",
    [
        "Relu Sigmoid Tanh Exp Neg Abs Floor Ceil Round Sign Erf HardSigmoid HardSwish Softplus LeakyRelu Elu IsNaN IsInf",
        "Selu Celu Softsign ThresholdedRelu Sqrt Reciprocal Log Sin Cos",
    ],
)
def test_unary_operators_keep_nan_and_infinity(names: str, tmp_path: Path) -> None:
    nodes = "\n".join(f"y{i} = {name}(x)" for i, name in enumerate(names.split()))
    kinds = ", ".join(f"{'bool' if n.startswith('Is') else 'float'}[N, C] y{i}" for i, n in enumerate(names.split()))
    model = Compiled(f"g (float[N, C] x) => ({kinds}) {{ {nodes} }}", tmp_path)
    x = SPECIAL if "Sin" not in names else SPECIAL[:, 1:-2]  # the C library's range reduction is not ours to check
    with np.errstate(all="ignore"):
        model.check(2e-6, x=x)
        model.check(2e-6, x=_floats(3, 40) * 3)
        model.check(x=np.zeros((0, 5), np.float32))


def test_binary_operators_broadcast(tmp_path: Path) -> None:
    model = Compiled(
        """g (float[N, 3, 4] a, float[4] b, float[N, 1, 1] c)
        => (float[N, 3, 4] s, float[N, 3, 4] m, bool[N, 3, 4] g, float[N, 3, 4] w, float[N, 3, 4] n, float[N, 3, 4] p) {
            s = Add(a, b)
            m = Mul(b, c_and_a)
            c_and_a = Sub(a, c)
            g = Greater(a, b)
            w = Where(g, a, c)
            n = Max(a, b, c)
            two = Constant <value = float {2}> ()
            p = Pow(a, two)
        }""",
        tmp_path,
    )
    model.check(a=_floats(2, 3, 4), b=_floats(4, seed=1), c=_floats(2, 1, 1, seed=2))


def test_max_and_min_are_nan_if_either_is(tmp_path: Path) -> None:
    model = Compiled(
        "g (float[N, C] a, float[N, C] b) => (float[N, C] x, float[N, C] y) { x = Max(a, b)\n y = Min(a, b) }", tmp_path
    )
    model.check(a=SPECIAL, b=np.ones_like(SPECIAL))
    model.check(a=np.ones_like(SPECIAL), b=SPECIAL)


def test_integers_divide_towards_zero_and_mod_follows_its_flag(tmp_path: Path) -> None:
    model = Compiled(
        """g (int64[N] a, int64[N] b) => (int64[N] d, int64[N] m, int64[N] f) {
            d = Div(a, b)
            m = Mod(a, b)
            f = Mod <fmod = 1> (a, b)
        }""",
        tmp_path,
    )
    model.check(a=np.array([7, -7, 7, -7]), b=np.array([2, 2, -2, -2]))


def test_zero_times_infinity_and_zero_by_zero_are_nan(tmp_path: Path) -> None:
    """Also where the zero is a constant, of which TVM would make the result."""
    model = Compiled(
        """g (float[N, C] x) => (float[N, C] a, float[N, C] b, float[N, C] c) <float zero = {0}, float[1] one_zero = {0}> {
            a = Mul(x, zero)
            b = Mul(one_zero, x)
            c = Div(zero, x)
        }""",
        tmp_path,
    )
    model.check(x=SPECIAL)


@pytest.mark.parametrize(
    "after",
    [
        "y = Mul(p, zero)",
        "y = Div(zero, p)",
        "s = Mul(p, zero) y = Softmax(s)",
        "y = HardSigmoid <alpha = 0.0> (p)",
        "y = Where(no, p, a)",
    ],
)
def test_products_of_which_nothing_is_left(after: str, tmp_path: Path) -> None:
    graph = "g (float[N, M, M] a, float[N, M, M] b) => (float[N, M, M] y) <float zero = {0}, bool no = {0}>"
    model = Compiled(f"{graph} {{ p = MatMul(a, b) {after} }}", tmp_path)
    model.check(a=_floats(2, 5, 5), b=_floats(2, 5, 5, seed=1))


@pytest.mark.parametrize("bounds", ["low, high", "low", "'', high", "''"])
def test_clip_with_missing_bounds(bounds: str, tmp_path: Path) -> None:
    given = bounds.replace("''", "")
    model = Compiled(
        f"""g (float[N, C] x) => (float[N, C] y) {{
            low = Constant <value = float {{-1}}> ()
            high = Constant <value = float {{6}}> ()
            y = Clip(x{", " + given if given.strip(", ") or "," in given else ""})
        }}""",
        tmp_path,
    )
    model.check(x=SPECIAL)


def test_computed_shapes_stay_symbolic(tmp_path: Path) -> None:
    """The tail of many exported classifiers: Shape, Slice, Concat, Reshape."""
    model = Compiled(
        """g (float[N, 8, 2, 3] x) => (float[N, M] y, int64[K] s) {
            shape = Shape(x)
            zero = Constant <value = int64[1] {0}> ()
            one = Constant <value = int64[1] {1}> ()
            rest = Constant <value = int64[1] {-1}> ()
            batch = Slice(shape, zero, one)
            s = Concat <axis = 0> (batch, rest)
            y = Reshape(x, s)
        }""",
        tmp_path,
    )
    for batch in (1, 5):
        model.check(x=_floats(batch, 8, 2, 3))
    assert model.engine.run({"x": _floats(0, 8, 2, 3)})["y"].shape == (0, 48)  # onnxruntime refuses it


def test_movement(tmp_path: Path) -> None:
    model = Compiled(
        """g (float[N, 4, H] x, int64[2] i)
        => (float[H, 4, N] t, float[N, 2, H] s, float[N, 4, K] r, float[N, 4, L] c, float[N, 2, H] g, float[N, 4, H] e,
            float[N, 4, P] p) {
            t = Transpose(x)
            starts = Constant <value = int64[1] {-3}> ()
            ends = Constant <value = int64[1] {9223372036854775807}> ()
            one = Constant <value = int64[1] {1}> ()
            two = Constant <value = int64[1] {2}> ()
            s = Slice(x, starts, ends, one, two)
            neg = Constant <value = int64[1] {-1}> ()
            least = Constant <value = int64[1] {-9223372036854775807}> ()
            last = Constant <value = int64[1] {-1}> ()
            r = Slice(x, last, least, neg, neg)
            c = Concat <axis = -1> (x, x)
            g = Gather <axis = 1> (x, i)
            wide = Constant <value = int64[3] {1, 1, 1}> ()
            e = Expand(x, wide)
            pads = Constant <value = int64[6] {0, 0, 2, 0, 0, 1}> ()
            p = Pad <mode = "reflect"> (x, pads)
        }""",
        tmp_path,
    )
    model.check(x=_floats(2, 4, 5), i=np.array([-1, 0]))
    model.check(x=_floats(1, 4, 3), i=np.array([2, -4]))


@pytest.mark.parametrize("opset", [11, 17])
def test_reductions_and_softmax(opset: int, tmp_path: Path) -> None:
    model = Compiled(
        """g (float[N, 5, K] x)
        => (float[N, 5, 1] a, float[N, K] b, float[1, 1, 1] c, float[N, 5, K] d, float[N, 5, K] e,
            float[N, 5] f, int64[N, 5, 1] g) {
            a = ReduceMean <axes = [-1]> (x)
            b = ReduceMax <axes = [1], keepdims = 0> (x)
            c = ReduceL2(x)
            d = Softmax(x)
            e = LogSoftmax <axis = 1> (x)
            f = ReduceLogSumExp <axes = [2], keepdims = 0> (x)
            g = ArgMax <axis = -1> (x)
        }""",
        tmp_path,
        opset,
    )
    model.check(x=_floats(2, 5, 7))
    model.check(x=_floats(1, 5, 16, seed=1) * 50)


def test_long_sums_keep_small_terms(tmp_path: Path) -> None:
    """One large and 18709 small terms: added one by one, the small ones would round to nothing."""
    model = Compiled("g (float[N, 18710] x) => (float[N, 18710] y) { y = Softmax(x) }", tmp_path)
    x = np.zeros((1, 18710), np.float32)
    x[0, 0] = 16
    model.check(1e-5, x=x)


def test_normalizations(tmp_path: Path) -> None:
    model = Compiled(
        """g (float[N, 6, W] x, float[N, W, 6] z) => (float[N, 6, W] b, float[N, W, 6] l, float[N, 6, W] i)
        <float[6] s = {1, 2, 3, -1, -2, 0.5}, float[6] o = {0, 1, 2, 3, 4, 5}, float[6] v = {1, 0.5, 2, 1, 1, 3}> {
            b = BatchNormalization(x, s, o, o, v)
            l = LayerNormalization(z, s, o)
            i = InstanceNormalization(x, s, o)
        }""",
        tmp_path,
    )
    model.check(1e-5, x=_floats(2, 6, 9), z=_floats(2, 9, 6, seed=1))


def test_products(tmp_path: Path) -> None:
    model = Compiled(
        """g (float[N, M, 3] a, float[N, 3, M] b, float[N, 3] c) => (float[N, M, M] p, float[N, M, 2] q, float[N, 2] r)
        <float[3, 2] w = {1, 2, 3, 4, 5, 6}, float[2] o = {1, -1}> {
            p = MatMul(a, b)
            q = MatMul(a, w)
            t = Transpose(w)
            r = Gemm <alpha = 0.5, beta = 2.0, transB = 1> (c, t, o)
        }""",
        tmp_path,
    )
    model.check(a=_floats(2, 4, 3), b=_floats(2, 3, 4, seed=1), c=_floats(2, 3, seed=2))


@pytest.mark.parametrize(
    ("node", "weight"),
    [
        ("Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, w)", (5, 4, 3, 3)),
        ('Conv <auto_pad = "SAME_UPPER"> (x, w)', (5, 4, 3, 3)),
        ("Conv <pads = [2, 2, 2, 2], dilations = [2, 2]> (x, w)", (5, 4, 3, 3)),
        ("Conv <group = 4, pads = [1, 0, 1, 2]> (x, w)", (8, 1, 3, 3)),
        ("Conv <group = 2> (x, w)", (6, 2, 1, 1)),
        ("ConvTranspose <strides = [2, 2]> (x, w)", (4, 3, 2, 2)),
        ("ConvTranspose <strides = [2, 2], pads = [1, 1, 1, 1], output_padding = [1, 0]> (x, w)", (4, 3, 3, 3)),
        ("MaxPool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1], ceil_mode = 1> (x)", None),
        ("AveragePool <kernel_shape = [2, 3], pads = [1, 1, 0, 1], count_include_pad = 1> (x)", None),
        ("GlobalAveragePool(x)", None),
        ("MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x)", None),
    ],
)
def test_windows_over_any_size(node: str, weight: tuple[int, ...] | None, tmp_path: Path) -> None:
    constants = {} if weight is None else {"w": _floats(*weight)}
    model = Compiled(f"g (float[N, 4, H, W] x) => (float[A, B, C, D] y) {{ y = {node} }}", tmp_path, **constants)
    for size in ((1, 7, 9), (2, 8, 5), (3, 16, 16)):
        model.check(1e-5, x=_floats(size[0], 4, *size[1:]))


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("transform", ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"])
def test_resize(mode: str, transform: str, tmp_path: Path) -> None:
    model = Compiled(
        f"""g (float[N, 2, H, W] x) => (float[N, 2, A, B] y) <float[0] roi = {{}}, float[4] scales = {{1, 1, 2, 1.5}}> {{
            y = Resize <mode = "{mode}", coordinate_transformation_mode = "{transform}"> (x, roi, scales)
        }}""",
        tmp_path,
    )
    model.check(1e-5, x=_floats(2, 2, 4, 6))


def test_quantization_rounds_half_to_even_and_saturates(tmp_path: Path) -> None:
    model = Compiled(
        """g (float[N] x) => (uint8[N] q, float[N] y) <float s = {0.5}, uint8 z = {10}> {
            q = QuantizeLinear(x, s, z)
            y = DequantizeLinear(q, s, z)
        }""",
        tmp_path,
    )
    model.check(x=np.array([-100, -0.25, 0.25, 0.75, 1.2, 1000], np.float32))


def test_an_operator_nobody_knows_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Multinomial") as caught:
        Compiled("g (float[N, 3] x) => (int32[N, 1] y) { y = Multinomial(x) }", tmp_path)
    assert "node" in str(caught.value)


def test_a_body_that_uses_outer_values_is_no_constant(tmp_path: Path) -> None:
    graph = """g (float[N] x) => (float[N] y) {
        c = Constant <value = bool {1}> ()
        y = If(c) <then_branch = t () => (float[N] a) { a = Relu(x) }, else_branch = e () => (float[N] b) { b = Neg(x) }>
    }"""
    with pytest.raises(UserError, match="no rule lowers it"):
        Compiled(graph, tmp_path)


@pytest.mark.parametrize("opset", [13, 17, 19])
def test_quantized_weights_of_any_opset(opset: int, tmp_path: Path) -> None:
    model = Compiled(
        "g (float[N, 3] x) => (float[N, 2] y) { w = DequantizeLinear <axis = 1> (q, s, z) \n y = MatMul(x, w) }",
        tmp_path,
        opset,
        q=np.array([[1, -2], [3, 4], [-5, 6]], np.int8),
        s=np.array([0.5, 0.25], np.float32),
        z=np.array([0, 0], np.int8),
    )
    model.check(x=_floats(4, 3))


def test_sums_of_float16_are_taken_in_float32(tmp_path: Path) -> None:
    model = Compiled(
        "g (float16[N, 4096] x) => (float16[N, 1] y, float16[N, 1] s) { y = MatMul(x, w) \n s = ReduceSum <axes = [1]> (x) }",
        tmp_path,
        opset=11,
        w=np.ones((4096, 1), np.float16),
    )
    model.check(x=np.full((2, 4096), 1.5, np.float16))


def test_nothing_is_printed_when_lowering_fails(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError):
        Compiled("g (float[N, 3] x) => (int32[N, 1] y) { y = Multinomial(x) }", tmp_path)
    assert capfd.readouterr().err == ""


def test_a_slice_to_the_largest_int32_keeps_the_whole_batch(tmp_path: Path) -> None:
    graph = """g (float[N, 4] x) => (float[N, 4] y) {
        s = Constant <value_ints = [0, 1]> ()
        e = Constant <value_ints = [2147483647, 2147483647]> ()
        tail = Slice(x, s, e)
        p = Constant <value_ints = [0, 1, 0, 0]> ()
        y = Pad(tail, p)
    }"""
    Compiled(graph, tmp_path).check(x=_floats(3, 4))
    lowered = lower(load.from_proto(onnx.parser.parse_model(HEADER.format(opset=17) + graph), "test"), machine.host())
    assert not lowered.computed  # the batch is still the input's


@pytest.mark.parametrize(
    "join",
    [
        "s = Sigmoid(r)  a = Add(x, r)  y = Add(s, a)",
        "s = Sigmoid(r)  a = Add(x, s)  t = Tanh(s)  y = Add(t, a)",
        "s = Sigmoid(r)  a = Add(x, r)  y = Concat<axis = 1>(s, a)",
        "a = Add(x, r)  s = Softmax(r)  y = Concat<axis = 0>(s, a, r)",
    ],
)
def test_branches_join_where_only_one_of_them_assumes_a_shape(join: str, tmp_path: Path) -> None:
    """x and z have as many rows only at run time: `Add(x, r)` assumes it of r, which other consumers read as it is."""
    model = Compiled(f"g (float[N, 4] x, float[M, 4] z) => (float[P, Q] y) {{ r = Relu(z)  {join} }}", tmp_path)
    model.check(x=_floats(3, 4), z=_floats(3, 4, seed=1))


def test_a_shape_that_was_assumed_is_checked_at_run_time(tmp_path: Path) -> None:
    model = Compiled("g (float[N, 4] x, float[M, 4] z) => (float[P, 4] y) { r = Relu(z)  y = Add(x, r) }", tmp_path)
    with pytest.raises(UserError, match="expected to match input_0"):
        model.engine.run({"x": _floats(3, 4), "z": _floats(2, 4)})


def test_a_squeezed_extent_that_is_not_one_fails(tmp_path: Path) -> None:
    model = Compiled("g (float[N,4,T] x) => (float[A,B] y) <int64[1] at = {-1}> { s = Squeeze (x, at) y = Relu (s) }", tmp_path)
    model.check(x=_floats(3, 4, 1))
    with pytest.raises(UserError, match="does not take inputs of these sizes"):
        model.engine.run({"x": _floats(3, 4, 2)})
