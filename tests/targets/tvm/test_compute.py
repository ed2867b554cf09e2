"""Kernels: each computes what ONNX says, at any shape, on any vector width, with whatever is fused behind it."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import tvm
import tvm_ffi
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from tvm import te

from optc.targets.tvm.compute import Kernel, average_pool, conv2d, gemm, global_average_pool, max_pool, product, softmax
from optc.targets.tvm.compute.tile import choose
from optc.targets.tvm.machine import Machine, host, named
from optc.targets.tvm.schedule import schedule_module

Array = np.ndarray[Any, Any]
HOST = host()
NARROW = named("x86-64-v3") if HOST.arch == "x86_64" else HOST
few = settings(max_examples=12, deadline=None, derandomize=True)


def check(
    expected: Array,
    make: Callable[[Sequence[Any]], Kernel],
    x: Array,
    *,
    machine: Machine = HOST,
    symbolic: Sequence[int] = (),
    epilogue: Callable[..., Any] | None = None,
    others: Sequence[Array] = (),
) -> None:
    """Build the kernel for x's shape (axes in `symbolic` known only at run time), schedule, compile, run, compare."""
    shape = [tvm.tirx.Var(f"d{i}", "int64") if i in symbolic else tvm.tirx.const(e, "int64") for i, e in enumerate(x.shape)]
    kernel = make(shape)
    inputs = [te.placeholder(shape, "float32", "x")]
    inputs += [te.placeholder(w.shape, "float32", f"w{i}") for i, w in enumerate(kernel.weights)]
    result = kernel.compute(*inputs)
    if epilogue is not None:
        extra = [
            te.placeholder([r if o > 1 else 1 for r, o in zip(result.shape, a.shape, strict=True)], "float32") for a in others
        ]
        result = epilogue(result, *extra)
        inputs += extra
    scheduled, notes = schedule_module(tvm.IRModule({"main": te.create_prim_func([*inputs, result])}), machine)
    assert notes == ()
    with tvm.transform.PassContext(opt_level=3):
        main = tvm.tirx.build(scheduled, target=tvm.target.Target(machine.tvm_target(1)))["main"]
    out = tvm.runtime.tensor(np.full(expected.shape, np.nan, "float32"))
    main(*[tvm.runtime.tensor(np.ascontiguousarray(v)) for v in (x, *kernel.weights, *others)], out)
    np.testing.assert_allclose(out.numpy(), expected, rtol=1e-4, atol=1e-5 * max(1.0, float(np.abs(expected).max(initial=0))))


