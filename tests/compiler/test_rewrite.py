"""Rewriting: to a fixed point, in bodies too; what is seen from outside and the interface stay; refusals give their reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from optc.compiler import ir, printer, verify
from optc.compiler.diagnostics import InternalError
from optc.compiler.edit import Editor
from optc.compiler.numerics import Numerics
from optc.compiler.rewrite import Builder, Const, PatternBuilder, Refuse, RewritePass, Rule, apply_rules

HEADER = '<ir_version: 8, opset_import: ["" : 17]>'


def parse(body: str) -> ir.Model:
    return printer.parse(f"{HEADER} {body}")


def run(model: ir.Model, *rules: Rule, limit: int | None = None) -> Editor:
    interface, edit = verify.signature(model), Editor(model, limit)
    edit.owner = "test"
    apply_rules(edit, rules)
    assert verify.verify(model, interface) == []
    return edit


def lines(model: ir.Model) -> list[str]:
    return [printer.node_line(n, comments=False) for g in ir.all_graphs(model.graph) for n in g]


def _add_add(op: PatternBuilder, x: Any, a: Const, b: Const) -> Any:
    return op.Add(op.Add(x, a), b)


def _sum(op: Builder, x: ir.Value, a: Const, b: Const) -> Any:
    return op.Add(x, a + b)


ADDS = Rule("add-add", _add_add, _sum)

CHAIN = """g (float[N] x) => (float[N] y) <float a = {1}, float b = {2}, float c = {3}, float d = {4}>
{ [one] p = Add (x, a) [two] q = Add (b, p) [three] r = Add (q, c) [four] y = Add (r, d) }"""


def test_rules_apply_to_a_fixed_point() -> None:
    model = parse(CHAIN)
    edit = run(model, ADDS)
    (node,) = model.graph
    assert ir.const(node.inputs[1]) == 10
    assert len(edit.steps) == 3
    assert set(ir.origin(node).sources) == {"one", "two", "three", "four"}
    assert ir.origin(node).passes == ("test",)
    assert list(model.graph.initializers) == [node.inputs[1].name]  # type: ignore[union-attr]


@pytest.mark.parametrize("limit", [0, 1, 2])
def test_a_limit_stops_after_so_many_rewrites(limit: int) -> None:
    model = parse(CHAIN)
    assert len(run(model, ADDS, limit=limit).steps) == limit
    assert ir.count_nodes(model) == 4 - limit


def test_rollback_restores_the_text() -> None:
    model = parse(CHAIN)
    before = printer.text(model)
    run(model, ADDS).rollback(0)
    assert printer.text(model) == before


@pytest.mark.parametrize(
    ("inputs", "outputs", "nodes", "why"),
    [
        ("x", "yp", "p = Add (x, a) [two] y = Add (p, a)", "'p' is also an output of the graph"),
        ("x", "yz", "p = Add (x, a) [two] y = Add (p, a) [n] z = Neg (p)", "'p' is also used by 'n' (Neg)"),
        ("xk", "y", "p = Add (x, k) [two] y = Add (p, a)", "is not a constant"),
    ],
)
def test_a_refusal_has_its_reason(inputs: str, outputs: str, nodes: str, why: str) -> None:
    fed, made = (", ".join(f"float[N] {name}" for name in names) for names in (inputs, outputs))
    model = parse(f"g ({fed}) => ({made}) <float a = {{1}}> {{ {nodes} }}")
    before = printer.text(model)
    edit = run(model, ADDS)
    assert printer.text(model) == before
    assert any(r.node == "two" and why in r.reason for r in edit.refusals)


def test_a_value_used_in_a_body_is_used_elsewhere() -> None:
    model = parse("""g (float[N] x, bool c) => (float[N] y, float[N] z) <float a = {1}>
    { [one] p = Add (x, a) [two] y = Add (p, a)
      z = If (c) <then_branch = t () => (float[N] u) { u = Neg (p) }, else_branch = e () => (float[N] v) { v = Relu (x) }> }""")
    assert any("'p' is also used by" in r.reason for r in run(model, ADDS).refusals)
    assert len(model.graph) == 3


def test_bodies_are_rewritten_and_no_match_crosses_their_border() -> None:
    model = parse("""g (float[N] x, bool c) => (float[N] z) <float a = {1}, float b = {2}>
    { [outside] p = Add (x, a)
      z = If (c) <then_branch = t () => (float[N] u) { [i1] k = Add (x, a) [i2] u = Add (k, b) },
                  else_branch = e () => (float[N] v) { [crossing] v = Add (p, b) }> }""")
    edit = run(model, ADDS)
    assert [s.node for s in edit.steps] == ["i2"]
    assert any(r.node == "crossing" and "is in another graph" in r.reason for r in edit.refusals)


def _through(op: PatternBuilder, x: Any) -> Any:
    return op.Identity(x)


FORWARD = Rule("forward", _through, lambda op, x: x)


def test_a_graph_output_keeps_its_name_when_what_computed_it_goes() -> None:
    model = parse("g (float[N] x) => (float[N] y) { [r] a = Relu (x) [i] y = Identity (a) }")
    run(model, FORWARD)
    assert lines(model) == ["[r] y = Relu (x)"]


def test_two_outputs_of_one_value_keep_both_names() -> None:
    model = parse("g (float[N] x) => (float[N] y, float[N] z) { [r] a = Relu (x) [i] y = Identity (a) [j] z = Identity (a) }")
    run(model, FORWARD)
    assert lines(model) == ["[r] y = Relu (x)", "[j] z = Identity (y)"]


def test_an_array_that_is_an_output_goes_through_an_identity() -> None:
    model = parse("g (float[2] x) => (float[2] y) <float[2] a = {1, 2}> { [n] y = Neg (a) }")
    run(model, Rule("negate", lambda op, a: op.Neg(a), lambda op, a: np.negative(ir.const(a))))
    assert [n.op_type for n in model.graph] == ["Identity"]
    assert np.array_equal(ir.const(model.graph[0].inputs[0]), [-1, -2])


def test_several_outputs_are_replaced_together_and_the_graph_is_sorted() -> None:
    def twins(op: PatternBuilder, x: Any) -> Any:
        return op.Relu(x), op.Neg(x)

    def both(op: Builder, x: ir.Value) -> Any:
        a, b = op.Split(op.Concat(op.Relu(x), op.Neg(x), axis=0), np.array([1, 1]), axis=0, outputs=2)
        return a, b

    def once(op: Builder, x: ir.Value) -> Any:
        return Refuse("done") if len(x.uses()) > 2 else both(op, x)

    model = parse("g (float[1] x) => (float[1] y, float[1] z) { [n] z = Neg (x) [r] y = Relu (x) }")
    edit = Editor(model, limit=1)
    apply_rules(edit, [Rule("twins", twins, once)])
    assert verify.verify(model) == []
    assert [v.name for v in model.graph.outputs] == ["y", "z"]
    assert {"Split", "Concat"} <= {n.op_type for n in model.graph}


def test_names_do_not_collide() -> None:
    model = parse("""g (float[N] x) => (float[N] y) <float a = {1}, float two_1 = {5}, float b = {2}>
    { [one] p = Add (x, a) [two] q = Add (p, b) [two_out] y = Mul (q, two_1) }""")
    run(model, ADDS)
    names = [n.name for n in model.graph] + [v.name for n in model.graph for v in n.outputs] + list(model.graph.initializers)
    assert len(names) == len(set(names))


def test_shared_weights_stay_for_the_others() -> None:
    model = parse("""g (float[N] x) => (float[N] y, float[N] z) <float a = {1}, float b = {2}>
    { [one] p = Add (x, a) [two] y = Add (p, b) [m] z = Mul (x, a) }""")
    run(model, ADDS)
    assert "a" in model.graph.initializers
    assert "b" not in model.graph.initializers


def test_what_only_the_match_used_goes_with_it() -> None:
    model = parse("g (float[N] x) => (float[N] y) { [s] k = Shape (x) [e] y = Expand (x, k) }")
    run(model, Rule("expand", lambda op, x, k: op.Expand(x, k), lambda op, x: op.Relu(x)))
    assert [n.op_type for n in model.graph] == ["Relu"]


def test_new_nodes_have_types_and_origins() -> None:
    model = parse(CHAIN)
    run(model, ADDS, limit=1)
    node = next(n for n in model.graph if ir.origin(n).passes)
    assert printer.type_text(node.outputs[0]) == "float[N]"
    assert set(ir.origin(node).sources) == {"one", "two"}


def test_rules_without_a_fixed_point_are_a_bug_with_a_name() -> None:
    model = parse("g (float[N] x) => (float[N] y) { [r] y = Relu (x) }")
    with pytest.raises(InternalError, match="reach no fixed point"):
        run(model, Rule("again", lambda op, x: op.Relu(x), lambda op, x: op.Relu(x)))


def test_a_wrong_number_of_results_is_a_bug_with_a_name() -> None:
    model = parse("g (float[N] x) => (float[N] y) { [r] y = Relu (x) }")
    with pytest.raises(InternalError, match="'two' returned 2 values for 1 outputs"):
        run(model, Rule("two", lambda op, x: op.Relu(x), lambda op, x: (x, x)))


def test_a_result_that_depends_on_itself_is_refused() -> None:
    def pair(op: PatternBuilder, x: Any, z: Any) -> Any:
        return op.Relu(x), op.Tanh(z)

    def crossed(op: Builder, x: ir.Value, z: ir.Value) -> Any:
        joined = op.Sum(x, z)
        return op.Abs(joined), op.Abs(joined)

    model = parse("g (float[N] x) => (float[N] y) { [r] a = Relu (x) [n] b = Add (a, x) [t] y = Tanh (b) }")
    before = printer.text(model)
    run(model, Rule("crossed", pair, crossed))
    assert printer.text(model) == before


@dataclass(frozen=True)
class TwoRules(RewritePass):
    """A pass of several rules."""

    name = "two-rules"
    numerics = Numerics.BITWISE

    def rules(self) -> Sequence[Rule]:
        return (FORWARD, ADDS)


def test_a_pass_of_several_rules() -> None:
    model = parse("""g (float[N] x) => (float[N] y) <float a = {1}, float b = {2}>
    { [one] p = Add (x, a) [i] q = Identity (p) [two] y = Add (q, b) }""")
    TwoRules().run(Editor(model))
    assert len(model.graph) == 1


def test_a_variable_is_never_a_result_of_what_is_replaced() -> None:
    def pattern(op: PatternBuilder, x: Any, y: Any) -> Any:
        return op.Add(x, op.Neg(y))

    model = parse("g (float[2] x) => (float[2] y) { [neg] n = Neg (x) [add] y = Add (n, n) }")
    edit = run(model, Rule("subtract", pattern, lambda op, x, y: op.Sub(x, y)))
    assert edit.steps == []
    assert any("also an operand as it is" in r.reason for r in edit.refusals)
