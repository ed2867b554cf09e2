"""Shapes: what follows for a value from its producer, with symbolic dimensions; never more than is true."""

from __future__ import annotations

import numpy as np
import pytest

from optc.compiler import ir, printer
from optc.compiler.contents import dims
from optc.compiler.edit import Editor
from optc.compiler.reference import Reference
from optc.compiler.symbolic import evaluate
from optc.passes.cleanup.infer_shapes import InferShapes


def inferred(
    nodes: str, weights: str = "", inputs: str = "float[N,C,H,W] x", opset: int = 17, domains: str = ""
) -> dict[str, str]:
    held = f"<{weights}>" if weights else ""
    header = f'<ir_version: 8, opset_import: ["" : {opset}{domains}]>'
    model = printer.parse(f"{header} g ({inputs}) => ({inputs.split(' x')[0]} y) {held} {{ {nodes} y = Identity (x) }}")
    for node in model.graph:
        for value in node.outputs:
            value.shape = None  # what loading found
    InferShapes().run(Editor(model))
    return {v.name or "": printer.type_text(v) for n in model.graph for v in n.outputs}


CASES = {
    "u = Conv <strides = [2,2], dilations = [2,2], pads = [1,1,1,1]> (x, w)": 'float[N,8,"(H + 1)//2 - 1","(W + 1)//2 - 1"]',
    'u = Conv <auto_pad = "SAME_UPPER", strides = [2,2]> (x, w)': 'float[N,8,"(H + 1)//2","(W + 1)//2"]',
    "u = MaxPool <kernel_shape = [3,3], strides = [2,2], ceil_mode = 1> (x)": 'float[N,C,"H//2","W//2"]',
    "u = ConvTranspose <strides = [2,2], kernel_shape = [2,2]> (x, t)": 'float[N,2,"2*H","2*W"]',
    'u = Resize <coordinate_transformation_mode = "asymmetric"> (x, , twice)': 'float[N,C,"2*H","2*W"]',
    "u = Flatten (x)": 'float[N,"C*H*W"]',
    "u = Concat <axis = 1> (x, x)": 'float[N,"2*C",H,W]',
    "u = Pad (x, pads)": 'float[N,C,"H + 2","W + 1"]',
    "u = Slice (x, one, far, one)": 'float[N,"max(0, C - 1)",H,W]',
    "u = Slice (x, minus, far, one)": 'float[N,"min(1, C)",H,W]',
    "u = Tile (x, repeats)": 'float[N,C,H,"3*W"]',
    "s = Shape (x) u = Expand (two, s)": "float[N,C,H,W]",
    "s = Shape (x) k = Mul (s, s) u = ConstantOfShape (k)": 'float["N*N","C*C","H*H","W*W"]',
    "s = Size (x) n = Reshape (s, one) u = Reshape (x, n)": 'float["C*H*N*W"]',
    "a = Relu (x) u = Add (a, x)": "float[N,C,H,W]",
    "u = SpaceToDepth <blocksize = 2> (x)": 'float[N,"4*C","H//2","W//2"]',
    "u = Cast <to = 7> (x)": "int64[N,C,H,W]",
}
WEIGHTS = (
    "float[8,2,3,3] w, float[2,2,2,2] t, float[4] twice = {1,1,2,2}, int64[8] pads = {0,0,1,0,0,0,1,1}, int64[1] one = {1},"
    "int64[1] far = {9223372036854775807}, int64[1] minus = {-1}, int64[4] repeats = {1,1,1,3}, float[1,1] two = {2}"
)


@pytest.mark.parametrize("nodes", list(CASES))
def test_symbolic_dimensions(nodes: str) -> None:
    text = "float[8,2,3,3] w = {" + ",".join(["1"] * 144) + "}, float[2,2,2,2] t = {" + ",".join(["1"] * 16) + "}"
    weights = WEIGHTS.replace("float[8,2,3,3] w, float[2,2,2,2] t", text)
    assert inferred(nodes, weights)["u"] == CASES[nodes]


def test_what_cannot_be_known_has_a_name_of_its_own() -> None:
    found = inferred("u = NonZero (x) v = NonZero (x)")
    assert found["u"] == "int64[4,u_d1]"
    assert found["v"] == "int64[4,v_d1]"


def test_two_unknowns_that_broadcast_are_a_third() -> None:
    assert inferred("u = Add (x, b)", inputs="float[N] x, float[M] b")["u"] == "float[u_d0]"


def test_optc_operators_are_inferred_through_their_definition() -> None:
    weights = "float[2,1,1,1] w = {1, 2}"
    found = inferred("u = optc.ConvChannelsLast <strides = [2,2]> (x, w)", weights, "float[N,H,W,1] x", domains=', "optc" : 1')
    assert found["u"] == 'float[N,"(H + 1)//2","(W + 1)//2",2]'


