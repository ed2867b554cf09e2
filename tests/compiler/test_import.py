"""Models as exporters of all ages write them: old opsets, old IR versions, functions, constants of every kind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from google.protobuf.message import DecodeError
from onnx import AttributeProto, FunctionProto, ModelProto, NodeProto, SparseTensorProto, TensorProto, helper, numpy_helper

from optc.compiler import save
from optc.compiler.diagnostics import UserError
from optc.compiler.numerics import Array
from optc.compiler.reference import Reference

from .models import interface, loaded, parsed, refused

X = np.arange(8, dtype=np.float32).reshape(2, 4) - 3
SHAPE = ("N", 4)


def value(name: str, shape: Sequence[int | str] = SHAPE, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def weight(name: str, values: Any, dtype: Any = np.float32) -> TensorProto:
    return numpy_helper.from_array(np.asarray(values, dtype), name)


def model(
    nodes: Sequence[NodeProto],
    inputs: Sequence[onnx.ValueInfoProto] = (),
    outputs: Sequence[onnx.ValueInfoProto] = (),
    opset: int = 17,
    ir: int = 8,
    weights: Sequence[TensorProto] = (),
    functions: Sequence[FunctionProto] = (),
    imports: Sequence[tuple[str, int]] = (),
    sparse: Sequence[SparseTensorProto] = (),
) -> ModelProto:
    """x float32[N, 4] -> y float32[N, 4], unless said otherwise."""
    graph = helper.make_graph(
        nodes, "g", inputs or [value("x")], outputs or [value("y")], list(weights), sparse_initializer=list(sparse)
    )
    opsets = [helper.make_opsetid(d, v) for d, v in (("", opset), *imports)]
    made = helper.make_model(graph, opset_imports=opsets, functions=list(functions))
    made.ir_version = ir
    return made


def run(proto: ModelProto, x: Any = X) -> Array:
    """The first output of the model as it was read."""
    return next(iter(Reference(loaded(proto)).run({"x": np.asarray(x)}).values()))


# constants and weights


@pytest.mark.parametrize(
    ("kind", "held", "dtype"),
    [
        ("value", weight("", [1, 2, 3, 4]), np.float32),
        ("value_float", 2.5, np.float32),
        ("value_floats", [1.0, 2.0, 3.0, 4.0], np.float32),
        ("value_int", 3, np.int64),
        ("value_ints", [1, 2, 3, 4], np.int64),
    ],
)
def test_constants_of_every_kind_are_read(kind: str, held: Any, dtype: Any) -> None:
    constant = helper.make_node("Constant", [], ["c"], **{kind: held})
    nodes = [constant, helper.make_node("Cast", ["c"], ["f"], to=TensorProto.FLOAT), helper.make_node("Add", ["x", "f"], ["y"])]
    expected = X + np.asarray(numpy_helper.to_array(held) if kind == "value" else held, dtype)
    assert np.array_equal(run(model(nodes)), expected)


@pytest.mark.parametrize(("kind", "held"), [("value_string", "ab"), ("value_strings", ["a", "b"])])
def test_constants_of_strings_are_read(kind: str, held: Any) -> None:
    nodes = [
        helper.make_node("Constant", [], ["c"], **{kind: held}),
        helper.make_node("Equal", ["c", "c"], ["e"]),
        helper.make_node("Cast", ["e"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMin", ["f"], ["m"], keepdims=0),
        helper.make_node("Add", ["x", "m"], ["y"]),
    ]
    assert np.array_equal(run(model(nodes, opset=19, ir=9)), X + 1)


def sparse(indices: Any, shape: Sequence[int], values: Any = (5, 7), name: str = "c") -> SparseTensorProto:
    return helper.make_sparse_tensor(weight(name, values), weight("", indices, np.int64), list(shape))


SPARSE = [(sparse([1, 3], [4]), [0, 5, 0, 7]), (sparse([[0, 1], [1, 3]], [2, 4]), [[0, 5, 0, 0], [0, 0, 0, 7]])]


@pytest.mark.parametrize(("tensor", "dense"), SPARSE, ids=["linear", "coordinates"])
def test_sparse_weights_and_constants_become_dense(tensor: SparseTensorProto, dense: Any) -> None:
    add = helper.make_node("Add", ["x", "c"], ["y"])
    fixed: dict[str, Any] = {"inputs": [value("x", (2, 4))], "outputs": [value("y", (2, 4))]}
    constant = helper.make_node("Constant", [], ["c"], sparse_value=tensor)
    for proto in (model([add], sparse=[tensor], **fixed), model([constant, add], **fixed)):
        assert np.array_equal(run(proto), X + np.asarray(dense, np.float32))


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (sparse([1, 4], [4]), "do not fit its shape [4]"),
        (sparse([-1, 3], [4]), "do not fit its shape [4]"),
        (sparse([[0, 1], [0, 4]], [2, 4]), "do not fit its shape [2, 4]"),
        (sparse([[0, 1, 0], [0, 2, 0]], [2, 4]), "do not fit its shape [2, 4]"),
        (sparse([1], [4]), "do not fit its shape [4]"),
        (sparse([1, 3], [1 << 20, 1 << 20]), "too large to be made dense"),
    ],
)
def test_sparse_weights_that_do_not_fit_are_refused(tensor: SparseTensorProto, words: str) -> None:
    refused(model([helper.make_node("Add", ["x", "c"], ["y"])], sparse=[tensor]), "the sparse weight 'c'", words)


@pytest.mark.parametrize("ir", [3, 4, 8])
def test_weights_that_are_listed_as_inputs_are_weights(ir: int) -> None:
    """Before IR version 4 every weight was an input too; later it is one that a caller may leave out."""
    add, c = helper.make_node("Add", ["x", "c"], ["y"]), weight("c", [1, 2, 3, 4])
    proto = model([add], [value("x"), value("c", (4,))], opset=7, ir=ir, weights=[c])
    assert interface(loaded(proto)) == "x float[N,4], y float[N,4]"
    assert np.array_equal(run(proto), X + np.float32([1, 2, 3, 4]))


def test_what_is_written_of_an_old_model_with_weights_that_nothing_uses_is_loaded_by_onnxruntime(tmp_path: Path) -> None:
    proto = model(
        [helper.make_node("Neg", ["x"], ["y"])],
        [value("x"), value("c", (4,))],
        opset=7,
        ir=3,
        weights=[weight("c", [1, 2, 3, 4])],
    )
    save.save(loaded(proto), tmp_path / "m.onnx")
    onnxruntime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])


def test_weights_need_not_be_inputs_whatever_the_ir_version_says() -> None:
    proto = model([helper.make_node("Add", ["x", "c"], ["y"])], opset=7, ir=3, weights=[weight("c", [1, 2, 3, 4])])
    assert np.array_equal(run(proto), X + np.float32([1, 2, 3, 4]))
    proto.ClearField("ir_version")
    assert np.array_equal(run(proto), X + np.float32([1, 2, 3, 4]))


def test_half_precision_is_read_in_either_storage() -> None:
    packed = TensorProto(name="c", data_type=TensorProto.FLOAT16, dims=[4])
    packed.int32_data.extend(np.float16([1, 2, 3, 4]).view(np.uint16).tolist())
    half = TensorProto.FLOAT16
    for c in (packed, weight("c", [1, 2, 3, 4], np.float16)):
        node = helper.make_node("Add", ["x", "c"], ["y"])
        proto = model([node], [value("x", kind=half)], [value("y", kind=half)], weights=[c])
        assert np.array_equal(run(proto, X.astype(np.float16)), X.astype(np.float16) + np.float16([1, 2, 3, 4]))


# versions


def test_unused_imports_go_whatever_their_version_and_repeated_ones_are_one() -> None:
    imports = [("", 17), ("ai.onnx.ml", 99), ("com.foo", 9)]
    assert dict(loaded(model([helper.make_node("Relu", ["x"], ["y"])], imports=imports)).opset_imports) == {"": 17}


def test_newer_versions_than_known_are_refused_with_what_to_do() -> None:
    scaler = helper.make_node("Scaler", ["x"], ["y"], domain="ai.onnx.ml", offset=[0.0], scale=[1.0])
    newest = onnx.defs.onnx_ml_opset_version()
    refused(model([scaler], imports=[("ai.onnx.ml", 99)]), "opset 99 of ai.onnx.ml is newer", f"with opset {newest} or older")
    refused(model([helper.make_node("Relu", ["x"], ["y"])], ir=99), "IR version 99 is newer", "upgrade optc")


@pytest.mark.parametrize("opset", range(1, 7))
def test_opsets_one_to_six_are_read_as_seven(opset: int) -> None:
    relu = helper.make_node("Relu", ["a"], ["r"])
    add = helper.make_node("Add", ["x", "c"], ["a"], broadcast=1, axis=1)
    reshape = helper.make_node("Reshape", ["r"], ["y"], shape=[4, 2])
    fixed: dict[str, Any] = {"inputs": [value("x", (2, 4))], "outputs": [value("y", (4, 2))]}
    if opset >= 5:
        reshape = helper.make_node("Reshape", ["r", "s"], ["y"])
    weights = [weight("c", [1, 2, 3, 4]), *([weight("s", [4, 2], np.int64)] if opset >= 5 else [])]
    proto = model([add, relu, reshape], opset=opset, ir=3, weights=weights, **fixed)
    assert dict(loaded(proto).opset_imports) == {"": 7}
    assert np.array_equal(run(proto), np.maximum(X + np.float32([1, 2, 3, 4]), 0).reshape(4, 2))


def test_old_broadcasting_along_a_leading_axis_keeps_its_meaning() -> None:
    add = helper.make_node("Add", ["x", "c"], ["y"], broadcast=1, axis=0)
    proto = model([add], [value("x", (2, 4))], [value("y", (2, 4))], opset=6, ir=3, weights=[weight("c", [10, 20])])
    assert np.array_equal(run(proto), X + np.float32([[10], [20]]))


@pytest.mark.parametrize("shape", [(2, 4), (2, 4, 1), (1, 4, 2, 1)])
def test_the_slope_of_an_old_prelu_is_one_for_each_channel(shape: tuple[int, ...]) -> None:
    x = X.reshape(shape)
    proto = model(
        [helper.make_node("PRelu", ["x", "c"], ["y"])],
        [value("x", shape), value("c", (4,))],
        [value("y", shape)],
        opset=6,
        ir=3,
        weights=[weight("c", [1, 2, 3, 4])],
    )
    slope = np.float32([1, 2, 3, 4]).reshape(4, *[1] * (len(shape) - 2))
    assert np.array_equal(run(proto, x), np.where(x < 0, x * slope, x))


def test_what_cannot_be_upgraded_is_refused_with_the_reason() -> None:
    inputs = [value("x", (2, 4)), value("c", (4,))]
    computed = model([helper.make_node("PRelu", ["x", "c"], ["y"])], inputs, opset=6, ir=3)
    refused(computed, "computed or shared slope", "export the model again, with opset 7 or newer")
    training = helper.make_node("BatchNormalization", ["x", *"sbmv"], ["y"], is_test=0)
    weights = [weight(name, np.ones(4)) for name in "sbmv"]
    fixed = [value("x", (2, 4))], [value("y", (2, 4))]
    refused(model([training], *fixed, opset=6, ir=3, weights=weights), "opset 6 is too old", "is_test")


def test_normalization_without_axes_is_read() -> None:
    """ONNX's inference forgets the default axes of this function."""
    shape = (2, 1, 2, 2)
    proto = model([helper.make_node("MeanVarianceNormalization", ["x"], ["y"])], [value("x", shape)], [value("y", shape)], 13)
    assert abs(run(proto, X.reshape(shape)).mean()) < 1e-6


