"""Schedule rules: they change how a function runs, never what it computes; and the vectors that were promised are there."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax, te, tirx, topi

from optc.targets.tvm.build import finish, with_memory
from optc.targets.tvm.compute import conv2d, global_average_pool
from optc.targets.tvm.machine import Machine, host, named
from optc.targets.tvm.schedule import RULES, schedule_module

Array = np.ndarray[Any, Any]
HOST = host()


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def build(mod: tvm.IRModule, machine: Machine = HOST) -> Any:
    with tvm.transform.PassContext(opt_level=3):
        return tvm.tirx.build(mod, target=tvm.target.Target(machine.tvm_target(1)))


def run_te(function: Callable[..., Any], inputs: Sequence[Array], expected: Array, symbolic: bool = False) -> None:
    """Schedule and run one tensor expression; `symbolic` leaves the first axis of every input that has the first one's open."""
    batch = tirx.Var("n", "int64")
    first = inputs[0].shape[0] if inputs[0].ndim else 0
    shapes = [[batch if symbolic and i == 0 and e == first else e for i, e in enumerate(v.shape)] for v in inputs]
    placeholders = [te.placeholder(s, str(v.dtype)) for s, v in zip(shapes, inputs, strict=True)]
    mod = tvm.IRModule({"main": te.create_prim_func([*placeholders, function(*placeholders)])})
    scheduled, notes = schedule_module(mod, HOST)
    assert notes == ()
    out = tvm.runtime.tensor(np.zeros(expected.shape, expected.dtype))
    build(scheduled)["main"](*[tvm.runtime.tensor(v) for v in inputs], out)
    np.testing.assert_allclose(out.numpy(), expected, rtol=1e-4, atol=1e-5)


X, Y = normal(3, 5, 7, 24), normal(3, 5, 7, 24, seed=1)
ELEMENTWISE: dict[str, tuple[Callable[..., Any], Sequence[Array], Callable[..., Array]]] = {
    "add": (topi.add, [X, Y], lambda a, b: a + b),
    "odd extent": (topi.add, [X[..., :5].copy(), Y[..., :5].copy()], lambda a, b: a + b),
    "broadcast": (topi.multiply, [X, Y[:, :1, :1].copy()], lambda a, b: a * b),
    "scalar": (topi.negative, [np.float32(3).reshape(())], lambda a: -a),
    "chain": (lambda a, b: topi.nn.relu(topi.subtract(a, topi.abs(b))), [X, Y], lambda a, b: np.maximum(a - abs(b), 0)),
    "transpose": (lambda a: topi.transpose(a, (0, 3, 1, 2)), [X], lambda a: a.transpose(0, 3, 1, 2)),
    "concat": (lambda a, b: topi.concatenate([a, b], 3), [X, Y], lambda a, b: np.concatenate([a, b], 3)),
    "concat at an odd bound": (
        lambda a, b: topi.concatenate([a, b], 3),
        [X, Y[..., :7].copy()],
        lambda a, b: np.concatenate([a, b], 3),
    ),
    "integers": (topi.add, [np.arange(12), np.arange(12)], lambda a, b: a + b),
}


@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_functions_without_a_reduction(name: str, symbolic: bool) -> None:
    function, inputs, reference = ELEMENTWISE[name]
    run_te(function, inputs, reference(*inputs), symbolic)


