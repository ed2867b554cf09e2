"""Results whose extent depends on data, in the two parts that count-results makes: one counts, one is told the count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper
import pytest
from onnx.backend.test.case.node import collect_testcases

from optc.compiler import ir, load
from optc.compiler.diagnostics import UserError
from optc.compiler.edit import Editor
from optc.compiler.pipeline import Pipeline
from optc.compiler.reference import Reference
from optc.targets.tvm import machine
from optc.targets.tvm.build import build
from optc.targets.tvm.engine import TvmEngine
from tests.targets.tvm.test_lower import HEADER

Array = np.ndarray[Any, Any]
FIRST = ("SelectBoxes", "UniqueIndices")


class TwoParts:
    """A graph as two programs. In the second each count is the extent of an input, as a symbolic dimension."""

    def __init__(self, graph: str | onnx.ModelProto, folder: Path) -> None:
        self.source = onnx.parser.parse_model(HEADER.format(opset=17) + graph) if isinstance(graph, str) else graph
        model = load.from_proto(self.source, "test")
        edit = Editor(model)
        for each in Pipeline.parse("count-results"):
            edit.owner = each.name
            each.run(edit)
        proto = ir.to_proto(model)
        nodes = list(proto.graph.node)
        maker = {name: node for node in nodes for name in node.output}
        counted = [n.input[-1] for n in nodes if n.domain == "optc" and n.op_type not in FIRST]
        counted += [n.input[2] for n in nodes if n.op_type == "Slice" and maker[n.input[2]].op_type in FIRST]
        self.counts = list(dict.fromkeys(counted))
        made = [name for n in nodes if n.op_type in FIRST for name in n.output if name not in self.counts]
        types = {v.name: v for v in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output)}
        self.first = _program(proto, nodes, [*self.counts, *made], types, {}, folder / "first")
        feeds = {
            name: onnx.helper.make_tensor_value_info(f"extent_{name}", onnx.TensorProto.BOOL, [f"K_{name}"])
            for name in self.counts
        }
        self.outputs = [o.name for o in proto.graph.output]
        shapes = [onnx.helper.make_node("Shape", [f"extent_{name}"], [name]) for name in self.counts]
        rest = [n for n in nodes if not set(n.output) & {*self.counts, *made}]
        given = {**{f"extent_{n}": v for n, v in feeds.items()}, **{name: types[name] for name in made}}
        self.second = _program(proto, [*shapes, *rest], self.outputs, types, given, folder / "second")

    def run(self, **feeds: Any) -> dict[str, Array]:
        found = self.first.run(feeds)
        extents = {f"extent_{name}": np.zeros(int(found[name][0]), bool) for name in self.counts}
        return self.second.run({**feeds, **found, **extents})

    def check(self, tolerance: float = 0.0, **feeds: Any) -> None:
        """Against onnxruntime without optimizations, or onnx's evaluator where that lacks a type."""
        found, reference = self.run(**feeds), Reference(self.source).run(feeds)
        for name, expected in reference.items():
            assert (found[name].dtype, found[name].shape) == (expected.dtype, expected.shape), name
            scale = np.abs(expected).max(initial=0) * tolerance
            np.testing.assert_allclose(found[name], expected, rtol=tolerance, atol=scale, err_msg=name)


CASES = ("test_compress", "test_nonmaxsuppression", "test_nonzero", "test_range", "test_unique")


def test_the_cases_of_onnx(tmp_path: Path) -> None:
    checked = 0
    for case in collect_testcases(None):
        if not case.name.startswith(CASES) or case.name.endswith("_expanded") or "bfloat16" in case.name:
            continue
        model = TwoParts(case.model, tmp_path / case.name)
        for inputs, outputs in case.data_sets:
            found = model.run(**{v.name: np.asarray(x) for v, x in zip(case.model.graph.input, inputs, strict=True)})
            for name, expected in zip(model.outputs, outputs, strict=True):
                assert (found[name].dtype, found[name].shape) == (expected.dtype, expected.shape), (case.name, name)
                np.testing.assert_allclose(found[name], expected, rtol=1e-3, err_msg=case.name)
        checked += 1
    assert checked >= 24


def test_without_the_pass_they_are_refused() -> None:
    """TVM's own conversion of NonMaxSuppression gives no rows at all."""
    for graph in (
        "g (float[1, N, 4] b, float[1, 1, N] s) => (int64[K, 3] y) { y = NonMaxSuppression(b, s) }",
        "g (float[N] x) => (int64[1, K] y) { y = NonZero(x) }",
        "g (float[N] x) => (float[K] y) { y = Unique(x) }",
        "g (float a, float b) => (float[K] y) { y = Range(a, b, a) }",
    ):
        with pytest.raises(UserError, match="count-results"):
            build(load.from_proto(onnx.parser.parse_model(HEADER.format(opset=17) + graph), "test"), machine.host(), "cpu")


def _program(
    proto: Any, nodes: list[Any], outputs: list[str], types: dict[str, Any], given: dict[str, Any], folder: Path
) -> TvmEngine:
    """What the outputs need of the nodes, compiled."""
    needed, kept = set(outputs), []
    for node in reversed(nodes):
        if set(node.output) & needed:
            kept.insert(0, node)
            needed.update(node.input)
    inputs = [v for v in (*proto.graph.input, *given.values()) if v.name in needed]
    held = [t for t in proto.graph.initializer if t.name in needed]
    results = [types.get(name, onnx.ValueInfoProto(name=name)) for name in outputs]
    graph = onnx.helper.make_graph(kept, "part", inputs, results, held)
    model = onnx.helper.make_model(graph, opset_imports=proto.opset_import, ir_version=proto.ir_version)
    artifact = build(load.from_proto(model, "part"), machine.host(), "cpu")
    library = folder / artifact.program["library"]
    library.parent.mkdir(parents=True)
    library.write_bytes(artifact.files[artifact.program["library"]])
    return TvmEngine(library, artifact.program, artifact.weights, 1)


