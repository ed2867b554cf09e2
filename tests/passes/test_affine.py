"""Scales and shifts become part of products: every operator, rank, group count and order, beside what must stay apart."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks import zoo
from optc.compiler import inputs, ir, load
from optc.compiler.check import check
from optc.compiler.edit import Editor
from optc.compiler.numerics import Numerics
from optc.compiler.pipeline import Pipeline
from optc.compiler.recipe import DEFAULT_PASSES
from optc.passes.fusion.affine import FuseAffine

RNG = np.random.default_rng(7)


def weight(name: str, *shape: int) -> onnx.TensorProto:
    return numpy_helper.from_array(RNG.uniform(0.5, 1.5, shape).astype(np.float32), name)


def fused(model: onnx.ModelProto, growth: int = 1 << 20) -> Editor:
    """The pass, checked against the model as it was."""
    before, edit = load.from_proto(model, "test"), Editor(load.from_proto(model, "test"))
    FuseAffine(growth).run(edit)
    found = check(before, edit.model, Numerics.REASSOCIATED, inputs.generate(before))
    assert found.holds, str(found.worst)
    return edit


def model(nodes: list[onnx.NodeProto], x: list[int | str], weights: list[onnx.TensorProto], opset: int = 17) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], weights,
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return onnx.shape_inference.infer_shapes(made, strict_mode=True)


def operators(edit: Editor) -> list[str]:
    return [n.op_type for n in edit.graph]


def scaling(kind: str, before: str, after: str, shape: list[int], channels: int) -> tuple[onnx.NodeProto, list[onnx.TensorProto]]:
    """One affine node from one value to another, its constants of that shape."""
    if kind == "BatchNormalization":
        names = ["gamma", "beta", "mean", "variance"]
        return helper.make_node(kind, [before, *names], [after]), [weight(n, channels) for n in names]
    if kind == "Neg":
        return helper.make_node(kind, [before], [after]), []
    turned = kind.endswith("from")
    operands = ["c", before] if turned else [before, "c"]
    return helper.make_node(kind.removesuffix("from"), operands, [after]), [weight("c", *shape)]


KINDS = ("Add", "Sub", "Subfrom", "Mul", "Div", "Neg", "BatchNormalization")
CONVOLUTIONS = [
    ("Conv", 1, 1),
    ("Conv", 2, 2),
    ("Conv", 3, 4),
    ("ConvTranspose", 1, 2),
    ("ConvTranspose", 2, 4),
    ("ConvTranspose", 3, 1),
]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("op", "spatial", "groups"), CONVOLUTIONS)
def test_after_a_convolution(op: str, spatial: int, groups: int, kind: str, bias: bool) -> None:
    first, second = (8, 4 // groups) if op == "ConvTranspose" else (4, 8 // groups)
    weights = [weight("w", first, second, *[2] * spatial), *([weight("b", 4)] if bias else [])]
    conv = helper.make_node(op, ["x", *[w.name for w in weights]], ["u"], group=groups, pads=[1] * (2 * spatial))
    node, constants = scaling(kind, "u", "y", [4, *[1] * spatial], 4)
    assert operators(fused(model([conv, node], ["N", 8, *[3] * spatial], weights + constants))) == [op]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("op", "spatial", "groups"), CONVOLUTIONS)
@pytest.mark.parametrize("padded", [False, True])
def test_before_a_convolution(op: str, spatial: int, groups: int, kind: str, padded: bool) -> None:
    first, second = (8, 4 // groups) if op == "ConvTranspose" else (4, 8 // groups)
    node, constants = scaling(kind, "x", "u", [8, *[1] * spatial], 8)
    conv = helper.make_node(op, ["u", "w"], ["y"], group=groups, pads=[int(padded)] * (2 * spatial))
    made = fused(model([node, conv], ["N", 8, *[3] * spatial], [weight("w", first, second, *[2] * spatial), *constants]))
    stays = (padded or op == "ConvTranspose") and kind not in ("Mul", "Div", "Neg")
    assert operators(made) == ([node.op_type, op] if stays else [op])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("where", ["before", "after"])
def test_beside_a_gemm(kind: str, transposed: int, where: str) -> None:
    weights = [weight("w", *((5, 3) if transposed else (3, 5))), weight("b", 5)]
    source, result, wide = ("x", "u", 3) if where == "before" else ("u", "y", 5)
    node, constants = scaling(kind, source, result, [wide], wide)
    gemm = helper.make_node(
        "Gemm", ["u" if where == "before" else "x", "w", "b"], ["y" if where == "before" else "u"],
        transB=transposed, alpha=0.5, beta=2.0,
    )  # fmt: skip
    made = fused(model([node, gemm] if where == "before" else [gemm, node], ["N", 3], weights + constants))
    assert operators(made) == ["Gemm"]


@pytest.mark.parametrize(
    ("kind", "left"), [("Mul", ["MatMul"]), ("Div", ["MatMul"]), ("Neg", ["MatMul"]), ("Add", ["MatMul", "Add"])]
)
@pytest.mark.parametrize("rank", [3, 4])
def test_after_a_matmul_of_more_dimensions(kind: str, left: list[str], rank: int) -> None:
    node, constants = scaling(kind, "u", "y", [5], 5)
    product = helper.make_node("MatMul", ["x", "w"], ["u"])
    made = fused(model([product, node], ["N", *[2] * (rank - 2), 3], [weight("w", 3, 5), *constants]))
    assert operators(made) == left


def test_the_order_of_three_does_not_matter() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("Mul", ["a", "s"], ["b"]),
        helper.make_node("Add", ["b", "t"], ["c"]), helper.make_node("Mul", ["c", "s"], ["d"]),
        helper.make_node("Sub", ["d", "t"], ["y"]),
    ]  # fmt: skip
    made = fused(model(nodes, ["N", 4, 3], [weight("w", 3, 5), weight("s", 5), weight("t", 5)]))
    assert operators(made) == ["MatMul", "Add"]


@pytest.mark.parametrize(("growth", "left"), [(0, ["Conv", "Mul", "Conv", "Add"]), (1 << 20, ["Conv", "Conv", "Add"])])
def test_a_shared_weight_is_copied_within_max_growth_and_never_changed(growth: int, left: list[str]) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]), helper.make_node("Mul", ["a", "half"], ["b"]),
        helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Add", ["b", "c"], ["y"]),
    ]  # fmt: skip
    held = weight("w", 2, 1, 1, 1)
    edit = fused(model(nodes, ["N", 1, 2, 2], [held, weight("half")]), growth)
    assert operators(edit) == left
    kept = [v for v in edit.graph.initializers.values() if v.name == "w"]
    assert np.array_equal(ir.const(kept[0]), numpy_helper.to_array(held))  # type: ignore[arg-type]
    assert any("left of max-growth" in r.reason for r in edit.refusals) == (growth == 0)


def test_two_products_of_one_weight_that_both_change_need_no_room() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]), helper.make_node("Mul", ["a", "s"], ["b"]),
        helper.make_node("Conv", ["b", "v"], ["y"]),
    ]  # fmt: skip
    assert operators(fused(model(nodes, ["N", 1, 2, 2], [weight("w", 2, 1, 1, 1), weight("s"), weight("v", 2, 2, 1, 1)]), 0)) == [
        "Conv",
        "Conv",
    ]


def test_dense_blocks_fold_what_precedes_a_pointwise_convolution() -> None:
    """Concat -> BatchNormalization -> Conv, as where a transition has no rectifier between."""
    names = ["gamma", "beta", "mean", "variance"]
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Concat", ["x", "r"], ["a"], axis=1),
        helper.make_node("BatchNormalization", ["a", *names], ["b"]), helper.make_node("Conv", ["b", "w"], ["y"]),
    ]  # fmt: skip
    weights = [weight("w", 3, 4, 1, 1), *(weight(n, 4) for n in names)]
    assert operators(fused(model(nodes, ["N", 2, 3, 3], weights))) == ["Relu", "Concat", "Conv"]


@pytest.mark.parametrize("view", ["Flatten", "Reshape"])
def test_the_head_of_a_face_model(view: str) -> None:
    """BatchNormalization -> Flatten -> Gemm -> BatchNormalization."""
    names, more = ["gamma", "beta", "mean", "variance"], ["gamma2", "beta2", "mean2", "variance2"]
    shape = [numpy_helper.from_array(np.array([0, -1]), "shape")] if view == "Reshape" else []
    nodes = [
        helper.make_node("BatchNormalization", ["x", *names], ["a"]),
        helper.make_node(view, ["a", *[s.name for s in shape]], ["f"]),
        helper.make_node("Gemm", ["f", "w", "b"], ["g"], transB=1), helper.make_node("BatchNormalization", ["g", *more], ["y"]),
    ]  # fmt: skip
    weights = [weight("w", 5, 12), weight("b", 5), *(weight(n, 3) for n in names), *(weight(n, 5) for n in more), *shape]
    assert operators(fused(model(nodes, ["N", 3, 2, 2], weights))) == [view, "Gemm"]


def test_maps_of_unknown_size_are_not_flattened_into_a_weight() -> None:
    nodes = [
        helper.make_node("Mul", ["x", "s"], ["a"]), helper.make_node("Reshape", ["a", "shape"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["y"]),
    ]  # fmt: skip
    shape = numpy_helper.from_array(np.array([-1, 4]), "shape")
    edit = Editor(load.from_proto(model(nodes, ["N", 3, "H", 2], [weight("s", 3, 1, 1), weight("w", 4, 2), shape]), "test"))
    FuseAffine().run(edit)
    assert operators(edit) == ["Mul", "Reshape", "MatMul"]
    assert any("the size of 'a' is not known" in r.reason for r in edit.refusals)


def test_training_and_statistics_that_are_computed_stay() -> None:
    names = ["gamma", "beta", "mean", "variance"]
    weights = [weight("w", 2, 1, 1, 1), *(weight(n, 2) for n in names)]
    conv = helper.make_node("Conv", ["x", "w"], ["u"])
    training = helper.make_node("BatchNormalization", ["u", *names], ["y", "m", "v"], training_mode=1)
    edit = Editor(load.from_proto(model([conv, training], [2, 1, 3, 3], weights), "test"))
    FuseAffine().run(edit)
    assert operators(edit) == ["Conv", "BatchNormalization"]
    assert [r.reason for r in edit.refusals if r.near and r.reason] == ["it is in training mode"]


@pytest.mark.parametrize(
    ("name", "at_most"),
    [("ppocr_det", 227), ("ppocr_rec", 280), ("lcnet_orientation", 74)],  # the first two: Conv -> Mul -> Add -> act -> Mul -> Add
)
def test_real_models(name: str, at_most: int) -> None:
    path = zoo.fetch(name)
    before, edit = load.load(path), Editor(load.load(path))
    for p in Pipeline.parse(DEFAULT_PASSES):
        edit.owner = p.name
        p.run(edit)
    steps = Counter(s.owner for s in edit.steps)
    assert steps["fuse-affine"] > 30
    assert "BatchNormalization" not in operators(edit)
    assert ir.count_nodes(edit.model) <= at_most
    found = check(before, edit.model, Numerics.REASSOCIATED, inputs.generate(before))
    assert found.holds, str(found.worst)


def test_those_who_scale_one_weight_alike_share_the_copy() -> None:
    """As where one head, with one normalization, looks at several levels of a pyramid."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]), helper.make_node("Mul", ["a", "half"], ["b"]),
        helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Conv", ["r", "w"], ["c"]),
        helper.make_node("Mul", ["c", "half"], ["d"]), helper.make_node("Add", ["b", "d"], ["y"]),
    ]  # fmt: skip
    edit = fused(model(nodes, ["N", 1, 2, 2], [weight("w", 2, 1, 1, 1), weight("half")]), 8)
    assert operators(edit) == ["Conv", "Relu", "Conv", "Add"]
    assert len(edit.graph.initializers) == 1