# functions


def call(name: str, *names: str, **attributes: Any) -> NodeProto:
    return helper.make_node(name, names[:-1], names[-1:], domain="my", **attributes)


def passed_on(node: NodeProto, name: str, held: str) -> NodeProto:
    """The node with an attribute whose value is that of the function's attribute `held`."""
    node.attribute.append(AttributeProto(name=name, ref_attr_name=held, type=AttributeProto.FLOAT))
    return node


def function(name: str, nodes: Sequence[NodeProto], opset: int = 17, **rest: Any) -> FunctionProto:
    """a -> b"""
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("my", 1)]
    return helper.make_function("my", name, ["a"], ["b"], nodes, opsets, **rest)


def leaky(**rest: Any) -> FunctionProto:
    return function("leaky", [passed_on(helper.make_node("LeakyRelu", ["a"], ["b"]), "alpha", "slope")], **rest)


def with_functions(nodes: Sequence[NodeProto], *functions: FunctionProto, **rest: Any) -> ModelProto:
    return model(nodes, functions=functions, imports=[("my", 1)], **rest)


def test_attributes_pass_through_nested_functions() -> None:
    nodes = [passed_on(call("leaky", "a", "t"), "slope", "s"), helper.make_node("Neg", ["t"], ["b"])]
    outer = function("outer", nodes, attributes=["s"])
    proto = with_functions([call("outer", "x", "y", s=0.25)], outer, leaky(attributes=["slope"]))
    assert np.array_equal(run(proto), -np.where(X < 0, X * np.float32(0.25), X))


