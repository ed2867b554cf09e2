"""Sinking keeps what a model computes, for every way through its branches, wherever its nodes stand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from optc.compiler import ir, printer, runner, verify
from optc.compiler.edit import Editor
from optc.compiler.pipeline import Pipeline
from optc.compiler.reference import Reference
from optc.passes.cleanup.sink_into_if import SinkIntoIf

MODEL = """<ir_version: 8, opset_import: ["" : 17]>
net (float[N,4] x, float[4] bias, bool a, bool b) => (float[A,2] y, float[N,4] z, v, int64 count)
<int64[1] all = {-1}, int64[2] pairs = {-1, 2}, bool[1] yes = {1}> {
    [one] s, n = If (a) <then_branch = t () => (float[K] t0, float[N,4] t1) { [t2] t0 = Reshape (x, all) [t3] t1 = Neg (x) },
        else_branch = e () => (float[N,4] e0, float[N,4] e1) <float[1] k = {3}> { [e2] e0 = Mul (x, k) [e3] e1 = Abs (x) }>
    [early] v = Relu (s)
    [size] count = Size (v)
    [known] f = Reshape (s, all)
    [between] g = ReduceMax <keepdims = 0> (f)
    [user] h = Exp (g)
    [apart] w = Add (bias, g)
    [two] q, r = If (b) <then_branch = u () => (float[M] u0, u1) { [u2] u0 = Reshape (n, all) [u3] u1 = Neg (s) },
        else_branch = o () => (float[N,4] o0, o1) { [o2] o0 = Add (n, w)
            [inner] o1 = If (a) <then_branch = i () => (i0) { [i1] i0 = Abs (s) },
                else_branch = j () => (j0) { [j1] j0 = Mul (s, h) }> }>
    [late] p = Mul (s, h)
    [joined] l = Reshape (q, pairs)
    [more] m = Reshape (p, pairs)
    [both] rp = Reshape (r, pairs)
    [sum] lm = Add (l, m)
    [y] y = Add (lm, rp)
    [z] z = Relu (n)
}"""
WAYS = list(itertools.product([True, False], [True, False], [1, 3]))


def feeds(a: bool, b: bool, rows: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(rows)
    x, bias = (rng.standard_normal(shape).astype(np.float32) for shape in ((rows, 4), (4,)))
    return {"x": x, "bias": bias, "a": np.array(a), "b": np.array(b)}


def sunk(limit: int | None = None) -> Editor:
    edit = Editor(printer.parse(MODEL), limit)
    edit.owner = SinkIntoIf.name
    SinkIntoIf().run(edit)
    return edit


def differing(model: ir.Model) -> list[str]:
    """Ifs of the model whose results have a rank that is not known."""
    return [
        n.name or ""
        for g in ir.all_graphs(model.graph)
        for n in g
        if n.op_type == "If"
        if any(v.shape is None for v in n.outputs)
    ]


@pytest.mark.parametrize("limit", [None, 0, 1, 2, 3])
def test_every_way_gives_what_it_gave(limit: int | None) -> None:
    edit, before = sunk(limit), Reference(printer.parse(MODEL))
    assert verify.verify(edit.model, verify.signature(printer.parse(MODEL))) == []
    after = Reference(edit.model)
    for way in WAYS:
        expected, found = before.run(feeds(*way)), after.run(feeds(*way))
        for name, array in expected.items():
            assert found[name].shape == array.shape, (name, way)
            np.testing.assert_allclose(found[name], array, rtol=1e-6, err_msg=f"{name} {way}")


def test_the_ranks_are_known_but_for_outputs_that_differ_themselves() -> None:
    model = sunk().model
    assert differing(printer.parse(MODEL)) == ["one", "two", "inner"]
    left = {v.name for g in ir.all_graphs(model.graph) for n in g for v in n.outputs if v.shape is None}
    assert left == {"v"}


def test_it_is_undone_whole() -> None:
    edit = sunk()
    edit.rollback(0)
    assert printer.text(edit.model) == printer.text(printer.parse(MODEL))


def test_growth_is_bounded() -> None:
    """Two Ifs in a row, each behind the other: three copies of what follows both, unless there is no room for them."""
    model = printer.parse(MODEL)
    whole = ir.count_nodes(model)
    runner.run(Pipeline.parse("sink-into-if{max-growth=5}"), model, runner.Options(check="off"))
    assert ir.count_nodes(model) <= whole + 5
