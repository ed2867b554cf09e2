"""Operators that read and write by indices: every shape, duplicates, negative indices, NaN, ties; as onnxruntime has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx.reference
import pytest

from optc.compiler.target import UnbuildableError
from tests.targets.tvm.test_lower import Compiled

Array = np.ndarray[Any, Any]
EXACT = {"none": 0.0, "add": 1e-5, "mul": 1e-5, "max": 0.0, "min": 0.0}


def against_the_reference(model: Compiled, **feeds: Array) -> None:
    """Where onnxruntime lacks the operator or leaves a case open: onnx's own evaluator."""
    expected = onnx.reference.ReferenceEvaluator(model.proto).run(None, feeds)
    found = model.engine.run(feeds)
    for output, array in zip(model.proto.graph.output, expected, strict=True):
        actual = found[output.name]
        assert (actual.dtype, actual.shape) == (array.dtype, array.shape)
        np.testing.assert_allclose(actual, array, rtol=1e-6)


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_scatter_elements(axis: int, reduction: str, tmp_path: Path) -> None:
    """Duplicates are combined in their order; where nothing combines them no two threads write one element."""
    model = Compiled(
        f"""g (float[A, B, C] x, int64[D, E, F] i, float[D, E, F] u) => (float[A, B, C] y) {{
            y = ScatterElements <axis = {axis}, reduction = "{reduction}"> (x, i, u)
        }}""",
        tmp_path,
        opset=18,
    )
    rng = np.random.default_rng(axis + 1)
    for _ in range(12):
        shape = rng.integers(1, 7, 3)
        inner = [int(rng.integers(1, d + 1)) for d in shape]
        inner[axis] = int(rng.integers(1 if axis else 0, 9))
        i = rng.integers(-shape[axis], shape[axis], inner)
        if reduction == "none":  # which of two equal indices is last is not said
            i = np.sort(np.apply_along_axis(rng.permutation, axis, i), axis=axis) if i.size else i
        model.check(EXACT[reduction], x=floats(rng, shape), i=i, u=floats(rng, inner))


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_scatter_nd(depth: int, reduction: str, tmp_path: Path) -> None:
    rest = "".join(f", {c}" for c in "ABC"[depth:])
    model = Compiled(
        f"""g (float[A, B, C] x, int64[M, N, {depth}] i, float[M, N{rest}] u) => (float[A, B, C] y) {{
            y = ScatterND <reduction = "{reduction}"> (x, i, u)
        }}""",
        tmp_path,
        opset=18,
    )
    rng = np.random.default_rng(depth)
    for _ in range(12):
        shape, lead = rng.integers(1, 6, 3), (int(rng.integers(0, 4)), int(rng.integers(1, 4)))
        i = np.stack([rng.integers(-d, d, lead) for d in shape[:depth]], axis=-1)
        model.check(EXACT[reduction], x=floats(rng, shape), i=i, u=floats(rng, (*lead, *shape[depth:])))


def test_an_index_out_of_bounds_writes_nothing_and_is_said(tmp_path: Path) -> None:
    model = Compiled(
        """g (float[N, 4] x, int64[N, M] i, float[N, M] u, int64[K, 1] j, float[K, 4] v) => (float[N, 4] y, float[N, 4] z) {
            y = ScatterElements <axis = 1> (x, i, u)
            z = ScatterND (x, j, v)
        }""",
        tmp_path,
    )
    x, u, v = np.zeros((2, 4), np.float32), np.ones((2, 1), np.float32), np.ones((1, 4), np.float32)
    good, bad = {"i": np.array([[0], [-4]]), "j": np.array([[-2]])}, {"i": np.array([[0], [4]]), "j": np.array([[2]])}
    model.check(x=x, u=u, v=v, **good)
    for wrong in ("i", "j"):
        with pytest.raises(ValueError, match="out of bounds"):
            model.engine.run({"x": x, "u": u, "v": v, **good, wrong: bad[wrong]})