def onnx_op(name: str, x: Array, weights: Sequence[Array] = (), **attributes: Any) -> Array:
    """What onnxruntime computes for one operator, NHWC in and out (NCHW inside)."""
    names = [f"w{i}" for i in range(len(weights))]
    nchw = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    graph = helper.make_graph(
        [helper.make_node(name, ["x", *names], ["y"], **attributes)],
        name,
        [helper.make_tensor_value_info("x", 1, nchw.shape)],
        [helper.make_tensor_value_info("y", 1, None)],
        [numpy_helper.from_array(w, n) for n, w in zip(names, weights, strict=True)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    result: Array = session.run(None, {"x": nchw})[0]
    return result.transpose(0, 2, 3, 1)


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def relu(t: Any) -> Any:
    return te.compute(t.shape, lambda *i: te.max(t[i], 0.0), name="relu")


def hardswish(t: Any) -> Any:
    gate = te.compute(t.shape, lambda *i: te.max(te.min(t[i] / 6.0 + 0.5, 1.0), 0.0), name="gate")
    return te.compute(t.shape, lambda *i: t[i] * gate[i], name="hardswish")


def scale_channels(t: Any, s: Any) -> Any:
    return te.compute(t.shape, lambda n, h, w, c: t[n, h, w, c] * s[n, 0, 0, c], name="scale")


def add(t: Any, other: Any) -> Any:
    return te.compute(t.shape, lambda *i: t[i] + other[i], name="add")


extents = st.sampled_from([1, 2, 3, 5, 7, 8, 13, 16, 17])
channels = st.sampled_from([1, 3, 8, 10, 16, 20, 24, 33])
machines = st.sampled_from([HOST, NARROW])


@few
@given(extents, extents, channels, st.sampled_from([1, 4, 10, 24, 33, 70]), machines, st.sampled_from([(), (0,), (0, 1), (1,)]))
def test_gemm_is_the_matrix_product(
    batch: int, rows: int, inner: int, outer: int, machine: Machine, symbolic: tuple[int, ...]
) -> None:
    x, w, b = normal(batch, rows, inner), normal(inner, outer, seed=1), normal(outer, seed=2)
    check(x @ w + b, lambda s: gemm(machine, s, w, b), x, machine=machine, symbolic=symbolic)


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("symbolic", [(), (0,)])
def test_gemm_of_a_matrix_without_a_bias(rows: int, symbolic: tuple[int, ...]) -> None:
    x, w = normal(rows, 70), normal(70, 10, seed=1)
    check(x @ w, lambda s: gemm(HOST, s, w), x, symbolic=symbolic)


@pytest.mark.parametrize("machine", [HOST, NARROW], ids=["host", "narrow"])
def test_every_number_of_rows_left_for_the_last_tile(machine: Machine) -> None:
    w, b = normal(24, 96, seed=1), normal(96, seed=2)
    for rows in range(1, 18):
        x, other = normal(2, rows, 24), normal(2, rows, 96, seed=3)
        check(
            np.maximum(x @ w + b, 0) + other,
            lambda s: gemm(machine, s, w, b),
            x,
            machine=machine,
            symbolic=(1,),
            epilogue=lambda t, o: add(relu(t), o),
            others=[other],
        )


def test_tiles_of_exact_heights_ask_of_no_row_whether_it_is_one() -> None:
    rows = tvm.tirx.Var("rows", "int64")
    kernel = gemm(HOST, [1, rows, 24], normal(24, 96))
    inputs = [te.placeholder([1, rows, 24], "float32", "x"), te.placeholder(kernel.weights[0].shape, "float32", "w")]
    function = te.create_prim_func([*inputs, kernel.compute(*inputs)])
    scheduled, _ = schedule_module(tvm.IRModule({"main": function}), HOST)
    text = str(scheduled["main"])
    assert "if_then_else" not in text  # of what is read
    high = choose(HOST, rows, 96).mr
    tiles = 1 + (high - 1).bit_length()  # a whole one, and each power of two below
    assert text.count("for k in") == text.count(" < rows") == tiles


def check_product(a: Array, b: Array, names: Sequence[Sequence[str]], machine: Machine) -> None:
    """The product of activations, dimensions of one name symbolic, an epilogue behind it."""
    found: dict[str, Any] = {}

    def dims(array: Array, own: Sequence[str]) -> list[Any]:
        extents = [tvm.tirx.const(e, "int64") for e in array.shape]
        return [found.setdefault(n, tvm.tirx.Var(n, "int64")) if n else e for n, e in zip(own, extents, strict=True)]

    left, right = (te.placeholder(dims(x, own), "float32") for x, own in zip((a, b), names, strict=True))
    result = relu(product(machine, left.shape[-2], right.shape[-1]).compute(left, right))
    scheduled, notes = schedule_module(tvm.IRModule({"main": te.create_prim_func([left, right, result])}), machine)
    assert notes == ()
    with tvm.transform.PassContext(opt_level=3):
        main = tvm.tirx.build(scheduled, target=tvm.target.Target(machine.tvm_target(1)))["main"]
    expected = np.maximum(a @ b, 0)
    out = tvm.runtime.tensor(np.full(expected.shape, np.nan, "float32"))
    main(tvm.runtime.tensor(a), tvm.runtime.tensor(b), out)
    np.testing.assert_allclose(out.numpy(), expected, rtol=1e-4, atol=1e-4)


@few
@given(
    extents, extents, st.sampled_from([1, 8, 16, 23, 32, 40, 70]), machines, st.sampled_from(["", "n", "ms", "nms", "k", "nmks"])
)
def test_product_of_two_activations(rows: int, inner: int, columns: int, machine: Machine, free: str) -> None:
    a, b = normal(2, 3, rows, inner), normal(2, 3, inner, columns, seed=1)
    names = [[name if name in free else "" for name in axes] for axes in (("n", "", "m", "k"), ("n", "", "k", "s"))]
    check_product(a, b, names, machine)


@pytest.mark.parametrize(("a", "b"), [((5, 9), (3, 9, 17)), ((2, 3, 5, 9), (3, 9, 17)), ((2, 1, 5, 9), (1, 3, 9, 17))])
def test_product_broadcasts_leading_dimensions(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    check_product(normal(*a), normal(*b, seed=1), [[""] * len(a), [""] * len(b)], HOST)


def test_product_of_a_matrix_with_itself_transposed_shares_a_symbolic_extent() -> None:
    a = normal(2, 19, 8)
    check_product(a, np.ascontiguousarray(a.transpose(0, 2, 1)), [("", "s", ""), ("", "", "s")], HOST)


@st.composite
def windows(draw: Any) -> dict[str, Any]:
    """Kernel, strides, dilations and pads, and an image that the window fits into."""
    kernel = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    dilations = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    pads = draw(st.tuples(*[st.integers(0, min(kernel) - 1)] * 4))
    fits = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    size = tuple(draw(extents.map(lambda e, f=f: max(e, f))) for f in fits)
    strides = draw(st.tuples(st.integers(1, 3), st.integers(1, 2)))
    return {"size": size, "kernel": kernel, "strides": strides, "dilations": dilations, "pads": pads}


def check_conv(
    window: dict[str, Any], batch: int, ins: int, outs: int, group: int, machine: Machine, symbolic: Sequence[int], layout: str
) -> None:
    attributes = {k: window[k] for k in ("strides", "dilations", "pads")}
    x = normal(batch, *window["size"], ins)
    w, b = normal(outs, ins // group, *window["kernel"], seed=1), normal(outs, seed=2)
    expected = onnx_op("Conv", x, [w, b], group=group, **attributes)
    given_x = x if layout == "NHWC" else np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    check(
        expected,
        lambda s: conv2d(machine, s, w, b, group=group, layout=layout, **attributes),
        given_x,
        machine=machine,
        symbolic=symbolic,
    )


@few
@given(
    windows(), st.integers(1, 3), channels, st.sampled_from([1, 8, 10, 24, 33]), machines, st.sampled_from([(), (0,), (0, 1, 2)])
)
def test_convolution(
    window: dict[str, Any], batch: int, ins: int, outs: int, machine: Machine, symbolic: tuple[int, ...]
) -> None:
    check_conv(window, batch, ins, outs, 1, machine, symbolic, "NHWC")


@few
@given(windows(), st.integers(1, 2), channels, machines, st.sampled_from([(), (0,), (0, 1, 2)]))
def test_depthwise_convolution(
    window: dict[str, Any], batch: int, count: int, machine: Machine, symbolic: tuple[int, ...]
) -> None:
    check_conv(window, batch, count, count, count, machine, symbolic, "NHWC")


@few
@given(
    windows(),
    st.sampled_from([2, 3, 4, 8, 32]),
    st.sampled_from([1, 5, 8]),
    st.sampled_from([2, 3, 8, 17, 40]),
    machines,
    st.sampled_from([(), (0,), (0, 1, 2)]),
)
def test_grouped_convolution(
    window: dict[str, Any], group: int, ins: int, outs: int, machine: Machine, symbolic: tuple[int, ...]
) -> None:
    check_conv(window, 2, group * ins, group * outs, group, machine, symbolic, "NHWC")


@pytest.mark.parametrize("symbolic", [(), (0,)])
@pytest.mark.parametrize("outs", [17, 33])
@pytest.mark.parametrize("group", [2, 3, 4, 8, 32])
def test_pointwise_convolution_of_groups_that_no_vector_divides(group: int, outs: int, symbolic: tuple[int, ...]) -> None:
    window = {"size": (3, 7), "kernel": (1, 1), "strides": (1, 1), "dilations": (1, 1), "pads": (0, 0, 0, 0)}
    check_conv(window, 2, group * 5, group * outs, group, HOST, symbolic, "NHWC")


@pytest.mark.parametrize("machine", [HOST, NARROW])
def test_channels_of_a_group_fill_whole_vectors(machine: Machine) -> None:
    """17 channels a group are computed as the next whole number of vectors, as 17 channels without groups are."""
    grouped = conv2d(machine, (1, 28, 28, 272), normal(68, 68, 1, 1), group=4).weights[0]
    plain = conv2d(machine, (1, 28, 28, 68), normal(17, 68, 1, 1)).weights[0]
    assert grouped.shape[-1] == plain.shape[-1]
    assert grouped.shape[-1] % machine.lanes() == 0


@few
@given(windows(), st.sampled_from([1, 3]), st.sampled_from([4, 16, 24]), st.sampled_from([(), (0,), (0, 2, 3)]))
def test_convolution_that_reads_nchw(window: dict[str, Any], ins: int, outs: int, symbolic: tuple[int, ...]) -> None:
    check_conv(window, 2, ins, outs, 1, HOST, symbolic, "NCHW")


KERNELS = {
    "pointwise": {"weight": (24, 20, 1, 1), "pads": (0, 0, 0, 0), "group": 1},
    "spatial": {"weight": (24, 20, 3, 3), "pads": (1, 1, 1, 1), "group": 1},
    "grouped": {"weight": (20, 5, 1, 1), "pads": (0, 0, 0, 0), "group": 4},
    "depthwise": {"weight": (20, 1, 3, 3), "pads": (1, 1, 1, 1), "group": 20},
}


@pytest.mark.parametrize("symbolic", [(), (0,)])
@pytest.mark.parametrize("kind", KERNELS)
@pytest.mark.parametrize("tail", ["relu", "hardswish", "residual", "scale"])
def test_whatever_is_fused_behind_a_convolution_is_computed_on_its_tile(kind: str, tail: str, symbolic: tuple[int, ...]) -> None:
    spec = KERNELS[kind]
    x, w, b = normal(2, 5, 9, 20), normal(*spec["weight"], seed=1), normal(spec["weight"][0], seed=2)
    plain = onnx_op("Conv", x, [w, b], group=spec["group"], pads=spec["pads"])
    outs = plain.shape[3]
    others = {"residual": [normal(*plain.shape, seed=3)], "scale": [normal(2, 1, 1, outs, seed=3)]}.get(tail, [])
    functions: dict[str, tuple[Callable[..., Any], Callable[[], Array]]] = {
        "relu": (relu, lambda: np.maximum(plain, 0)),
        "hardswish": (hardswish, lambda: plain * np.clip(plain / 6 + 0.5, 0, 1)),
        "residual": (add, lambda: plain + others[0]),
        "scale": (scale_channels, lambda: plain * others[0]),
    }
    epilogue, expected = functions[tail]
    check(
        expected(),
        lambda s: conv2d(HOST, s, w, b, pads=spec["pads"], group=spec["group"]),
        x,
        symbolic=symbolic,
        epilogue=epilogue,
        others=others,
    )


def test_a_result_that_is_broadcast_afterwards_is_finished_first() -> None:
    x, w, image = normal(2, 1, 1, 20), normal(24, 20, 1, 1, seed=1), normal(2, 5, 7, 24, seed=2)
    gate = np.maximum(x[:, 0, 0] @ w[:, :, 0, 0].T, 0)[:, None, None]

    kernel = conv2d(HOST, x.shape, w)
    a, b, o = (te.placeholder(v.shape, "float32") for v in (x, kernel.weights[0], image))
    finished = relu(kernel.compute(a, b))
    result = te.compute(image.shape, lambda n, h, v, c: finished[n, 0, 0, c] * o[n, h, v, c], name="gated")
    scheduled, notes = schedule_module(tvm.IRModule({"main": te.create_prim_func([a, b, o, result])}), HOST)
    assert notes == ()
    main = tvm.tirx.build(scheduled, target=tvm.target.Target(HOST.tvm_target(1)))["main"]
    out = tvm.runtime.tensor(np.zeros(image.shape, "float32"))
    main(*[tvm.runtime.tensor(v) for v in (x, *kernel.weights, image)], out)
    np.testing.assert_allclose(out.numpy(), gate * image, rtol=1e-4, atol=1e-5)


@few
@given(windows(), channels, st.booleans(), st.sampled_from([(), (0,), (0, 1, 2)]))
def test_max_pool(window: dict[str, Any], count: int, ceil_mode: bool, symbolic: tuple[int, ...]) -> None:
    x = normal(2, *window["size"], count)
    a = {k: window[k] for k in ("strides", "dilations", "pads")}
    expected = onnx_op("MaxPool", x, kernel_shape=window["kernel"], ceil_mode=int(ceil_mode), **a)
    check(expected, lambda s: max_pool(HOST, s, kernel=window["kernel"], ceil_mode=ceil_mode, **a), x, symbolic=symbolic)


@few
@given(windows(), channels, st.booleans(), st.booleans(), st.sampled_from([(), (0,), (0, 1, 2)]))
def test_average_pool(window: dict[str, Any], count: int, ceil_mode: bool, include: bool, symbolic: tuple[int, ...]) -> None:
    x = normal(2, *window["size"], count)
    a = {k: window[k] for k in ("strides", "dilations", "pads")}
    expected = onnx_op(
        "AveragePool", x, kernel_shape=window["kernel"], ceil_mode=int(ceil_mode), count_include_pad=int(include), **a
    )
    check(
        expected,
        lambda s: average_pool(HOST, s, kernel=window["kernel"], ceil_mode=ceil_mode, count_include_pad=include, **a),
        x,
        symbolic=symbolic,
    )


@pytest.mark.parametrize("count", [1, 10, 24, 64])
@pytest.mark.parametrize("symbolic", [(), (0,), (0, 1, 2)])
def test_global_average_pool(count: int, symbolic: tuple[int, ...]) -> None:
    x = normal(2, 5, 7, count)
    check(x.mean((1, 2), keepdims=True), lambda s: global_average_pool(HOST, s), x, symbolic=symbolic)


@few
@given(st.integers(1, 3), extents, st.sampled_from([1, 4, 16, 19, 40, 64]), machines, st.sampled_from([(), (0,), (0, 1, 2)]))
def test_softmax(batch: int, rows: int, extent: int, machine: Machine, symbolic: tuple[int, ...]) -> None:
    x = 3 * normal(batch, rows, extent)
    powers = np.exp(x - x.max(-1, keepdims=True))
    check(powers / powers.sum(-1, keepdims=True), lambda s: softmax(machine, s), x, machine=machine, symbolic=symbolic)


def test_softmax_of_masked_and_of_broken_rows() -> None:
    x = np.zeros((4, 19), "float32")
    x[0, 5:], x[1, 3], x[2, 3] = -np.inf, np.nan, np.inf
    expected = np.full((4, 19), 1 / 19, "float32")
    expected[0] = np.where(np.arange(19) < 5, 0.2, 0)
    expected[1], expected[2] = np.nan, np.nan
    check(expected, lambda s: softmax(HOST, s), x)


def test_equal_layers_give_equal_functions() -> None:
    def function(seed: int) -> Any:
        x = te.placeholder((1, 14, 14, 16), "float32", "x")
        kernel = conv2d(HOST, x.shape, normal(16, 16, 3, 3, seed=seed), normal(16, seed=seed), pads=(1, 1, 1, 1))
        weights = [te.placeholder(w.shape, "float32", "w") for w in kernel.weights]
        return te.create_prim_func([x, *weights, kernel.compute(x, *weights)])

    one, other = (schedule_module(tvm.IRModule({"main": function(seed)}), HOST)[0]["main"] for seed in (1, 2))
    assert tvm_ffi.structural_equal(one, other)
