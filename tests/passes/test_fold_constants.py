"""Folding: what has a plain result becomes a constant; exotic types, faults and random numbers stay as they are."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from optc.compiler import ir, load, printer
from optc.compiler.edit import Editor
from optc.passes.cleanup.fold_constants import FoldConstants

W = numpy_helper.from_array(np.arange(4, dtype=np.float32), "w")
ZERO = numpy_helper.from_array(np.array([0]), "zero")
NINE = numpy_helper.from_array(np.array([9]), "nine")
BF16 = helper.make_tensor("half", TensorProto.BFLOAT16, [2], [1.0, 2.0])
INT4 = helper.make_tensor("int4", TensorProto.INT4, [4], [1, 2, -3, 4])


def folded(nodes: list[onnx.NodeProto], weights: list[onnx.TensorProto], dtype: int = TensorProto.FLOAT) -> Editor:
    graph = helper.make_graph(
        [*nodes, helper.make_node("Add", ["x", "c"], ["y"])], "g",
        [helper.make_tensor_value_info("x", dtype, ["N"])], [helper.make_tensor_value_info("y", dtype, None)], weights,
    )  # fmt: skip
    edit = Editor(load.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), "test"))
    FoldConstants().run(edit)
    return edit


def operators(edit: Editor) -> list[str]:
    return [n.op_type for n in edit.graph]


def test_int4_weights_are_unpacked() -> None:
    edit = folded([helper.make_node("Cast", ["int4"], ["c"], to=TensorProto.FLOAT)], [INT4])
    assert operators(edit) == ["Add"]
    assert np.array_equal(ir.const(edit.graph[0].inputs[1]), [1, 2, -3, 4])


@pytest.mark.parametrize(
    ("nodes", "weights", "dtype", "why"),
    [
        ([helper.make_node("Neg", ["half"], ["c"])], [BF16], TensorProto.BFLOAT16, "results of type BFLOAT16 are not computed"),
        ([helper.make_node("Div", ["zero", "zero"], ["c"])], [ZERO], TensorProto.INT64, "divides by zero"),
        ([helper.make_node("Gather", ["w", "nine"], ["c"])], [W, NINE], TensorProto.FLOAT, "refuses these inputs"),
        (
            [helper.make_node("SequenceConstruct", ["w"], ["s"]), helper.make_node("SequenceAt", ["s", "zero"], ["c"])],
            [W, numpy_helper.from_array(np.array(0), "zero")], TensorProto.FLOAT, "are not computed",
        ),
        ([helper.make_node("RandomNormal", [], ["c"], shape=[2])], [], TensorProto.FLOAT, "RandomNormal is not folded"),
    ],
)  # fmt: skip
def test_what_is_not_folded_says_why(nodes: list[onnx.NodeProto], weights: list[onnx.TensorProto], dtype: int, why: str) -> None:
    edit = folded(nodes, weights, dtype)
    assert operators(edit) == [*(n.op_type for n in nodes), "Add"]
    assert any(why in r.reason for r in edit.refusals)


def test_growth_is_bounded_in_all() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[N,8] x) => (float[N,8] y) <int64[1] eight = {8}>
    { [one] a = ConstantOfShape <value = float[1] {1}> (eight) [two] b = ConstantOfShape <value = float[1] {2}> (eight)
      c = Add (x, a) y = Mul (c, b) }"""
    for limit, kept in ((0, 2), (32, 1), (100, 0)):
        model = printer.parse(text)
        FoldConstants(max_growth=limit).run(Editor(model))
        assert sum(n.op_type == "ConstantOfShape" for n in model.graph) == kept


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("n, rest", [0, 12]),  # [N, -1]
        ("n, twelve", [0, 12]),
        ("two, n, rest", [2, -1, 6]),  # the batch has moved: it is what is left
        ("rest, twelve", [-1, 12]),
    ],
)
def test_a_reshape_to_its_own_batch(target: str, expected: list[int]) -> None:
    shape = ",".join(f"d{i}" for i in range(target.count(",") + 1))
    model = printer.parse(f"""<ir_version: 8, opset_import: ["" : 17]> g (float[N,3,4] x) => (float[{shape}] y)
    <int64[1] zero = {{0}}, int64[1] one = {{1}}, int64[1] rest = {{-1}}, int64[1] two = {{2}}, int64[1] twelve = {{12}}>
    {{ s = Shape (x) n = Slice (s, zero, one) t = Concat <axis = 0> ({target}) a = Reshape (x, t) y = Relu (a) }}""")
    FoldConstants().run(Editor(model))
    target_value = next(n for n in model.graph if n.op_type == "Reshape").inputs[1]
    assert list(ir.const(target_value)) == expected  # type: ignore[arg-type]
