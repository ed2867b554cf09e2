"""What count-results leaves alone, and that what it makes means the same."""

from __future__ import annotations

import numpy as np
import pytest

from optc.compiler import ir, printer
from optc.compiler.edit import Editor
from optc.compiler.reference import Reference
from optc.passes.layout.count_results import CountResults


def _run(text: str, limit: int | None = None) -> tuple[ir.Model, Editor]:
    model = printer.parse(text)
    edit = Editor(model, limit)
    edit.owner = "count-results"
    CountResults().run(edit)
    return model, edit


HEADER = '<ir_version: 8, opset_import: ["" : {opset}]>'
NON_ZERO = HEADER.format(opset=17) + "g (float[N, 2] x) => (int64[2, K] y) { [a] y = NonZero(x) }"


@pytest.mark.parametrize(
    ("opset", "graph", "reason"),
    [
        (10, "g (float[N] x) => (int64[1, K] y) { y = NonZero(x) }", "opset 10"),
        (17, "g (float x) => (int64[0, K] y) { y = NonZero(x) }", "no axis"),
        (17, "g (string[N] x, bool[N] c) => (string[K] y) { y = Compress <axis = 0> (x, c) }", "strings"),
    ],
)
def test_what_is_refused_is_said(opset: int, graph: str, reason: str) -> None:
    model, edit = _run(HEADER.format(opset=opset) + graph)
    assert all(node.domain == "" for node in model.graph)
    assert reason in edit.refusals[0].reason


def test_a_range_of_known_extent_stays() -> None:
    graph = """g (float[N] x) => (int64[N] y) {
        s = Shape(x)
        n = Squeeze(s)
        zero = Constant <value = int64 {0}> ()
        one = Constant <value = int64 {1}> ()
        y = Range(zero, n, one)
    }"""
    assert not _run(HEADER.format(opset=17) + graph)[1].steps


def test_the_limit_of_a_bisection_leaves_everything() -> None:
    before = printer.text(printer.parse(NON_ZERO))
    assert printer.text(_run(NON_ZERO, limit=0)[0]) == before
    assert printer.text(_run(NON_ZERO, limit=1)[0]) != before


def test_outputs_keep_their_names_and_meaning() -> None:
    text = (
        HEADER.format(opset=17)
        + """g (float[N, 2] x, bool[M] c)
        => (float[A, 2] y, int64[A] i, int64[N] v, int64[A] n, float[B] z) {
        y, i, v, n = Unique <axis = 0> (x)
        z = Compress(x, c)
    }"""
    )
    model, edit = _run(text)
    assert len(edit.steps) == 2
    x = np.array([[3, 1], [0, 2], [3, 1], [0, 1]], np.float32)
    feeds = {"x": x, "c": np.array([True, False, True, True])}
    expected, found = Reference(printer.parse(text)).run(feeds), Reference(model).run(feeds)
    assert list(found) == ["y", "i", "v", "n", "z"]
    for name in found:
        np.testing.assert_array_equal(found[name], expected[name])


def test_nodes_in_bodies_are_counted_too() -> None:
    text = (
        HEADER.format(opset=17)
        + """g (bool c, float[N] x) => (int64[1, K] y) {
        y = If(c) <
            then_branch = t () => (int64[1, A] a) { a = NonZero(x) },
            else_branch = e () => (int64[1, B] b) { m = Neg(x) b = NonZero(m) }
        >
    }"""
    )
    model, edit = _run(text)
    assert len(edit.steps) == 2
    x = np.array([0, 3, 0, 4], np.float32)
    for c in (True, False):
        assert Reference(model).run({"c": np.array(c), "x": x})["y"].tolist() == [[1, 3]]
