"""Patterns: an expression matches the graph that computes it, however its operands are ordered; a failure has its reason."""

from __future__ import annotations

from typing import Any

import pytest

from optc.compiler import ir, printer
from optc.compiler.pattern import Const, Match, Matcher, trace


def graph(nodes: str, weights: str = "", outputs: str = "float[N] y", opset: int = 17) -> ir.Graph:
    held = f"<{weights}>" if weights else ""
    return printer.parse(
        f'<ir_version: 8, opset_import: ["" : {opset}]> g (float[N] x, float[N] z) => ({outputs}) {held} {{ {nodes} }}'
    ).graph


def matches(pattern: Any, found: ir.Graph, node: str) -> list[Match]:
    matcher = Matcher(trace(pattern), 17)
    return list(matcher.match(next(n for n in found if n.name == node)))


def reason(pattern: Any, found: ir.Graph, node: str) -> str:
    matcher = Matcher(trace(pattern), 17)
    assert list(matcher.match(next(n for n in found if n.name == node))) == []
    return matcher.reason


def bound(match: Match) -> dict[str, str | None]:
    return {k: v.name if v is not None else None for k, v in match.values.items()}


def scaled(op: Any, x: Any, k: Const) -> Any:
    return op.Add(op.Mul(x, k), x)


@pytest.mark.parametrize(
    "nodes", ["m = Mul (x, k) [add] y = Add (m, x)", "m = Mul (k, x) [add] y = Add (m, x)", "m = Mul (k, x) [add] y = Add (x, m)"]
)
def test_commutative_operands_match_in_either_order(nodes: str) -> None:
    assert [bound(m) for m in matches(scaled, graph(nodes, "float k = {2}"), "add")] == [{"x": "x", "k": "k"}]


def test_operands_of_others_keep_their_order() -> None:
    def half(op: Any, x: Any) -> Any:
        return op.Div(x, 2.0)

    assert matches(half, graph("[div] y = Div (x, k)", "float k = {2}"), "div")
    assert "'x' is not the constant 2.0" in reason(half, graph("[div] y = Div (k, x)", "float k = {2}"), "div")


def test_a_name_that_stands_twice_is_one_value() -> None:
    def rest(op: Any, x: Any) -> Any:
        return op.Sub(op.Floor(x), x)

    assert matches(rest, graph("f = Floor (x) [sub] y = Sub (f, x)"), "sub")
    assert "x stands twice" in reason(rest, graph("f = Floor (x) [sub] y = Sub (f, z)"), "sub")


def test_const_wants_a_constant() -> None:
    def doubled(op: Any, x: Any, k: Const) -> Any:
        return op.Div(x, k)

    assert reason(doubled, graph("[div] y = Div (x, z)"), "div") == "'z' (as k) is not a constant"


def test_literals_match_up_to_the_precision_of_the_dtype() -> None:
    def root(op: Any, x: Any) -> Any:
        return op.Mul(x, 2**0.5)

    assert matches(root, graph("[mul] y = Mul (x, k)", "float[2] k = {1.4142135, 1.4142135}"), "mul")
    assert not matches(root, graph("[mul] y = Mul (x, k)", "float k = {1.414}"), "mul")
    assert not matches(root, graph("[mul] y = Mul (x, k)", "float[2] k = {1.4142135, 1}"), "mul")


def test_an_optional_input_may_be_absent() -> None:
    def clip(op: Any, x: Any, low: Const | None, high: Const | None) -> Any:
        return op.Clip(x, low, high)

    assert bound(matches(clip, graph("[clip] y = Clip (x, , k)", "float k = {6}"), "clip")[0]) == {
        "x": "x",
        "low": None,
        "high": "k",
    }
    assert bound(matches(clip, graph("[clip] y = Clip (x)"), "clip")[0]) == {"x": "x", "low": None, "high": None}


def test_an_input_that_is_not_optional_must_be_there() -> None:
    def clip(op: Any, x: Any, low: Const, high: Const) -> Any:
        return op.Clip(x, low, high)

    assert reason(clip, graph("[clip] y = Clip (x, k)", "float k = {0}"), "clip") == "input high is absent"


def test_more_inputs_than_the_pattern_has_are_refused() -> None:
    def clip(op: Any, x: Any) -> Any:
        return op.Clip(x)

    assert (
        reason(clip, graph("[clip] y = Clip (x, k)", "float k = {0}"), "clip") == "'clip' (Clip) has 2 inputs, the pattern has 1"
    )


def test_attributes_compare_with_the_default_of_the_schema() -> None:
    def softmax(op: Any, x: Any) -> Any:
        return op.Softmax(x, axis=-1)

    assert matches(softmax, graph("[s] y = Softmax (x)"), "s")
    assert matches(softmax, graph("[s] y = Softmax <axis = -1> (x)"), "s")
    assert "attribute axis" in reason(softmax, graph("[s] y = Softmax <axis = 0> (x)"), "s")


def test_alternatives() -> None:
    def either(op: Any, x: Any) -> Any:
        return op.Neg(op.any_of(op.Relu(x), op.Tanh(x)))

    for inner in ("Relu", "Tanh"):
        assert matches(either, graph(f"a = {inner} (x) [neg] y = Neg (a)"), "neg")
    assert not matches(either, graph("a = Abs (x) [neg] y = Neg (a)"), "neg")


def test_several_outputs_of_one_node() -> None:
    def split(op: Any, x: Any) -> Any:
        a, b = op.Split(x, outputs=2, name="split")
        return op.Relu(a), op.Neg(b)

    found = graph("[split] a, b = Split (x) [r] y = Relu (a) [n] w = Neg (b)", outputs="float[N] y, float[N] w")
    (match,) = matches(split, found, "r")
    assert [v.name for v in match.roots] == ["y", "w"]


def test_a_second_root_is_found_through_a_shared_input() -> None:
    def twins(op: Any, x: Any, k: Const) -> Any:
        return op.Mul(x, k), op.Add(x, 1.0)

    found = graph("[m] y = Mul (x, k) [a] w = Add (one, x)", "float k = {2}, float one = {1}", "float[N] y, float[N] w")
    (match,) = matches(twins, found, "m")
    assert [v.name for v in match.roots] == ["y", "w"]


def test_the_reason_is_that_of_the_deepest_failure() -> None:
    def deep(op: Any, x: Any) -> Any:
        return op.Relu(op.Add(op.Mul(x, 2.0), 1.0))

    nodes = "m = Mul (x, k) a = Add (m, one) [relu] y = Relu (a)"
    assert reason(deep, graph(nodes, "float k = {3}, float one = {1}"), "relu") == "'k' is not the constant 2.0"
