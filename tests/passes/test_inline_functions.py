"""Every operator that ONNX defines by others computes by its definition what ONNX's own node cases expect of it."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.backend.test.case.node import collect_testcases

from optc.compiler import functions, ir, load, printer, verify
from optc.compiler.diagnostics import UserError
from optc.compiler.edit import Editor
from optc.compiler.pipeline import Pipeline
from optc.compiler.reference import Reference
from optc.passes.lowering.inline_functions import InlineFunctions

FED = frozenset(
    {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BOOL, TensorProto.INT8, TensorProto.UINT8}
    | {TensorProto.INT16, TensorProto.UINT16, TensorProto.INT32, TensorProto.UINT32, TensorProto.INT64, TensorProto.UINT64}
)
"""What the reference executor takes as arrays."""


@cache
def cases() -> dict[str, list[Any]]:
    """Node cases by operator: one node that is a function, types that can be fed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = collect_testcases(None)
    by_operator: dict[str, list[Any]] = {}
    for case in found:
        graph = case.model.graph
        types = {v.type.tensor_type.elem_type for v in (*graph.input, *graph.output)}
        if len(graph.node) == 1 and graph.node[0].domain == "" and "_expanded" not in case.name and types <= FED:
            by_operator.setdefault(graph.node[0].op_type, []).append(case)
    return by_operator


def inlined(proto: onnx.ModelProto, *operators: str) -> Editor:
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    edit = Editor(load.from_proto(copy, "test"))
    edit.owner = InlineFunctions.name
    InlineFunctions(operators).run(edit)
    return edit


def operators(edit: Editor) -> list[str]:
    return [node.op_type for graph in ir.all_graphs(edit.graph) for node in graph]


def _array(held: Any) -> np.ndarray[Any, Any]:
    return numpy_helper.to_array(held) if isinstance(held, TensorProto) else np.asarray(held)


@pytest.mark.parametrize("operator", sorted(functions.names() - {"SequenceMap"}))
def test_a_definition_computes_what_the_node_cases_expect(operator: str) -> None:
    for case in cases()[operator]:
        edit = inlined(case.model, operator)
        assert operator not in operators(edit), case.name
        assert verify.verify(edit.model) == [], case.name
        run = Reference(edit.model, threads=1)
        for given, expected in case.data_sets:
            feeds = {v.name: _array(x) for v, x in zip(edit.graph.inputs, given, strict=True)}
            results = run.run(feeds)
            for value, wanted in zip(edit.graph.outputs, expected, strict=True):
                found = np.asarray(results[value.name])
                assert found.dtype == _array(wanted).dtype, case.name
                np.testing.assert_allclose(
                    found.astype(np.float64), _array(wanted).astype(np.float64), max(case.rtol, 1e-3), 1e-6, err_msg=case.name
                )


def test_a_wrong_body_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    case = next(c for c in cases()["SwiGLU"])
    edit = inlined(case.model, "SwiGLU")
    product = next(n for n in reversed(list(edit.graph)) if n.op_type == "Mul")
    product.op_type = "Add"
    feeds = {v.name: np.asarray(x) for v, x in zip(edit.graph.inputs, case.data_sets[0][0], strict=True)}
    found = Reference(edit.model, threads=1).run(feeds)[edit.graph.outputs[0].name]
    assert not np.allclose(found, case.data_sets[0][1][0], rtol=1e-3)


def model(nodes: list[onnx.NodeProto], shape: list[Any], opset: int) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def test_bodies_are_inlined_down_to_operators_that_no_function_defines() -> None:
    edit = inlined(model([helper.make_node("Mish", ["x"], ["y"])], ["N", 3], 22))
    assert not {*operators(edit)} & functions.names()
    assert [str(v.shape) for v in edit.graph.outputs] == ["[N,3]"]
    assert all(ir.origin(n) == ir.Origin(("Mish_0",), ("inline-functions",)) for n in edit.graph)


def test_named_operators_alone_are_inlined() -> None:
    edit = inlined(model([helper.make_node("Mish", ["x"], ["a"]), helper.make_node("Selu", ["a"], ["y"])], [3], 22), "Mish")
    assert operators(edit)[-1] == "Selu"
    assert "Softplus" in operators(edit)


def test_random_operators_stay() -> None:
    edit = inlined(model([helper.make_node("Bernoulli", ["x"], ["y"])], [3], 22))
    assert operators(edit) == ["Bernoulli"]


def test_a_body_that_the_opset_cannot_say_is_refused_with_the_reason() -> None:
    edit = inlined(model([helper.make_node("HardSigmoid", ["x"], ["y"])], [3], 6))
    assert operators(edit) == ["HardSigmoid"]
    assert "opset" in edit.refusals[0].reason


def test_rolling_back_restores_the_model() -> None:
    case = cases()["LinearAttention"][0]
    proto = onnx.ModelProto()
    proto.CopyFrom(case.model)
    before = printer.text(load.from_proto(proto, "test"))
    edit = inlined(case.model)
    assert printer.text(edit.model) != before
    edit.rollback(0)
    assert printer.text(edit.model) == before


def test_an_operator_without_a_definition_cannot_be_named() -> None:
    with pytest.raises(UserError, match="no operator 'Conv' is defined by other operators"):
        Pipeline.parse("inline-functions{operators=Attention|Conv}")
