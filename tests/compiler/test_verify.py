"""The verifier: each rule is seen failing once, at the node."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from optc.compiler import ir, printer, verify
from optc.compiler.edit import Editor

from .test_runner import CHAIN


def model() -> ir.Model:
    return printer.parse(CHAIN)


def nodes(m: ir.Model) -> dict[str | None, ir.Node]:
    return {n.name: n for n in m.graph}


def test_a_valid_model_has_no_problems() -> None:
    assert verify.verify(model(), verify.signature(model())) == []


def duplicate_value(m: ir.Model) -> None:
    nodes(m)["mul1"].outputs[0].name = "a"


def duplicate_node(m: ir.Model) -> None:
    nodes(m)["mul1"].name = "add1"


def wrong_order(m: ir.Model) -> None:
    first, last = nodes(m)["add1"], nodes(m)["mul2"]
    m.graph.remove(first)
    m.graph.insert_after(last, first)


def unknown_domain(m: ir.Model) -> None:
    nodes(m)["add1"].domain = "elsewhere"


def undefined_operator(m: ir.Model) -> None:
    m.opset_imports[ir.DOMAIN] = 1
    nodes(m)["add1"].domain = ir.DOMAIN


def unknown_operator(m: ir.Model) -> None:
    nodes(m)["add1"].op_type = "Plus"


def too_few_inputs(m: ir.Model) -> None:
    nodes(m)["add1"].resize_inputs(1)


def absent_input(m: ir.Model) -> None:
    nodes(m)["add1"].replace_input_with(1, None)


def unknown_attribute(m: ir.Model) -> None:
    nodes(m)["add1"].attributes["axis"] = ir.convert_attribute("axis", 1)


def missing_attribute(m: ir.Model) -> None:
    nodes(m)["add1"].op_type = "Cast"
    nodes(m)["add1"].resize_inputs(1)


def output_computed_elsewhere(m: ir.Model) -> None:
    m.graph.outputs[0] = ir.Value(name="z")


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (duplicate_value, "value 'a' is defined twice at node 'mul1'"),
        (duplicate_node, "missing or not unique at node 'add1'"),
        (wrong_order, "input 'a' is not computed before it is used at node 'mul1'"),
        (unknown_domain, "domain 'elsewhere' is not imported at node 'add1'"),
        (undefined_operator, "operator 'Add' is not defined in the optc domain"),
        (unknown_operator, "operator 'Plus' is not in opset 17"),
        (too_few_inputs, "1 inputs; 2 to 2 are allowed"),
        (absent_input, "input 1 (B) is absent at node 'add1'"),
        (unknown_attribute, "attribute 'axis' does not exist"),
        (missing_attribute, "attribute 'to' is missing"),
        (output_computed_elsewhere, "output 'z' of graph 'chain' is computed by no node"),
    ],
    ids=lambda p: getattr(p, "__name__", None),
)
def test_a_broken_rule_is_named_with_its_node(break_it: Callable[[ir.Model], None], message: str) -> None:
    broken = model()
    break_it(broken)
    assert any(message in str(p) for p in verify.verify(broken))


def test_the_interface_must_stay() -> None:
    m = model()
    interface = verify.signature(m)
    Editor(m).rename(m.graph.outputs[0], "z")
    assert "the interface changed" in str(verify.verify(m, interface)[0])