def softmax(a: Array) -> Array:
    e = np.exp(a - a.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


REDUCTIONS: dict[str, tuple[Callable[..., Any], Array, Callable[[Array], Array]]] = {
    "softmax of whole vectors": (topi.nn.softmax, normal(6, 4, 64), softmax),
    "softmax of an odd row": (topi.nn.softmax, normal(6, 4, 19), softmax),
    "softmax of one element": (topi.nn.softmax, normal(6, 4, 1), softmax),
    "sum of rows": (lambda a: topi.sum(a, -1), normal(6, 64), lambda a: a.sum(-1)),
    "sum of kept rows": (lambda a: topi.sum(a, -1, keepdims=True), normal(6, 64), lambda a: a.sum(-1, keepdims=True)),
    "maximum of columns": (lambda a: topi.max(a, 1), normal(6, 5, 33), lambda a: a.max(1)),
    "sum over images": (lambda a: topi.sum(a, (1, 2), keepdims=True), X, lambda a: a.sum((1, 2), keepdims=True)),
    "sum of everything": (lambda a: topi.sum(a), normal(5, 7), lambda a: a.sum()),
    "rows minus their mean": (
        lambda a: topi.subtract(a, topi.divide(topi.sum(a, -1, keepdims=True), 64.0)),
        normal(6, 3, 64),
        lambda a: a - a.mean(-1, keepdims=True),
    ),
}


@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions(name: str, symbolic: bool) -> None:
    function, x, reference = REDUCTIONS[name]
    run_te(function, [x], np.asarray(reference(x)), symbolic)


def test_what_may_be_little_is_spread_among_threads_only_where_it_is_much() -> None:
    rows = tirx.Var("rows", "int64")
    x = te.placeholder((rows, 4096), "float32", "x")
    scheduled, _ = schedule_module(tvm.IRModule({"main": te.create_prim_func([x, topi.nn.relu(x)])}), HOST)
    text = str(scheduled["main"])
    assert "if T.int64(16) <= rows:" in text  # 65,536 elements
    assert text.count("T.parallel") == 1 and "else:" in text
    for count in (1, 64):
        value = normal(count, 4096)
        run_te(topi.nn.relu, [value], np.maximum(value, 0), symbolic=True)


def test_batched_matrix_product_of_two_activations() -> None:
    a, b = normal(6, 17, 15), normal(6, 15, 20, seed=1)
    run_te(lambda s, t: topi.nn.batch_matmul(s, t, transpose_b=False), [a, b], a @ b)


@pytest.mark.parametrize(
    ("function", "reference"),
    [(topi.exp, np.exp), (topi.tanh, np.tanh), (topi.sigmoid, lambda v: 1 / (1 + np.exp(-v)))],
    ids=["exp", "tanh", "sigmoid"],
)
def test_transcendental_functions_keep_nan_and_infinities(
    function: Callable[..., Any], reference: Callable[[Array], Array]
) -> None:
    x = np.array([np.nan, np.inf, -np.inf, 0.0, 1e-6, -1e-6, 1, -1, 20, -20, 88, -80, 88.6, 200, -200, 0.5], "float32")
    with np.errstate(all="ignore"):
        expected = reference(x.astype("float64")).astype("float32")
    placeholder = te.placeholder(x.shape, "float32")
    scheduled, _ = schedule_module(tvm.IRModule({"main": te.create_prim_func([placeholder, function(placeholder)])}), HOST)
    out = tvm.runtime.tensor(np.zeros(x.shape, "float32"))
    build(scheduled)["main"](tvm.runtime.tensor(x), out)
    np.testing.assert_allclose(out.numpy(), expected, rtol=2e-6, atol=1e-7)


def test_a_function_that_no_rule_knows_stays_as_it_is_and_is_noted() -> None:
    x = te.placeholder((4, 9), "float32")
    mod = tvm.IRModule({"main": te.create_prim_func([x, topi.argmax(x, 1)])})
    scheduled, notes = schedule_module(mod, HOST)
    assert len(notes) == 1 and "main" in notes[0]
    values, out = normal(4, 9), tvm.runtime.tensor(np.zeros(4, "int32"))
    build(scheduled)["main"](tvm.runtime.tensor(values), out)
    np.testing.assert_array_equal(out.numpy(), values.argmax(1))


def test_each_rule_leaves_alone_what_it_does_not_know() -> None:
    x = te.placeholder((4, 16), "float32")
    elementwise = te.create_prim_func([x, topi.nn.relu(x)])
    reduction = te.create_prim_func([x, topi.sum(x, 1)])
    names = [rule.__name__.rpartition(".")[2] for rule in RULES]
    assert [n for n, r in zip(names, RULES, strict=True) if r.apply(elementwise, HOST)] == ["elementwise"]
    assert [n for n, r in zip(names, RULES, strict=True) if r.apply(reduction, HOST)] == ["reduction"]


@pytest.mark.skipif(HOST.arch != "x86_64", reason="looks at x86 assembly")
@pytest.mark.parametrize(("name", "register"), [("x86-64-v3", "ymm"), ("x86-64-v4", "zmm")])
def test_a_convolution_multiplies_whole_registers_and_keeps_its_sums_in_them(name: str, register: str) -> None:
    machine = named(name)
    kernel = conv2d(machine, (1, 28, 28, 64), normal(64, 64, 3, 3), normal(64), pads=(1, 1, 1, 1))
    inputs = [te.placeholder(s, "float32") for s in [(1, 28, 28, 64), *[w.shape for w in kernel.weights]]]
    mod, _ = schedule_module(tvm.IRModule({"main": te.create_prim_func([*inputs, kernel.compute(*inputs)])}), machine)
    lines = build(mod, machine).inspect_source("s").splitlines()
    products = [line for line in lines if "vfmadd" in line]
    assert products and all(f"%{register}" in line for line in products)
    at = [i for i, line in enumerate(lines) if "vfmadd" in line]
    spills = [line for line in lines[at[0] : at[-1]] if f"%{register}" in line and "(%rsp)" in line and "vmovup" in line]
    assert len(spills) < len(products) // 2


@pytest.mark.parametrize("symbolic", [False, True])
def test_relax_fuses_epilogues_into_kernels_and_the_rules_find_their_tiles(symbolic: bool) -> None:
    """A squeeze-excite block with a residual: every kernel, with what Relax fuses behind it."""
    size, count = 14, 32
    batch = tirx.Var("n", "int64") if symbolic else 2
    x = relax.Var("x", relax.TensorType((batch, size, size, count), "float32"))
    point, squeeze, excite, depth = (
        normal(count, count, 1, 1),
        normal(8, count, 1, 1),
        normal(count, 8, 1, 1),
        normal(count, 1, 3, 3),
    )
    builder = relax.BlockBuilder()

    def call(kernel: Any, value: Any) -> Any:
        return builder.emit(builder.call_te(kernel.compute, value, *[relax.const(w) for w in kernel.weights]))

    with builder.function("main", [x]):
        with builder.dataflow():
            shape = (batch, size, size, count)
            d = builder.emit(relax.op.nn.relu(call(conv2d(HOST, shape, depth, pads=(1, 1, 1, 1), group=count), x)))
            p = call(global_average_pool(HOST, shape), d)
            s = builder.emit(relax.op.nn.relu(call(conv2d(HOST, (batch, 1, 1, count), squeeze), p)))
            s = builder.emit(relax.op.sigmoid(call(conv2d(HOST, (batch, 1, 1, 8), excite), s)))
            y = builder.emit(relax.op.multiply(d, s))
            y = builder.emit(relax.op.nn.relu(builder.emit(relax.op.add(call(conv2d(HOST, shape, point), y), x))))
            result = builder.emit_output(y)
        builder.emit_func_output(result)
    mod = relax.transform.AnnotateTIROpPattern()(relax.transform.LegalizeOps()(builder.get()))
    for variable, function in list(mod.functions.items()):
        if variable.name_hint.startswith("compute"):
            mod.update_func(variable, function.with_attr("op_pattern", 4))
    mod = relax.transform.FuseTIR()(relax.transform.FuseOps()(mod))
    scheduled, notes = schedule_module(mod, HOST)
    assert notes == ()
    executable = relax.build(finish(with_memory(scheduled), []), tvm.target.Target(HOST.tvm_target(1)), relax_pipeline=None)
    values = normal(2, size, size, count, seed=5)
    got = relax.VirtualMachine(executable, tvm.cpu())["main"](tvm.runtime.tensor(values)).numpy()
    np.testing.assert_allclose(got, squeeze_excite(values, depth, squeeze, excite, point), rtol=1e-3, atol=1e-3)


def squeeze_excite(x: Array, depth: Array, squeeze: Array, excite: Array, point: Array) -> Array:
    """The block of the test above in numpy."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    size = x.shape[1]
    taps = [padded[:, i : i + size, j : j + size] * depth[:, 0, i, j] for i in range(3) for j in range(3)]
    d = np.maximum(sum(taps[1:], taps[0]), 0)
    s = np.maximum(d.mean((1, 2), keepdims=True) @ squeeze[:, :, 0, 0].T, 0)
    s = 1 / (1 + np.exp(-(s @ excite[:, :, 0, 0].T)))
    return np.asarray(np.maximum((d * s) @ point[:, :, 0, 0].T + x, 0))