def test_non_zero(tmp_path: Path) -> None:
    model = TwoParts(
        "g (float[A, B, C] x, bool[A] c) => (int64[3, K] y, int64[1, L] z) { y = NonZero(x) \n z = NonZero(c) }", tmp_path
    )
    rng = np.random.default_rng(0)
    for shape in ((1, 1, 1), (3, 4, 5), (7, 2, 30)):
        for kinds in (1, 2, 5):
            x = rng.integers(0, kinds, shape).astype(np.float32)
            model.check(x=x, c=rng.integers(0, 2, shape[0]).astype(bool))


@pytest.mark.parametrize("kind", ["double", "int8", "int64", "uint8"])
def test_elements_of_any_type(kind: str, tmp_path: Path) -> None:
    model = TwoParts(
        f"""g ({kind}[A, B] x) => (int64[2, K] y, {kind}[L] u, int64[L] n) {{
            y = NonZero(x)
            u, i, v, n = Unique(x)
        }}""",
        tmp_path,
    )
    x = np.random.default_rng(0).integers(0, 5, (6, 7)).astype({"double": "float64"}.get(kind, kind))
    model.check(x=x)


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_compress(axis: int | None, tmp_path: Path) -> None:
    """The condition may be shorter than the axis."""
    rank = 1 if axis is None else 3
    attribute = "" if axis is None else f"<axis = {axis}>"
    result = ", ".join(f"R{i}" for i in range(rank))
    model = TwoParts(f"g (int32[A, B, C] x, bool[M] c) => (int32[{result}] y) {{ y = Compress {attribute} (x, c) }}", tmp_path)
    rng = np.random.default_rng(0)
    for _ in range(10):
        shape = rng.integers(1, 7, 3)
        extent = shape.prod() if axis is None else shape[axis]
        condition = rng.integers(0, 2, rng.integers(1, extent + 1)).astype(bool)
        model.check(x=rng.integers(-99, 99, shape).astype(np.int32), c=condition)


@pytest.mark.parametrize("ordered", [0, 1])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_unique(axis: int | None, ordered: int, tmp_path: Path) -> None:
    attribute = "" if axis is None else f", axis = {axis}"
    result = "K" if axis is None else "K, L"
    model = TwoParts(
        f"""g (float[A, B] x) => (float[{result}] y, int64[M] i, int64[N] v, int64[O] n) {{
            y, i, v, n = Unique <sorted = {ordered}{attribute}> (x)
        }}""",
        tmp_path,
    )
    rng = np.random.default_rng(0)
    for _ in range(12):
        shape = rng.integers(1, 9, 2)
        model.check(x=rng.integers(0, rng.integers(1, 12), shape).astype(np.float32))


@pytest.mark.parametrize("centered", [0, 1])
def test_non_max_suppression(centered: int, tmp_path: Path) -> None:
    """All limits are known at run time only; corners come in any order, and scores may be equal."""
    model = TwoParts(
        f"""g (float[B, N, 4] boxes, float[B, C, N] scores, int64[1] most, float[1] overlap, float[1] least) => (int64[K, 3] y) {{
            y = NonMaxSuppression <center_point_box = {centered}> (boxes, scores, most, overlap, least)
        }}""",
        tmp_path,
    )
    rng = np.random.default_rng(0)
    for _ in range(20):
        b, c, n = (int(d) for d in (*rng.integers(1, 4, 2), rng.integers(1, 60)))
        model.check(
            boxes=rng.random((b, n, 4), np.float32),
            scores=np.round(rng.random((b, c, n), np.float32), 1 + int(rng.integers(0, 3))),
            most=rng.integers(0, 9, 1),
            overlap=rng.random(1, np.float32),
            least=rng.random(1, np.float32) * np.float32(0.7),
        )


def test_non_max_suppression_without_limits(tmp_path: Path) -> None:
    model = TwoParts(
        """g (float[1, N, 4] boxes, float[1, C, N] scores, int64 most) => (int64[K, 3] y, int64[L, 3] z) {
            y = NonMaxSuppression(boxes, scores, most)
            z = NonMaxSuppression(boxes, scores)
        }""",
        tmp_path,
    )
    rng = np.random.default_rng(0)
    model.check(boxes=rng.random((1, 30, 4), np.float32), scores=rng.random((1, 2, 30), np.float32) - 0.5, most=np.array(5))


@pytest.mark.parametrize("dtype", ["float", "double", "int32", "int64"])
def test_range(dtype: str, tmp_path: Path) -> None:
    model = TwoParts(f"g ({dtype} a, {dtype} b, {dtype} d) => ({dtype}[N] y) {{ y = Range(a, b, d) }}", tmp_path)
    kind = {"float": np.float32, "double": np.float64}.get(dtype, dtype)
    rng = np.random.default_rng(0)
    for _ in range(30):
        a, b = rng.integers(-20, 20, 2) * (1 if "int" in dtype else 0.37)
        d = rng.integers(1, 6) * rng.choice([-1, 1]) * (1 if "int" in dtype else 0.21)
        model.check(1e-6 if dtype == "float" else 1e-12, a=np.asarray(a, kind), b=np.asarray(b, kind), d=np.asarray(d, kind))