def test_an_attribute_that_is_not_given_has_the_function_s_default() -> None:
    default = leaky(attribute_protos=[helper.make_attribute("slope", 0.5)])
    assert np.array_equal(run(with_functions([call("leaky", "x", "y")], default)), np.where(X < 0, X / 2, X))
    assert np.array_equal(run(with_functions([call("leaky", "x", "y", slope=2.0)], default)), np.where(X < 0, X * 2, X))
    outer = function("outer", [call("leaky", "a", "b")])
    assert np.array_equal(run(with_functions([call("outer", "x", "y")], outer, default)), np.where(X < 0, X / 2, X))


def test_overloads_are_told_apart() -> None:
    one = function("f", [helper.make_node("Neg", ["a"], ["b"])], overload="one")
    two = function("f", [helper.make_node("Abs", ["a"], ["b"])], overload="two")
    for overload, expected in (("one", -X), ("two", abs(X))):
        assert np.array_equal(run(with_functions([call("f", "x", "y", overload=overload)], one, two, ir=10)), expected)


def test_a_function_of_another_opset_is_inlined_where_its_operators_are_the_same() -> None:
    same = function("f", [helper.make_node("Softmax", ["a"], ["b"], axis=1)], opset=13)
    assert np.allclose(run(with_functions([call("f", "x", "y")], same)).sum(1), 1)
    other = function("f", [helper.make_node("Softmax", ["a"], ["b"], axis=1)], opset=12)
    refused(
        with_functions([call("f", "x", "y")], other),
        "'Softmax' of opset 12 is not what it is in opset 17",
        "function 'my.f'",
        "with one opset",
    )
    newer = function("f", [helper.make_node("Gelu", ["a"], ["b"])], opset=20)
    refused(with_functions([call("f", "x", "y")], newer), "'Gelu' of opset 20 is not what it is in opset 17")


