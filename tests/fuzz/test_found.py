"""What random graphs found, each as small as it could be made."""

from __future__ import annotations

import re

import numpy as np
import onnx.parser
import pytest

from optc.compiler import ir, load, printer, verify
from optc.compiler.edit import Editor
from optc.compiler.pipeline import Pipeline
from optc.compiler.reference import Reference
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


@pytest.mark.parametrize("shape", ["float", "float[1]", "float[0]"])
def test_onnxruntime_has_no_fast_gelu_of_a_scalar(shape: str) -> None:
    header = HEADER.replace("17", "20")
    text = f'{header} g ({shape} x) => ({shape} y, {shape} z) {{ y = Gelu <approximate = "tanh"> (x) z = Gelu (x) }}'
    x = np.full([int(n) for n in re.findall(r"\d+", shape)], 0.5, np.float32)
    subject = Subject(onnx.parser.parse_model(text), [{"x": x}])
    outcome = examine(subject, Pipeline.parse("ort-gelu").passes)
    assert outcome.failures == []
    assert outcome.rewrites["ort-gelu"] == (1 if shape == "float" else 2)


def test_a_value_of_unknown_rank_may_be_a_scalar() -> None:
    model = printer.parse(f"""{HEADER.replace("17", "20")} g (float[N] x, int64[R] size) => (float[] y) {{
      s = Reshape (x, size) y = Gelu <approximate = "tanh"> (s)
    }}""")
    model.graph.node(0).outputs[0].shape = None
    edit = Editor(model)
    run(edit, Pipeline.parse("ort-gelu").passes)
    assert edit.steps == []
    assert [r.reason for r in edit.refusals if r.rule == "gelu-tanh"] == [
        "'s' may be a scalar, which onnxruntime's FastGelu refuses"
    ]


ATTENTION = """g (float[B,S,8] q, float[B,S,8] k, float[B,S,8] v) => (float[B,S,8] y)
<int64[4] split = {0, 0, 2, 4}, int64[3] whole = {0, 0, 8}, float factor = {FIRST}, float another = {SECOND}> {
  qh = Reshape (q, split) kh = Reshape (k, split) vh = Reshape (v, split)
  qt = Transpose <perm = [0, 2, 1, 3]> (qh) kt = Transpose <perm = [0, 2, 3, 1]> (kh) vt = Transpose <perm = [0, 2, 1, 3]> (vh)
  p = MatMul (qt, kt) t = Mul (p, factor) s = Mul (t, another) w = Softmax <axis = -1> (s) m = MatMul (w, vt)
  n = Transpose <perm = [0, 2, 1, 3]> (m) y = Reshape (n, whole)
}"""
STANDARD = """g (float[B,S,8] q, float[B,S,8] k, float[B,S,8] v) => (float[B,S,8] y) {
  y = Attention <q_num_heads = 2, kv_num_heads = 2, scale = FIRST> (q, k, v)
}"""
PACKED = """g (float[B,3,24] x, float[3,3] mask) => (float[B,3,8] y)
<int64[5] split = {0, 0, 3, 2, 4}, int64[3] whole = {0, 0, 8}, int64 i = {0}, int64 j = {1}, int64 k = {2}> {
  heads = Reshape (x, split) all = Transpose <perm = [2, 0, 3, 1, 4]> (heads)
  qt = Gather <axis = 0> (all, i) kh = Gather <axis = 0> (all, j) vt = Gather <axis = 0> (all, k)
  kt = Transpose <perm = [0, 1, 3, 2]> (kh) p = MatMul (qt, kt) s = Add (p, mask) w = Softmax <axis = -1> (s) m = MatMul (w, vt)
  n = Transpose <perm = [0, 2, 1, 3]> (m) y = Reshape (n, whole)
}"""


def _fed(text: str, opset: int, **shapes: tuple[int, ...]) -> Subject:
    rng = np.random.default_rng(0)
    proto = onnx.parser.parse_model(HEADER.replace("17", str(opset)) + text)
    return Subject(proto, [{name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}])


def _attention(text: str, opset: int, first: str, second: str = "1") -> Subject:
    given = text.replace("FIRST", first).replace("SECOND", second)
    return _fed(given, opset, q=(2, 3, 8), k=(2, 3, 8), v=(2, 3, 8))


@pytest.mark.parametrize("scale", [("0.5", "1"), ("0", "1"), ("1e-30", "1e-30")])
@pytest.mark.parametrize(("opset", "passes"), [(17, "ort-attention"), (23, "fuse-attention"), (23, "ort-attention")])
def test_onnxruntime_takes_a_scale_of_zero_for_one_that_is_left_out(opset: int, passes: str, scale: tuple[str, str]) -> None:
    """And refuses it in the standard Attention. What is zero as float32 counts, too."""
    outcome = examine(_attention(ATTENTION, opset, *scale), Pipeline.parse(passes).passes)
    assert outcome.failures == []
    assert bool(outcome.rewrites) == (scale[0] == "0.5")


@pytest.mark.filterwarnings("ignore:invalid value encountered in sqrt")
@pytest.mark.parametrize("scale", ["0.5", "0.0", "-0.5"])
def test_a_standard_attention_of_scale_zero_gives_means_of_the_values(scale: str) -> None:
    """As ONNX defines it and its evaluator computes it: by the root of the scale, so that a negative one gives NaN."""
    subject = _attention(STANDARD, 23, scale)
    mean = np.broadcast_to(subject.feeds[0]["v"].mean(1, keepdims=True), (2, 3, 8))
    assert np.allclose(subject.expected[0]["y"], mean, atol=1e-5) == (scale == "0.0")
    assert np.isnan(subject.expected[0]["y"]).all() == (scale == "-0.5")
    inlined, renamed = (examine(subject, Pipeline.parse(p).passes) for p in ("inline-functions", "ort-attention"))
    assert inlined.failures == renamed.failures == []
    assert inlined.rewrites["inline-functions"]
    assert bool(renamed.rewrites) == (scale == "0.5")


@pytest.mark.parametrize("opset", [11, 12, 13])
def test_attention_is_written_as_the_opset_has_it(opset: int) -> None:
    """Axes of Unsqueeze, of a mask that gets four dimensions, and sizes of Split are inputs from opset 13 on."""
    outcome = examine(_fed(PACKED, opset, x=(2, 3, 24), mask=(3, 3)), Pipeline.parse("ort-attention").passes)
    assert outcome.failures == []
    assert outcome.rewrites["ort-attention"] == 1


def test_heads_of_an_empty_batch_are_split_by_their_size() -> None:
    """Where a batch is empty, nothing tells what -1 in the shape of a Reshape stands for."""
    model = printer.parse("""<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>
    g (float[N,4,16] x, float[16,48] w, float[48] b) => (float[N,4,16] y) {
      y = com.microsoft.Attention <num_heads = 2> (x, w, b)
    }""")
    run(Editor(model), Pipeline.parse("inline-functions").passes)
    feeds = {name: np.ones(shape, np.float32) for name, shape in (("x", (0, 4, 16)), ("w", (16, 48)), ("b", (48,)))}
    assert [y.shape for y in Reference(model).run_all([feeds])[0].values()] == [(0, 4, 16)]