def test_branches_that_agree_and_branches_that_do_not() -> None:
    body = "{name} () => (float[K] {name}o) {{ {name}o = {op} }}"
    yes, no = body.format(name="t", op="Relu (x)"), body.format(name="e", op="Neg (x)")
    assert inferred(f"u = If (c) <then_branch = {yes}, else_branch = {no}>", inputs="float[N] x, bool c")["u"] == "float[N]"
    no = body.format(name="e", op="Concat <axis = 0> (x, x)")
    assert inferred(f"u = If (c) <then_branch = {yes}, else_branch = {no}>", inputs="float[N] x, bool c")["u"] == "float[u_d0]"


@pytest.mark.parametrize("sizes", [{"N": 2, "H": 33, "W": 40}, {"N": 1, "H": 64, "W": 17}])
def test_expressions_are_the_shapes_at_run_time(sizes: dict[str, int]) -> None:
    model = printer.parse("""<ir_version: 8, opset_import: ["" : 17]>
    g (float[N,1,H,W] x) => (float[N,a,b] y)
    <float[1,1,3,3] w = {1,1,1,1,1,1,1,1,1}, int64[3] t = {0, 1, -1},
     int64[1] one = {1}, int64[1] end = {-2}, int64[1] last = {3}>
    {
      a = Conv <pads = [1,1,1,1], strides = [2,2]> (x, w)
      b = MaxPool <kernel_shape = [3,3], strides = [2,2], ceil_mode = 1> (a)
      c = Slice (b, one, end, last)
      y = Reshape (c, t)
    }""")
    InferShapes().run(Editor(model))
    inner = {v.name: v for n in model.graph for v in n.outputs}
    known = {k: dims(inner[k]) for k in "abc"}
    model.graph.outputs.extend(inner[k] for k in "abc")
    results = Reference(model).run({"x": np.zeros((sizes["N"], 1, sizes["H"], sizes["W"]), np.float32)})
    for key, shape in known.items():
        assert shape is not None
        assert tuple(evaluate(d, sizes) for d in shape) == results[key].shape


def test_a_graph_output_keeps_the_dimensions_it_was_given() -> None:
    model = printer.parse('<ir_version: 8, opset_import: ["" : 17]> g (float[N] x) => (float[rows] y) { y = Relu (x) }')
    InferShapes().run(Editor(model))
    assert model.graph.outputs[0].shape == ir.Shape(["rows"])


def test_a_stale_number_that_an_exporter_noted_gives_way() -> None:
    model = printer.parse(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N,2] x) => (float[N,2] y) { a = Relu (x) y = Neg (a) }'
    )
    inner = model.graph[0].outputs[0]
    inner.shape = ir.Shape([1, 2])  # of a model whose batch was set free later
    InferShapes().run(Editor(model))
    assert inner.shape == ir.Shape(["N", 2])


def test_names_that_an_exporter_gave_to_an_output_are_not_those_of_an_input() -> None:
    model = printer.parse("""<ir_version: 8, opset_import: ["" : 17]>
    g (float[seq] x) => (float[seq] y) <int64[1] one = {1}, int64[1] far = {99999}, int64[1] zero = {0}>
    { y = Slice (x, one, far, zero) }""")
    known = dims(model.graph.outputs[0])
    assert known is not None
    assert str(known[0]) == "max(0, min(99999, seq) - 1)"


def test_what_a_loop_and_a_scan_give_and_take() -> None:
    """Bodies whose inputs have no types, as function definitions write them: these follow from what the node is given."""
    loop = """<ir_version: 8, opset_import: ["" : 17]>
    net (float[2, 4] x, int64 n) => (float[A, B] last, float[C, D, E] all) {
        go = Constant <value = bool {1}> ()
        last, all = Loop <body = b (i, c, s) => (d, t, u) { d = Identity (c) t = Relu (s) u = Neg (t) }> (n, go, x)
    }"""
    scan = """<ir_version: 8, opset_import: ["" : 17]>
    net (float[4] s, float[5, 4] x) => (float[A] e, float[B, C] r) {
        e, r = Scan <num_scan_inputs = 1, body = b (a, u) => (t, v) { t = Add (a, u) v = Identity (t) }> (s, x)
    }"""
    for text, inputs in ((loop, ["INT64[]", "BOOL[]", "FLOAT[2,4]"]), (scan, ["FLOAT[4]", "FLOAT[4]"])):
        model = printer.parse(text)
        InferShapes().run(Editor(model))
        (node,) = (n for n in model.graph if any(True for _ in ir.bodies(n)))
        (body,) = ir.bodies(node)
        shown = [f"{v.dtype}[{','.join(str(d) if isinstance(d, int) else '?' for d in v.shape or ())}]" for v in body.inputs]
        assert shown == inputs
        assert [v.dtype for v in body.outputs][-1] == ir.DataType.FLOAT