def test_deprecated_scatter(tmp_path: Path) -> None:
    model = Compiled(
        "g (int64[N, 3] x, int32[M, 3] i, int64[M, 3] u) => (int64[N, 3] y) { y = Scatter(x, i, u) }", tmp_path, opset=10
    )
    model.check(x=np.arange(12).reshape(4, 3), i=np.array([[0, 1, 3], [1, 2, 0]], np.int32), u=np.full((2, 3), 77))


@pytest.mark.parametrize(("batch", "depth"), [(0, 1), (0, 3), (1, 1), (1, 2), (2, 1)])
def test_gather_nd(batch: int, depth: int, tmp_path: Path) -> None:
    lead = ", ".join([*"ABC"[:batch], "M"])
    rest = "".join(f", {c}" for c in "ABC"[batch + depth :])
    model = Compiled(
        f"""g (float[A, B, C] x, int64[{lead}, {depth}] i) => (float[{lead}{rest}] y) {{
            y = GatherND <batch_dims = {batch}> (x, i)
        }}""",
        tmp_path,
    )
    rng = np.random.default_rng(batch)
    for _ in range(10):
        shape = rng.integers(1, 6, 3)
        places = (*shape[:batch], int(rng.integers(1, 5)))
        i = np.stack([rng.integers(-d, d, places) for d in shape[batch : batch + depth]], axis=-1)
        model.check(0.0, x=floats(rng, shape), i=i)


@pytest.mark.parametrize("mode", ["linear", "circular"])
def test_tensor_scatter(mode: str, tmp_path: Path) -> None:
    model = Compiled(
        f"""g (float[B, H, S, D] x, float[B, H, U, D] u, int64[B] w) => (float[B, H, S, D] y, float[B, H, S, D] z) {{
            y = TensorScatter <mode = "{mode}"> (x, u, w)
            z = TensorScatter <mode = "{mode}"> (x, u)
        }}""",
        tmp_path,
        opset=24,
    )
    rng = np.random.default_rng(0)
    for _ in range(8):
        b, h, s, d = (int(n) for n in rng.integers(1, 6, 4))
        u = int(rng.integers(1, s + 1))
        w = rng.integers(0, s if mode == "circular" else s - u + 1, b)
        against_the_reference(model, x=floats(rng, (b, h, s, d)), u=floats(rng, (b, h, u, d)), w=w)


@pytest.mark.parametrize("axis", [-1, 0, 1, 2])
def test_one_hot(axis: int, tmp_path: Path) -> None:
    """Negative indices count from the end; those beyond the depth are nowhere. The values are known at run time."""
    model = Compiled(
        f"""g (int32[N, M] i, float[2] v) => (float[A, B, C] y) {{
            depth = Constant <value = float {{5}}> ()
            y = OneHot <axis = {axis}> (i, depth, v)
        }}""",
        tmp_path,
    )
    rng = np.random.default_rng(0)
    for n, m in ((1, 1), (4, 3), (0, 2)):
        model.check(0.0, i=rng.integers(-7, 8, (n, m)).astype(np.int32), v=floats(rng, (2,)))


@pytest.mark.parametrize("k", [-9, -2, 0, 1, 9])
def test_triangles_and_diagonals(k: int, tmp_path: Path) -> None:
    model = Compiled(
        f"""g (float[A, B, C] x, bool[B, C] m) => (float[A, B, C] u, float[A, B, C] l, bool[B, C] n, int32[B, C] e) {{
            k = Constant <value = int64 {{{k}}}> ()
            u = Trilu(x, k)
            l = Trilu <upper = 0> (x, k)
            n = Trilu(m, k)
            e = EyeLike <dtype = 6, k = {k}> (n)
        }}""",
        tmp_path,
    )
    rng = np.random.default_rng(0)
    for _ in range(5):
        shape = rng.integers(1, 8, 3)
        feeds = {"x": floats(rng, shape), "m": rng.integers(0, 2, shape[1:]).astype(bool)}
        against_the_reference(model, **feeds)


