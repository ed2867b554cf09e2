"""Values whose types ONNX does not know get the ones that onnxruntime infers, so that a part may begin at them."""

from __future__ import annotations

from optc.compiler import ir, printer, untyped

TEXT = """<ir_version: 9, opset_import: ["" : 20, "com.microsoft" : 1]>
g (uint8[N, 4] x) => (float[N, 8] y) <float s = {0.5}, uint8 z = {0}> {
    a = com.microsoft.QLinearAdd (x, s, z, x, s, z, s, z)
    b = Concat <axis = 1> (a, x)
    y = DequantizeLinear (b, s, z)
}"""


def test_types_and_sizes_are_filled_in() -> None:
    model = printer.parse(TEXT)
    values = {v.name: v for node in model.graph for v in node.outputs}
    assert values["a"].type is None  # or there would be nothing to do
    untyped.fill(model)
    assert [printer.type_text(values[name]) for name in "ab"] == ["uint8[N,4]", "uint8[N,8]"]
    assert [v.name for v in model.graph.outputs] == ["y"]


def test_names_of_dimensions_that_no_input_has_are_never_taken_for_equal() -> None:
    text = TEXT.replace("Concat <axis = 1> (a, x)", "Compress <axis = 0> (a, c)").replace("g (", "g (bool[K] c, ")
    model = printer.parse(text.replace("float[N, 8] y", "float[M, 4] y"))
    untyped.fill(model)
    b = next(v for node in model.graph for v in node.outputs if v.name == "b")
    assert printer.type_text(b) == "uint8[b_d0,4]"


def test_a_model_that_onnxruntime_cannot_load_stays_as_it_is() -> None:
    model = printer.parse(TEXT.replace("com.microsoft.QLinearAdd", "com.microsoft.NoSuchOperator"))
    before = printer.text(model)
    untyped.fill(model)
    assert printer.text(model) == before and isinstance(model, ir.Model)
