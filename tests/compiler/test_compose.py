"""A model in parts: what one target refuses another runs, If, Loop and Scan are driven, and the result is the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from optc import targets
from optc.compiler import bundle, compose, ir, load, regions, runner, runtime
from optc.compiler.diagnostics import UserError
from optc.compiler.manifest import Manifest, ValueInfo
from optc.compiler.numerics import Array
from optc.compiler.pipeline import Pipeline
from optc.compiler.reference import Reference
from optc.compiler.target import Artifact, Engine, Target, UnbuildableError
from optc.targets.onnxruntime import OnnxRuntime
from tests import strategies


@dataclass(frozen=True)
class Picky(Target):
    """Refuses what a test says, at once or only when it builds; and control flow. Runs the rest by onnxruntime."""

    name = "picky"
    fallbacks = ("onnxruntime",)
    refused: tuple[str, ...] = ()
    late: tuple[str, ...] = ()
    early: tuple[str, ...] = ()

    def refusal(self, node: ir.Node) -> str:
        if any(True for _ in ir.bodies(node)):
            return "it has bodies"
        return f"{node.op_type} is refused" if node.name in self.refused or node.op_type in self.refused else ""

    def build(self, model: ir.Model) -> Artifact:
        late = {node.name or "": "seen late" for node in model.graph if node.name in self.late or node.op_type in self.late}
        made = {v.name for node in model.graph for v in node.outputs}
        early = frozenset(v.name or "" for n in model.graph for v in n.inputs if v and v.name in self.early and v.name in made)
        if late or early:
            raise UnbuildableError(late, early)
        return OnnxRuntime().build(model)

    @classmethod
    def load(cls, folder: Path, program: Mapping[str, Any], weights: Mapping[str, Array], threads: int) -> Engine:
        return OnnxRuntime.load(folder, program, weights, threads)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(targets.TARGETS, "picky", f"{__name__}:Picky")
    monkeypatch.setattr("optc.compiler.registry.importlib.import_module", _importing(__name__))


def _importing(own: str) -> Any:
    import importlib
    import sys

    real = importlib.import_module
    return lambda name: sys.modules[own] if name == own else real(name)


def _model(text: str, opset: int = 17) -> ir.Model:
    return load.from_proto(onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]>' + text), "test")


def _program(target: Target, model: ir.Model, folder: Path) -> runtime.Program:
    inputs, outputs = (tuple(map(ValueInfo.of, part)) for part in (model.graph.inputs, model.graph.outputs))
    artifact = compose.build(target, model.clone())
    bundle.write(folder, Manifest("0" * 64, "", str(target), inputs, outputs), artifact)
    return runtime.load(folder, threads=1)


def _same(program: runtime.Program, model: ir.Model, feeds: Mapping[str, Array]) -> None:
    expected, found = Reference(model).run(feeds), program.run(feeds)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), name
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-6, err_msg=name)


def _engines(program: runtime.Program) -> list[str]:
    return [part["target"].partition("{")[0] for part in program.manifest.program.get("parts", [])]


CHAIN = "net (float[N,4] x) => (float[N,4] y) { [a] a = Relu (x) [b] b = Neg (a) [c] c = Abs (b) [d] y = Add (c, a) }"
X = {"x": np.arange(8, dtype=np.float32).reshape(2, 4) - 4}


def test_what_nobody_refuses_is_one_program(tmp_path: Path) -> None:
    program = _program(Picky(), _model(CHAIN), tmp_path / "b")
    assert "plan" not in program.manifest.program and not program.manifest.notes
    _same(program, _model(CHAIN), X)


@pytest.mark.parametrize("target", [Picky(refused=("b",)), Picky(late=("b",)), Picky(refused=("Neg",))])
def test_a_refused_node_runs_in_the_fallback_and_is_named_with_the_reason(target: Picky, tmp_path: Path) -> None:
    program = _program(target, _model(CHAIN), tmp_path / "b")
    assert _engines(program) == ["picky", "onnxruntime", "picky"]
    (note,) = program.manifest.notes
    assert note.startswith("runs in onnxruntime: node 'b' (Neg): ")
    assert [t.nodes for t in program.profile(X)] == [1, 1, 2]
    _same(program, _model(CHAIN), X)


def test_without_fallback_every_refused_node_is_named() -> None:
    with pytest.raises(UserError) as raised:
        compose.build(Picky(refused=("a",), late=("c",)), _model(CHAIN), fallback=False)
    assert "node 'a'" in raised.value.place and "--no-fallback" in raised.value.hint


def test_a_number_that_dimensions_depend_on_is_known_before_the_region_starts(tmp_path: Path) -> None:
    program = _program(Picky(early=("b",)), _model(CHAIN), tmp_path / "b")
    assert _engines(program) == ["picky", "picky"]
    _same(program, _model(CHAIN), X)


def test_a_target_that_always_finds_something_else_ends(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Stubborn(Picky):
        def build(self, model: ir.Model) -> Artifact:
            raise UnbuildableError({}, frozenset({"a"}))

    with pytest.raises(UnbuildableError):
        compose.build(Stubborn(), _model(CHAIN), fallback=False)


REFUSED = ("Relu", "Add", "Mul", "MatMul", "Conv", "Reshape", "Shape", "Concat")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    strategies.models(),
    st.sets(st.sampled_from(REFUSED)),
    st.data(),
)
def test_random_models_in_random_parts_are_the_model(
    tmp_path_factory: pytest.TempPathFactory, model: ir.Model, refused: set[str], data: Any
) -> None:
    names = [node.name or "" for node in model.graph if not regions.is_constant(node)]
    late = tuple(data.draw(st.lists(st.sampled_from(names), max_size=2, unique=True)))
    program = _program(Picky(refused=tuple(sorted(refused)), late=late), model, tmp_path_factory.mktemp("parts") / "b")
    for batch, flag in ((2, True), (1, False)):
        _same(program, model, strategies.feeds(batch, flag))


LOOP = """net (float[4] x, int64 n, bool go) => (float[4] last, float[K,4] all, int64 k)
    <int64 one = {1}, int64 zero = {0}, float[4] step = {1,2,3,4}> {
    [loop] last, k, all = Loop <body = body (int64 i, bool c, float[4] s, int64 j) => (bool d, float[4] t, int64 m, float[4] u) {
        [cast] f = Cast <to = 1> (i)
        [mul] v = Mul (step, f)
        [add] t = Add (s, v)
        [neg] u = Neg (t)
        [inc] m = Add (j, one)
        [sum] w = ReduceSum <keepdims = 0> (t)
        limit = Constant <value = float {100.0}> ()
        [less] d = Less (w, limit)
    }> (n, go, x, zero)
}"""


@pytest.mark.parametrize("target", [Picky(), Picky(refused=("neg", "cast")), Target.parse("cpu")], ids=str)
@pytest.mark.parametrize(("n", "go"), [(0, True), (1, True), (3, True), (50, True), (5, False)])
def test_a_loop_with_state_captured_values_and_gathered_outputs(target: Target, n: int, go: bool, tmp_path: Path) -> None:
    model = _model(LOOP)
    program = _program(target, model, tmp_path / "b")
    assert "loop" in program.manifest.program["plan"]["steps"][0]
    _same(program, model, {"x": X["x"][0], "n": np.array(n, np.int64), "go": np.array(go)})


SCAN = """net (float[2] s, float[3,T] x, float[T,3] z) => (float[2] e, float[2,T] r, float[T] q) {
    [scan] e, r, q = Scan <num_scan_inputs = 2, scan_input_axes = [1, 0], scan_input_directions = [0, 1],
        scan_output_axes = [1, 0], scan_output_directions = [1, 0],
        body = body (float[2] a, float[3] u, float[3] v) => (float[2] b, float[2] c, float d) {
        [m] d = ReduceSum <keepdims = 0> (p)
        [p] p = Mul (u, v)
        [t] b = Add (a, d)
        [o] c = Neg (b)
    }> (s, x, z)
}"""


@pytest.mark.parametrize("target", [Picky(refused=("p",)), Target.parse("cpu")], ids=str)
@pytest.mark.parametrize("steps", [1, 5])
def test_a_scan_with_axes_and_directions(target: Target, steps: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    feeds = {"s": rng.random(2), "x": rng.random((3, steps)), "z": rng.random((steps, 3))}
    model = _model(SCAN)
    _same(_program(target, model, tmp_path / "b"), model, {k: v.astype(np.float32) for k, v in feeds.items()})


NESTED = """net (float[4] x, bool a, bool b) => (float[4] y, float[4] z) <float[4] k = {5,6,7,8}> {
    [outer] y, z = If (a) <then_branch = t () => (float[4] t0, float[4] x_again) {
        [r] h = Relu (x)
        [inner] t0 = If (b) <then_branch = tt () => (float[4] tt0) { [n] tt0 = Neg (h) },
            else_branch = te () => (float[4] te0) { [i] te0 = Identity (k) }>
        [same] x_again = Identity (x)
    }, else_branch = e () => (float[4] e0, float[4] e1) { [c] e0 = Identity (k) [g] e1 = Abs (x) }>
}"""


@pytest.mark.parametrize("target", [Picky(), Picky(refused=("n",)), Target.parse("cpu")], ids=str)
def test_nested_ifs_with_captured_values_and_outputs_that_are_constants(target: Target, tmp_path: Path) -> None:
    model = _model(NESTED)
    program = _program(target, model, tmp_path / "b")
    for a in (True, False):
        for b in (True, False):
            _same(program, model, {"x": X["x"][0], "a": np.array(a), "b": np.array(b)})


def test_outputs_are_the_callers_own(tmp_path: Path) -> None:
    """Writing into them changes neither a feed nor a constant."""
    model = _model(NESTED)
    program = _program(Target.parse("cpu"), model, tmp_path / "b")
    feeds = {"x": X["x"][0].copy(), "a": np.array(True), "b": np.array(False)}
    found = program.run(feeds)
    for array in found.values():
        array[...] = 99
    _same(program, model, feeds)


def test_numbers_computed_from_data_become_dimensions(tmp_path: Path) -> None:
    """On cpu: a shape that is computed by a product of what was fed cuts the graph in two."""
    model = _model(
        "net (float[R] x, int64[2] s) => (float[A,B] y) <int64[2] zero = {0, 0}> "
        "{ [m] t = Add (s, zero) [r] h = Reshape (x, t) [n] y = Relu (h) }"
    )
    program = _program(Target.parse("cpu"), model, tmp_path / "b")
    assert _engines(program) == ["cpu", "cpu"] and not program.manifest.notes
    for shape in ([1, 8], [4, 2], [2, -1], [-1, 8], [0, 1]):
        _same(program, model, {"x": np.arange(8, dtype=np.float32) - 3, "s": np.array(shape, np.int64)})


IMPOSSIBLE = """net (float[2,3] x, bool flat, int64 trips) => (float[M] y, float[2,3] z) <int64[1] all = {-1}, bool on = {1}> {
    [choice] s = If (flat) <then_branch = t () => (float[K] t0) { [flatten] t0 = Reshape (x, all) },
        else_branch = e () => (float[2,3] e0) { [keep] e0 = Neg (x) }>
    [matrix] m = Transpose <perm = [1, 0]> (s)
    [line] y = Reshape (m, all)
    [repeat] z = Loop (trips, on, x) <body = b (int64 i, bool c, float[2,3] h) => (bool d, float[2,3] g) {
        [going] d = Identity (c)
        [often] r = If (flat) <then_branch = u () => (float[K] u0) { [p] u0 = Reshape (h, all) },
            else_branch = v () => (float[2,3] v0) { [q] v0 = Neg (h) }>
        [turn] w = Transpose <perm = [1, 0]> (r)
        [back] g = Transpose <perm = [1, 0]> (w)
    }>
}"""


def test_a_branch_that_no_input_makes_valid_fails_when_it_is_taken(tmp_path: Path) -> None:
    model, lowered = _model(IMPOSSIBLE), _model(IMPOSSIBLE)
    runner.run(Pipeline.parse("sink-into-if"), lowered, runner.Options(check="off"))
    program = _program(Target.parse("cpu"), lowered, tmp_path / "b")
    assert set(_engines(program)) == {"cpu"}
    notes = [note for note in program.manifest.notes if "fails" in note]
    assert [note.partition("'")[2].partition("'")[0] for note in notes] == ["matrix", "turn"]
    feeds = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "trips": np.array(3)}
    _same(program, model, {**feeds, "flat": np.array(False)})
    with pytest.raises(UserError, match="Transpose is given what no input makes valid") as raised:
        program.run({**feeds, "flat": np.array(True)})
    assert raised.value.place == "node 'matrix' (Transpose)"


def test_a_loop_whose_body_no_input_makes_valid_may_run_no_step(tmp_path: Path) -> None:
    text = IMPOSSIBLE.replace("[matrix] m = Transpose <perm = [1, 0]> (s)", "[matrix] m = Relu (s)")
    model, lowered = _model(text), _model(text)
    runner.run(Pipeline.parse("sink-into-if"), lowered, runner.Options(check="off"))
    program = _program(Target.parse("cpu"), lowered, tmp_path / "b")
    feeds = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "flat": np.array(True)}
    _same(program, model, {**feeds, "trips": np.array(0)})
    with pytest.raises(UserError, match="no input makes valid"):
        program.run({**feeds, "trips": np.array(1)})
