"""What random graphs found, each as small as it could be made."""

from __future__ import annotations

import numpy as np
import onnx.parser

from optc.compiler import ir, load, printer, verify
from optc.compiler.edit import Editor
from optc.compiler.pipeline import Pipeline
from optc.compiler.testing.checks import Subject, examine, run

HEADER = '<ir_version: 8, opset_import: ["" : 17]>'


def test_an_output_keeps_its_doc_string_and_its_size_when_another_value_takes_its_place() -> None:
    proto = onnx.parser.parse_model(f"{HEADER} g (float[N,4] x) => (float[N,4] y) {{ a = Relu (x) y = Identity (a) }}")
    proto.graph.output[0].doc_string = "what it means"
    proto.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 2
    model = load.from_proto(proto, "test")
    edit = Editor(model)
    run(edit, Pipeline.parse("canonicalize").passes)
    output = model.graph.outputs[0]
    assert [n.op_type for n in model.graph] == ["Relu"]
    assert (output.name, output.doc_string, list(output.shape or ())) == ("y", "what it means", [2, 4])
    edit.rollback(0)
    assert model.graph.outputs[0].doc_string == "what it means"
    assert model.graph.node(0).outputs[0].doc_string in (None, "")


def test_a_product_of_a_value_with_itself_matches_twice_with_one_root() -> None:
    """Beyond the limit of a bisection fuse-gelu looks at the second way to match, and took it for one of two results."""
    model = printer.parse(f"""{HEADER} g (float[4] x) => (float[4] y)
    <float c = {{0.044715}}, float s = {{0.79788458}}, float one = {{1}}, float half = {{0.5}}> {{
      xx = Mul (x, x) cube = Mul (xx, x) small = Mul (cube, c) sum = Add (x, small) inner = Mul (sum, s)
      t = Tanh (inner) gate = Add (t, one) h = Mul (x, half) y = Mul (h, gate)
    }}""")
    edit = Editor(model, 0)
    run(edit, Pipeline.parse("fuse-gelu").passes)
    assert edit.steps == []
    assert any(r.rule == "gelu-tanh-half-first" and r.reason == "beyond the bisection limit" for r in edit.refusals)


def test_text_of_doubles_tells_them_apart() -> None:
    model = printer.parse(f"{HEADER} g (double[1] x) => (double[1] y) <double[1] c = {{1}}> {{ y = Add (x, c) }}")
    weight = model.graph.initializers["c"]
    weight.const_value = ir.tensor(np.array([1 / 3]), "c")
    again = printer.parse(printer.text(model, whole=True))
    assert ir.const(again.graph.initializers["c"]) == np.array([1 / 3])


def test_a_definition_of_layer_normalization_takes_an_empty_batch_that_does_not_lead() -> None:
    proto = onnx.parser.parse_model(f"""{HEADER} g (float[6,1,N,6] x) => (float[6,1,N,6] y) <float[6] w = {{1, 2, 3, 4, 5, 6}}>
    {{ y = LayerNormalization (x, w) }}""")
    rng = np.random.default_rng(0)
    subject = Subject(proto, [{"x": rng.standard_normal((6, 1, n, 6)).astype(np.float32)} for n in (2, 0)])
    outcome = examine(subject, Pipeline.parse("inline-functions").passes)
    assert len(subject.feeds) == 2
    assert outcome.failures == []
    assert outcome.rewrites["inline-functions"]


def test_activations_of_doubles_stay_in_parts_that_onnxruntime_has_kernels_for() -> None:
    text = (
        HEADER.replace("17", "22")
        + """ g (double[N] x) => (double[N] y)
    <double c = {3}, double low = {0}, double six = {6}> {
      a = Add (x, c) b = Clip (a, low, six) d = Mul (x, b) y = Div (d, six)
    }"""
    )
    subject = Subject(onnx.parser.parse_model(text), [{"x": np.linspace(-5, 5, 7)}])
    outcome = examine(subject, Pipeline.parse("fuse-hard-swish").passes)
    assert outcome.failures == []
    assert not outcome.rewrites


def test_a_weight_of_an_adopted_body_comes_back() -> None:
    """unroll-loops and hoist-invariants adopt copies of bodies; weights that left a copy had no place to come back to."""
    model = printer.parse(f"{HEADER} g (float[3] x) => (float[3] y) {{ y = Relu (x) }}")
    edit = Editor(model)
    text = f"{HEADER} b () => (float[3] z) <float[3] p = {{1, 2, 3}}, float[3] q = {{4, 5, 6}}> {{ z = Add (p, q) }}"
    body = printer.parse(text).graph
    mark = edit.mark()
    for use in list(body.initializers["p"].uses()):
        edit.set_input(use.node, use.idx, body.initializers["q"])
    edit.remove_initializer(body.initializers["p"])
    edit.rollback(mark)
    assert list(body.initializers) == ["p", "q"]


def test_steps_of_a_loop_have_weights_of_their_own_inside_bodies() -> None:
    """Copies of a step were given fresh names, but for the weights of the bodies in it."""
    model = printer.parse(f"""{HEADER} g (float[3] x, bool c) => (float[3] y) <int64 count = {{2}}> {{
      y = Loop (count, , x) <body = b (int64 turn, bool go, float[3] carry) => (bool on, float[3] next) {{
        on = Identity (go)
        next = If (c) <then_branch = t () => (float[3] a) <float[3] w = {{1, 2, 3}}> {{ a = Mul (carry, w) }},
                       else_branch = e () => (float[3] o) {{ o = Neg (carry) }}>
      }}>
    }}""")
    edit = Editor(model)
    interface, before = verify.signature(model), printer.text(model)
    run(edit, Pipeline.parse("unroll-loops").passes)
    assert [n.op_type for n in model.graph] == ["If", "If"]
    assert verify.verify(model, interface) == []
    edit.rollback(0)
    assert printer.text(model) == before