def test_functions_are_inlined_inside_bodies_and_with_omitted_inputs() -> None:
    branch = [
        helper.make_graph([call("leaky", "a", "q", slope=0.5)], "then", [], [helper.make_empty_tensor_value_info("q")]),
        helper.make_graph([helper.make_node("Neg", ["a"], ["r"])], "else", [], [helper.make_empty_tensor_value_info("r")]),
    ]
    yes = helper.make_node("Constant", [], ["c"], value=weight("", True, np.bool_))
    choose = helper.make_node("If", ["c"], ["b"], then_branch=branch[0], else_branch=branch[1])
    outer = function("outer", [yes, choose])
    assert np.array_equal(
        run(with_functions([call("outer", "x", "y")], outer, leaky(attributes=["slope"]))), np.where(X < 0, X / 2, X)
    )
    clip = helper.make_function(
        "my", "clip", ["a", "low", "high"], ["b"], [helper.make_node("Clip", ["a", "low", "high"], ["b"])], outer.opset_import
    )
    proto = with_functions([call("clip", "x", "", "h", "y")], clip, weights=[weight("h", 1)])
    assert np.array_equal(run(proto), np.minimum(X, 1))


# damage

OLD = """<ir_version: 3, opset_import: ["" : 6]>
g (float[2,4] x, float[4] s) => (float[8] y) <float[4] c = {1, 2, 3, 4}, float[4] s = {1, 2, 3, 4}, int64[1] k = {8}> {
  [a] t = Add <broadcast = 1, axis = 1> (x, c)
  [p] u = PRelu (t, s)
  [m] q = Constant <value = float {2}> ()
  [n] v = Mul <broadcast = 1> (u, q)
  [d] w = Dropout <is_test = 1> (v)
  y = Reshape (w, k)
}"""


def test_damaged_bytes_of_an_old_model_are_the_users_error_or_nothing() -> None:
    whole = parsed(OLD).SerializeToString()
    refusals = 0
    for seed in range(400):
        rng, data, proto = np.random.default_rng(seed), bytearray(whole), ModelProto()
        for at in rng.integers(0, len(data), rng.integers(1, 4)):
            data[at] = rng.integers(0, 256 if seed % 2 else 24)
        try:
            proto.ParseFromString(bytes(data))
        except DecodeError:
            continue
        try:
            loaded(proto)
        except UserError:
            refusals += 1
    assert refusals > 50
