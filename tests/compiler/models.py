"""Small models as text, and what is expected of bad ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx.parser
import pytest
from onnx import ModelProto

from optc.compiler import ir, load, printer
from optc.compiler.diagnostics import UserError
from optc.compiler.interface import Shapes

HEADER = '<ir_version: 8, opset_import: ["" : 17]>\n'
DENSE = HEADER + "g (float[N,4] x) => (float[N,4] y) <float[4] c = {1, 2, 3, 4}> { [add] a = Add (x, c) [relu] y = Relu (a) }"
BRANCHES = """g (bool c, float[4] x) => (float[4] y) {
  [choose] y = If (c) <
    then_branch = then () => (float[4] t) { THEN },
    else_branch = other () => (float[4] e) { e = Neg (x) }
  >
}"""
FUNCTION = """<ir_version: 8, opset_import: ["" : 17, "my" : 1]>
g (float[N,4] x) => (float[N,4] y) { [f] y = my.twice (x) }
<domain: "my", opset_import: ["" : 17]> twice (a) => (b) { [neg] c = Neg (a) [add] b = Add (a, c) }"""

EVERYTHING = """<ir_version: 8, opset_import: ["" : 17, "my" : 1]>
g (float[N,4] x, bool b) => (float[N,4] y) <float[4] c = {1, 2, 3, 4}> {
  [f] t = my.twice (x)
  k = Constant <value = float {2}> ()
  u = Mul (t, k)
  y = If (b) <
    then_branch = then () => (float[N,4] p) { p = Add (u, c) },
    else_branch = other () => (float[N,4] q) <float[1] w = {2}> { q = Mul (u, w) }
  >
}
<domain: "my", opset_import: ["" : 17]> twice (a) => (b) { [neg] c = Neg (a) [add] b = Add (a, c) }"""


def parsed(text: str) -> ModelProto:
    """The protobuf of a text, whose header may be left out."""
    return onnx.parser.parse_model(text if text.startswith("<") else HEADER + text)


def loaded(model: ModelProto | str, shapes: Shapes | None = None) -> ir.Model:
    return load.from_proto(parsed(model) if isinstance(model, str) else model, "m.onnx", shapes=shapes)


def refused(model: ModelProto | str, *words: str, shapes: Shapes | None = None) -> None:
    """The model is the user's error; its message has all of the words, and the place."""
    with pytest.raises(UserError) as caught:
        loaded(model, shapes)
    assert caught.value.exit_code == 2
    for word in (*words, "m.onnx"):
        assert word in str(caught.value), str(caught.value)


def refused_file(path: Path, *words: str) -> None:
    with pytest.raises(UserError) as caught:
        load.load(path)
    for word in (*words, str(path)):
        assert word in str(caught.value), str(caught.value)


def interface(model: ir.Model) -> str:
    return ", ".join(f"{v.name} {printer.type_text(v)}" for v in (*model.graph.inputs, *model.graph.outputs))


def changed(change: Callable[[ModelProto], object], text: str = DENSE) -> ModelProto:
    proto = parsed(text)
    change(proto)
    return proto