@pytest.mark.parametrize("time", [0, 1])
def test_reverse_sequence(time: int, tmp_path: Path) -> None:
    model = Compiled(
        f"""g (float[A, B, C] x, int64[L] n) => (float[A, B, C] y) {{
            y = ReverseSequence <time_axis = {time}, batch_axis = {1 - time}> (x, n)
        }}""",
        tmp_path,
    )
    rng = np.random.default_rng(time)
    for _ in range(5):
        shape = rng.integers(1, 8, 3)
        model.check(0.0, x=floats(rng, shape), n=rng.integers(1, shape[time] + 1, shape[1 - time]))


def test_ranges_of_dimensions(tmp_path: Path) -> None:
    """In the type of the limits, and empty where the start lies beyond."""
    model = Compiled(
        """g (float[N] x) => (int32[A] y, int64[B] z, int64[C] w) {
            s = Shape(x)
            n = Squeeze(s)
            i = Cast <to = 6> (n)
            zero = Constant <value = int32 {0}> ()
            one = Constant <value = int32 {1}> ()
            five = Constant <value = int64 {5}> ()
            two = Constant <value = int64 {2}> ()
            down = Constant <value = int64 {-3}> ()
            y = Range(zero, i, one)
            z = Range(five, n, two)
            w = Range(n, five, down)
        }""",
        tmp_path,
    )
    for n in (0, 3, 5, 6, 12):
        model.check(0.0, x=np.zeros(n, np.float32))


