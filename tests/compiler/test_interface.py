"""A model's inputs and outputs: every dimension has a size or a name, `--shape` is applied, contradictions are found."""

from __future__ import annotations

import pytest
from onnx import TensorProto, helper

from optc.compiler import printer
from optc.compiler.recipe import parse_shapes

from .models import changed, interface, loaded, parsed, refused


def test_shapes_that_contradict_each_other_are_refused_with_the_node() -> None:
    refused(
        "g (float[2,3] x, float[4,5] w) => (y) { [product] y = MatMul (x, w) }",
        "contradict",
        "product",
        "Incompatible dimensions",
    )
    refused("g (float[2,3] x, int64[3,5] w) => (y) { [product] y = MatMul (x, w) }", "contradict", "product", "inconsistent type")
    refused("g (float[2,3] x) => (float[2,4] y) { [relu] y = Relu (x) }", "contradict", "relu", "(3) vs (4)")
    refused("g (float[2,3] x, float[4,5] w) => (y) { y = MatMul (x, w) }", "MatMul_0")


def test_stale_notes_about_inner_values_do_not_refuse_a_model() -> None:
    proto = changed(lambda m: m.graph.value_info.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, [7, 7, 7])))
    assert printer.type_text(next(iter(loaded(proto).graph)).outputs[0]) == "float[N,4]"


def test_an_input_without_shape_or_type_is_refused_and_says_how_to_give_one() -> None:
    refused(
        changed(lambda m: m.graph.input[0].type.tensor_type.ClearField("shape")),
        "input 'x' has no shape",
        "--shape x=1x3x224x224",
    )
    refused(changed(lambda m: m.graph.input[0].ClearField("type")), "input 'x' has no type")
    assert interface(loaded(changed(lambda m: m.graph.input[0].type.tensor_type.ClearField("shape")), {"x": ("B", 4)})) == (
        "x float[B,4], y float[B,4]"
    )


def test_anonymous_dimensions_are_named_each_its_own() -> None:
    proto = parsed("g (float[a,b,c,x_d1] x) => (float[p,q,r,s] y) { y = Relu (x) }")
    for value, axes in ((proto.graph.input[0], (0, 1, 2)), (proto.graph.output[0], (0, 1, 2, 3))):
        for axis, spelled in zip(axes, ("", "?", None, None), strict=False):
            dim = value.type.tensor_type.shape.dim[axis]
            dim.ClearField("value")
            if spelled is not None:
                dim.dim_param = spelled
    proto.graph.input[0].type.tensor_type.shape.dim[2].dim_value = -1
    assert interface(loaded(proto)) == "x float[x_d0,x_d1_,x_d2,x_d1], y float[x_d0,x_d1_,x_d2,x_d1]"


TWO = "g (float[N,4] x, float[N,M] z) => (float[N,K] y) { y = Concat <axis = 1> (x, z) }"


def test_shapes_are_fixed_and_named_everywhere() -> None:
    assert interface(loaded(TWO, {"x": (2, 4)})).startswith("x float[2,4], z float[2,M], y float[2,")
    assert interface(loaded(TWO, {"x": ("B", 4), "z": ("B", 3)})) == "x float[B,4], z float[B,3], y float[B,7]"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("xx=1x4", ["the input 'xx', which the model does not have", "did you mean 'x'?"]),
        ("x=1x4x4", ["gives 'x' 3 dimensions, the model 2"]),
        ("x=1x5", ["dimension 1 of 'x' is 4 in the model, --shape says 5"]),
        ("x=0x4", ["fixes dimension 0 of 'x' to 0"]),
        ("x=1x4 z=2x3", ["makes dimension 'N' both 1 and 2"]),
    ],
)
def test_mistakes_in_shapes_are_refused(text: str, words: list[str]) -> None:
    refused(TWO, *words, shapes=parse_shapes(text.split()))
