"""Nodes that no input makes valid are told from those that some input, or some engine, may accept."""

from __future__ import annotations

import pytest

from optc.compiler import ir, printer
from optc.compiler.impossible import blocked, impossible


def reason(text: str, given: str) -> str:
    """Why a node that is given values of these shapes always fails; `?`: of unknown rank."""
    values = {}
    for name, _, dims in (item.partition(":") for item in given.split()):
        shape = None if dims == "?" else ir.Shape([int(d) if d.isdigit() else d for d in dims.split(",") if d])
        values[name] = ir.Value(name=name, type=ir.TensorType(ir.DataType.FLOAT), shape=shape)
    op_type, *names = text.split()
    attributes = {"Transpose": {"perm": [1, 0]}, "Concat": {"axis": 0}}.get(op_type, {})
    made = [ir.convert_attribute(name, value) for name, value in attributes.items()]
    node = ir.Node("", op_type, [values[name] for name in names], made, name="node")
    node.outputs[0].name = "y"
    return impossible(node, {"": 17})


@pytest.mark.parametrize(
    ("node", "given"),
    [
        ("Conv a b", "a:4 b:8,64,3"),
        ("Transpose a", "a:A"),
        ("Concat a b", "a:N,4 b:4"),
        ("Gemm a b", "a:4 b:4,4"),
        ("LSTM a b b", "a:1,1,N,128 b:1,512,128"),
    ],
)
def test_ranks_that_the_operator_does_not_take(node: str, given: str) -> None:
    assert reason(node, given)


@pytest.mark.parametrize(
    ("node", "given"),
    [
        ("Conv a b", "a:N,64,T b:8,64,3"),
        ("Conv a b", "a:N,63,T b:8,64,3"),  # extents say nothing: what an exporter noted of them may be stale
        ("MatMul a b", "a:2,3 b:4,5"),
        ("Conv a b", "a:? b:8,64,3"),
        ("Relu a", "a:"),
        ("Unheard a", "a:4"),
    ],
)
def test_what_some_input_or_some_engine_may_take(node: str, given: str) -> None:
    assert reason(node, given) == ""


def test_the_first_such_node_of_a_body_is_found() -> None:
    """Nobody knows the rank of what is fed while the model is loaded: of another that is told then, loading says it is wrong."""
    model = printer.parse(
        """<ir_version: 8, opset_import: ["" : 17]> net (float[2,3] x, int64[R] s, bool c) => (float[A,B] y) {
            [any] r = Reshape (x, s)
            [choice] y = If (c) <then_branch = t () => (float[A,B] t0) { [fine] t0 = Transpose <perm = [1, 0]> (x) },
                else_branch = e () => (float[A,B] e0) { [before] h = Neg (r) [bad] e0 = Transpose <perm = [1, 0]> (h) }>
        }"""
    )
    (_, choice) = model.graph
    then, other = (ir.attribute_graph(choice, key) for key in ("then_branch", "else_branch"))
    assert blocked(then, model.opset_imports) is None
    assert blocked(other, model.opset_imports) is None
    other[0].outputs[0].shape = ir.Shape((6,))
    found = blocked(other, model.opset_imports)
    assert found is not None
    assert found[0].name == "bad"
    assert "perm" in found[1]