@pytest.mark.parametrize("operator", ["CumSum", "CumProd"])
@pytest.mark.parametrize(("exclusive", "reverse"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_running_sums_and_products(operator: str, exclusive: int, reverse: int, tmp_path: Path) -> None:
    nodes = "\n".join(
        f"""a{axis} = Constant <value = int64 {{{axis}}}> ()
        y{axis} = {operator} <exclusive = {exclusive}, reverse = {reverse}> (x, a{axis})
        z{axis} = {operator} <exclusive = {exclusive}, reverse = {reverse}> (i, a{axis})"""
        for axis in range(3)
    )
    outputs = ", ".join(f"double[A, B, C] y{a}, int32[A, B, C] z{a}" for a in range(3))
    model = Compiled(f"g (double[A, B, C] x, int32[A, B, C] i) => ({outputs}) {{ {nodes} }}", tmp_path, opset=26)
    rng = np.random.default_rng(0)
    for shape in ((1, 1, 1), (3, 4, 5), (0, 2, 3), (7, 3, 40)):
        against_the_reference(model, x=rng.standard_normal(shape), i=rng.integers(-3, 4, shape).astype(np.int32))


def test_running_sums_along_an_axis_of_run_time(tmp_path: Path) -> None:
    """The axis is here the extent of an input, less 3."""
    model = Compiled(
        """g (int64[A, B, C] x, bool[K] z) => (int64[A, B, C] y) {
            s = Shape(z)
            n = Squeeze(s)
            three = Constant <value = int64 {3}> ()
            axis = Sub(n, three)
            y = CumSum(x, axis)
        }""",
        tmp_path,
    )
    x = np.random.default_rng(0).integers(-9, 9, (3, 4, 5))
    for k in range(6):
        model.check(0.0, x=x, z=np.zeros(k, bool))


def test_expand_where_either_extent_may_be_one(tmp_path: Path) -> None:
    model = Compiled(
        """g (float[A, B, 1] x, bool[P, Q, R] z) => (float[C, D, E] y, float[F, G, H] w) {
            s = Shape(z)
            y = Expand(x, s)
            five = Constant <value_ints = [5, 1]> ()
            w = Expand(x, five)
        }""",
        tmp_path,
    )
    rng = np.random.default_rng(0)
    for a, b, p, q, r in ((1, 5, 3, 5, 2), (3, 1, 3, 4, 1), (3, 5, 1, 1, 7), (1, 1, 1, 1, 1), (2, 5, 2, 5, 3)):
        model.check(0.0, x=floats(rng, (a, b, 1)), z=np.zeros((p, q, r), bool))


def test_depths_diagonals_and_pads_of_run_time(tmp_path: Path) -> None:
    model = Compiled(
        """g (int64[N] i, float[2] v, float[A, B] x, bool[K] z) => (float[N, D] o, float[A, B] t, float[A, P] p) {
            k = Shape(z)
            o = OneHot(i, k, v)
            three = Constant <value_ints = [3]> ()
            d = Sub(k, three)
            t = Trilu(x, d)
            zero = Constant <value_ints = [0]> ()
            pads = Concat <axis = 0> (zero, d, zero, zero)
            p = Pad(x, pads)
        }""",
        tmp_path,
    )
    rng = np.random.default_rng(0)
    for k in (1, 3, 6):  # the second crops, or fills
        model.check(0.0, i=rng.integers(-k, k, 4), v=floats(rng, (2,)), x=floats(rng, (3, 5)), z=np.zeros(k, bool))


def test_determinants(tmp_path: Path) -> None:
    model = Compiled("g (float[N, M, M] x) => (float[N] y) { y = Det(x) }", tmp_path, opset=22)
    rng = np.random.default_rng(0)
    for n, m in ((3, 1), (2, 2), (4, 5), (1, 12)):
        model.check(1e-4, x=floats(rng, (n, m, m)))
    singular = np.array([[[0, 0, 1], [0, 0, 2], [3, 4, 5]], [[0, 2, 0], [1, 0, 0], [0, 0, 3]]], np.float32)
    assert model.engine.run({"x": singular})["y"].tolist() == [0, -6]


def test_bits_as_another_type(tmp_path: Path) -> None:
    model = Compiled(
        """g (float[N] x, uint16[N] h, bool[N] b) => (int32[N] i, float16[N] f, uint8[N] c, bool[N] d) {
            i = BitCast <to = 6> (x)
            f = BitCast <to = 10> (h)
            c = BitCast <to = 2> (b)
            d = BitCast <to = 9> (c)
        }""",
        tmp_path,
        opset=26,
    )
    bits = np.array([0, 1, 0x3C00, 0xFC00], np.uint16)
    x = np.array([0, -0.0, 1.5, -np.inf], np.float32)
    against_the_reference(model, x=x, h=bits, b=np.array([True, False, True, True]))


@pytest.mark.parametrize(
    ("node", "indices"),
    [
        ("Gather <axis = 1> (x, i)", [[0, 2], [-3, 1]]),
        ("Gather(x, i)", 1),
        ("GatherElements <axis = 1> (x, i)", [[0, 2], [-3, 1]]),
        ("GatherND(x, i)", [[0, 2], [-1, -3]]),
        ("GatherND <batch_dims = 1> (x, i)", [[0], [-3]]),
    ],
)
@pytest.mark.parametrize("shape", ["2, 3", "N, M"])
def test_an_index_to_gather_from_is_checked(shape: str, node: str, indices: Any, tmp_path: Path) -> None:
    """Fed, or constant while the extent is free: the call stops before foreign memory is read."""
    right = np.array(indices, np.int64)
    dims = f"[{', '.join(map(str, right.shape))}]" if right.ndim else ""
    rank = {"Gather <axis = 1> (x, i)": 3, "GatherElements <axis = 1> (x, i)": 2}.get(node, 1)
    output = ", ".join("ABC"[:rank])
    fed = Compiled(f"g (float[{shape}] x, int64{dims} i) => (float[{output}] y) {{ y = {node} }}", tmp_path)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    fed.check(0.0, x=x, i=right)
    for wrong in (right + 5, right - 7):
        with pytest.raises(ValueError, match="out of bounds"):
            fed.engine.run({"x": x, "i": wrong})


def test_a_constant_index_is_checked(tmp_path: Path) -> None:
    graph = "g (float[{}] x) => (float[A] y) {{ y = GatherND(x, i) }}"
    free = Compiled(graph.format("N, 2"), tmp_path, i=np.array([[4, -1]]))
    free.check(0.0, x=np.arange(10, dtype=np.float32).reshape(5, 2))
    with pytest.raises(ValueError, match="out of bounds"):
        free.engine.run({"x": np.zeros((4, 2), np.float32)})
    with pytest.raises(UnbuildableError, match="out of bounds"):
        Compiled(graph.format("4, 2"), tmp_path, i=np.array([[4, -1]]))


def test_more_indices_than_rows_are_refused(tmp_path: Path) -> None:
    model = Compiled("g (float[N, M] x, int64[P, Q] i) => (float[P, Q] y) { y = GatherElements <axis = 1> (x, i) }", tmp_path)
    with pytest.raises(ValueError, match="more indices"):
        model.engine.run({"x": np.zeros((2, 3), np.float32), "i": np.zeros((3, 3), np.int64)})


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect"])
def test_pads_of_either_sign(mode: str, tmp_path: Path) -> None:
    """Negative pads crop, before the others are filled; the value may be known only at run time."""
    model = Compiled(
        f"""g (float[A, B, C] x, float v) => (float[D, E, F] y, float[A, G, C] z) {{
            pads = Constant <value_ints = [1, -1, 2, -2, 3, -1]> ()
            y = Pad <mode = "{mode}"> (x, pads, v)
            some = Constant <value_ints = [2, -1]> ()
            axes = Constant <value_ints = [-2]> ()
            z = Pad <mode = "{mode}"> (x, some, v, axes)
        }}""",
        tmp_path,
        opset=18,
    )
    rng = np.random.default_rng(0)
    for _ in range(6):
        model.check(0.0, x=floats(rng, rng.integers(6, 12, 3)), v=np.float32(rng.standard_normal()))


@pytest.mark.parametrize("kind", ["float16", "double", "int8", "uint16", "uint32", "int64", "uint64", "bool"])
def test_elements_of_any_type(kind: str, tmp_path: Path) -> None:
    number = kind != "bool"
    nodes = {
        "add": 'ScatterElements <axis = 1, reduction = "add"> (x, i, u)',
        "most": 'ScatterElements <axis = 1, reduction = "max"> (x, i, u)',
        "least": 'ScatterND <reduction = "min"> (x, j, u)',
        "upper": "Trilu(x)",
        "rows": "GatherND(x, j)",
        "eye": "EyeLike(x)",
        "back": "ReverseSequence <time_axis = 1, batch_axis = 0> (x, l)",
        **({"all": 'Einsum <equation = "nm,nm->mn"> (x, u)', "sorted, places": "TopK(x, k)"} if number else {}),
        **({"arg": "ArgMin <axis = 1> (x)"} if number else {}),
    }
    body = "\n".join(f"{names} = {node}" for names, node in nodes.items())
    types = {"places": "int64[N, 4]", "arg": "int64[N, 1]", "all": f"{kind}[M, N]", "sorted": f"{kind}[N, 4]"}
    names = [name.strip() for given in nodes for name in given.split(",")]
    outputs = ", ".join(f"{types.get(name, f'{kind}[N, M]')} {name}" for name in names)
    model = Compiled(
        f"""g ({kind}[N, M] x, int64[N, M] i, {kind}[N, M] u, int64[N, 1] j, int64[N] l) => ({outputs}) {{
            k = Constant <value_ints = [4]> ()
            {body}
        }}""",
        tmp_path,
        opset=22,
    )
    rng = np.random.default_rng(0)
    numpy_type = np.dtype({"double": "float64"}.get(kind, kind))
    x, u = (rng.integers(0, 9 if number else 2, (5, 6)).astype(numpy_type) for _ in range(2))
    i = np.stack([rng.permutation(6) for _ in range(5)])
    against_the_reference(model, x=x, u=u, i=i, j=rng.permutation(5)[:, None], l=rng.integers(1, 7, 5))


def floats(rng: np.random.Generator, shape: Any) -> Array:
    return rng.standard_normal([int(d) for d in shape]).astype(np.float32)
