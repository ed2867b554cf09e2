"""The text of a model: stable, for people, and in the syntax that can be read back."""

from __future__ import annotations

import numpy as np
import pytest

from optc.compiler import ir, load, printer
from optc.compiler.diagnostics import UserError
from optc.compiler.edit import Editor
from optc.compiler.pipeline import Pipeline

HEADER = '<ir_version: 8, opset_import: ["" : 17]>'
TEXT = """<ir_version: 8, opset_import: ["" : 17]>
net (float[N,3] x) => (float[N,2] y, int64 "odd name")
<
  float[2] b = {1.5, -0.25},
  float[3,2] w = {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}
>
{
  [gemm] y = Gemm <alpha = 0.5, transA = 0> (x, w, b)  # float[N,2]
  ["size/of"] "odd name" = Size (x)  # int64
}
"""


def test_what_is_printed_is_read_back() -> None:
    assert printer.text(printer.parse(TEXT)) == TEXT


def test_attributes_and_initializers_come_in_a_fixed_order() -> None:
    shuffled = TEXT.replace("alpha = 0.5, transA = 0", "transA = 0, alpha = 0.5").replace(
        "  float[2] b = {1.5, -0.25},\n  float[3,2] w = {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}",
        "  float[3,2] w = {1.0, 2.0, 3.0, 4.0, 5.0, 6.0},\n  float[2] b = {1.5, -0.25}",
    )
    assert shuffled != TEXT
    assert printer.text(printer.parse(shuffled)) == TEXT


def test_large_weights_are_shown_by_digest_unless_whole() -> None:
    model = printer.parse(TEXT)
    edit = Editor(model)
    gemm = model.graph[0]
    edit.replace(gemm.inputs[1], edit.initializer(np.arange(600, dtype=np.float32).reshape(3, 200), "big"))  # type: ignore[arg-type]
    assert "float[3,200] big = sha256:" in printer.text(model)
    assert "599.0" in printer.text(model, whole=True)
    edit.set_attribute(gemm, "t", ir.convert_attribute("t", ir.tensor(np.arange(20))))
    assert "t = int64[20] sha256:" in printer.node_line(gemm)
    assert "t = int64[20] {0, 1" in printer.node_line(gemm, whole=True)


def test_origins_are_comments() -> None:
    model = printer.parse(
        f"{HEADER} g (float[N] x) => (float[N] y)"
        "{ [one] a = Identity (x) c = Constant <value_float = 1.0> () [two] y = Add (c, a) }"
    )
    edit = Editor(model)
    for p in Pipeline.parse("canonicalize"):
        edit.owner = p.name
        p.run(edit)
    assert "# float[N] from two by canonicalize" in printer.text(model)
    assert "#" not in printer.text(model, comments=False)


def test_bodies_are_shown_below_their_node() -> None:
    yes, no = "yes () => (float[2] t) { t = Relu (x) }", "no () => (float[2] e) { e = Neg (x) }"
    nodes = f"[if] y = If (c) <then_branch = {yes}, else_branch = {no}>"
    model = printer.parse(f"{HEADER} g (float[2] x, bool c) => (float[2] y) {{ {nodes} }}")
    shown = [line.strip() for line in printer.text(model).splitlines()]
    assert "[if] y = If <else_branch = {...}, then_branch = {...}> (c)  # float[2]" in shown
    assert shown.index("# then_branch:") < shown.index("yes () => (float[2] t)")


@pytest.mark.parametrize(
    ("shape", "dtype", "expected"),
    [
        (ir.Shape(["N", 3, None]), ir.DataType.FLOAT, "float[N,3,?]"),
        (ir.Shape(["(H + 1)//2"]), ir.DataType.INT8, 'int8["(H + 1)//2"]'),
        (ir.Shape([]), ir.DataType.BOOL, "bool"),
        (None, ir.DataType.FLOAT16, "float16"),
        (None, None, "?"),
    ],
)
def test_types(shape: ir.Shape | None, dtype: ir.DataType | None, expected: str) -> None:
    value = ir.Value(name="v", shape=shape, type=ir.TensorType(dtype) if dtype is not None else None)
    assert printer.type_text(value) == expected


def test_a_neighbourhood_shows_producers_and_consumers() -> None:
    model = printer.parse(f"{HEADER} g (float[N] x) => (float[N] y) {{ [a] p = Relu (x) [b] q = Neg (p) [c] y = Abs (q) }}")
    assert [line.split("]")[0] for line in printer.neighbourhood(model.graph[1])] == ["   [a", "-> [b", "   [c"]


def test_what_is_no_text_of_a_model_is_the_users_mistake() -> None:
    with pytest.raises(UserError, match="not the text of a model"):
        printer.parse("net (float x) => {}")


def test_the_real_model_prints_the_same_twice(fashion_cnn: object) -> None:
    assert printer.text(load.load(str(fashion_cnn))) == printer.text(load.load(str(fashion_cnn)))
