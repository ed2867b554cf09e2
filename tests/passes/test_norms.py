"""Normalizations as exporters write them: every combination of spellings becomes one operator that gives the same."""

from __future__ import annotations

from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import version_converter

from benchmarks import zoo
from optc.compiler import api, inputs, ir, printer
from optc.compiler.check import check
from optc.compiler.numerics import Numerics
from optc.compiler.pipeline import Pipeline
from optc.compiler.runner import Options, run

SQUARES = ("Mul (d, d)", "Pow (d, two)")
ROOTS = {
    "r = Sqrt (e)": "Div ({}, r)",
    "r = Pow (e, half)": "Div ({}, r)",
    "q = Sqrt (e) r = Reciprocal (q)": "Mul ({}, r)",
    "q = Sqrt (e) r = Div (one, q)": "Mul (r, {})",
    "r = Pow (e, minus)": "Mul ({}, r)",
}
WEIGHTS = ("none", "before", "inside", "behind")
CONSTANTS = "float two = {2}, float half = {0.5}, float one = {1}, float minus = {-0.5}, float eps = {0.001}"
LAYER = """
<ir_version: 10, opset_import: ["" : %d]>
net (float[N,3,4] x) => (float[N,3,4] y)
<%s, int64[1] last = {-1}, float[4] g = {1, -2, 3, 0.5}, float[4] b = {4, 3, 2, 1}>
{ %s }
"""


def mean(opset: int, x: str) -> str:
    return f"ReduceMean ({x}, last)" if opset >= 18 else f"ReduceMean <axes = [2]> ({x})"


def normalized(opset: int, moments: str, centred: str, square: str, root: str, weight: str, bias: bool) -> str:
    """The text of a model; `moments` computes the value `centred`."""
    inside = f"s = Mul (g, r) n = Mul (s, {centred})"
    apply = ROOTS[root]
    body = {
        "none": f"n = {apply.format(centred)}",
        "before": f"w = Mul (g, {centred}) n = {apply.format('w')}",
        "inside": inside,
        "behind": f"k = {apply.format(centred)} n = Mul (k, g)",
    }[weight]
    squared = square.replace("d", centred)
    steps = f"{moments} s2 = {squared} v = {mean(opset, 's2')} e = Add (v, eps) {root} {body} "
    return LAYER % (opset, CONSTANTS, steps + ("y = Add (n, b)" if bias else "y = Identity (n)"))


def optimized(text: str, passes: str, numerics: Numerics = Numerics.REASSOCIATED) -> ir.Model:
    before, model = printer.parse(text), printer.parse(text)
    report = run(Pipeline.parse(passes), model, Options(check="off"))
    assert not report.broken
    assert check(before, model, numerics, inputs.generate(before)).holds
    return model


def wanted(weight: str, root: str) -> bool:
    return weight != "inside" or ROOTS[root].startswith("Mul")


@pytest.mark.parametrize(("opset", "square", "root"), list(product((17, 21), SQUARES, ROOTS)))
def test_every_layer_norm(opset: int, square: str, root: str) -> None:
    for weight, bias in product((w for w in WEIGHTS if wanted(w, root)), (False, True)):
        text = normalized(opset, f"m = {mean(opset, 'x')} d = Sub (x, m)", "d", square, root, weight, bias)
        (node,) = optimized(text, "canonicalize,fuse-layer-norm").graph
        assert node.op_type == "LayerNormalization"
        assert ir.attribute(node, "epsilon") == pytest.approx(0.001)
        gamma = ir.const(node.inputs[1])
        assert gamma is not None
        assert gamma.tolist() == ([1, 1, 1, 1] if weight == "none" else [1, -2, 3, 0.5])
        assert (len(node.inputs) == 3) == bias


@pytest.mark.parametrize(("square", "root"), list(product(SQUARES, ROOTS)))
def test_every_rms_norm(square: str, root: str) -> None:
    for weight in (w for w in WEIGHTS if wanted(w, root)):
        text = normalized(23, "", "x", square, root, weight, bias=False)
        (node,) = optimized(text, "canonicalize,fuse-layer-norm,fuse-rms-norm").graph
        assert node.op_type == "RMSNormalization"
        (simplified,) = optimized(normalized(17, "", "x", square, root, weight, bias=False), "canonicalize,ort-rms-norm").graph
        assert simplified.op_type == "SimplifiedLayerNormalization"


@pytest.mark.parametrize("order", ["y = Add (p, t)", "y = Add (t, p)"])
@pytest.mark.parametrize("scaled", [True, False])
def test_tensorflow_folds_mean_and_weight(order: str, scaled: bool) -> None:
    scale = "k = Mul (r, g)" if scaled else "k = Identity (r)"
    steps = (
        f"m = {mean(17, 'x')} d = Sub (x, m) s = Mul (d, d) v = {mean(17, 's')} e = Add (v, eps) q = Sqrt (e) r = Reciprocal (q) "
    )
    steps += f"{scale} p = Mul (x, k) o = Mul (m, k) t = Sub (b, o) {order}"
    (node,) = optimized(LAYER % (17, CONSTANTS, steps), "canonicalize,fuse-layer-norm").graph
    assert node.op_type == "LayerNormalization"
    assert len(node.inputs) == 3


def test_a_mean_far_from_zero_keeps_its_digits() -> None:
    """E[x²] - E[x]² loses them, the operator does not: where the source itself is no good the check rolls the fusion back."""
    steps = f"m = {mean(17, 'x')} s = Mul (x, x) n = {mean(17, 's')} k = Mul (m, m) v = Sub (n, k) e = Add (v, eps) q = Sqrt (e) "
    steps += "d = Sub (x, m) y = Div (d, q)"
    text = LAYER % (17, CONSTANTS, steps)
    rng = np.random.default_rng(0)
    near, far = ({"x": (rng.standard_normal((2, 3, 4)) + shift).astype(np.float32)} for shift in (0, 1e4))
    for feeds, kept in ((near, True), (far, False)):
        report = run(Pipeline.parse("fuse-layer-norm"), printer.parse(text), Options(feeds=[feeds]))
        assert report.outcomes[0].kept == kept


def test_a_mean_that_is_an_output_is_still_computed() -> None:
    text = (LAYER % (17, CONSTANTS, f"m = {mean(17, 'x')} d = Sub (x, m) s = Mul (d, d) v = {mean(17, 's')} e = Add (v, eps) "
            "q = Sqrt (e) y = Div (d, q)")).replace("(float[N,3,4] y)", "(float[N,3,4] y, float[N,3,1] m)")  # fmt: skip
    assert "LayerNormalization" not in {n.op_type for n in optimized(text, "fuse-layer-norm").graph}


@pytest.mark.parametrize("epsilon", ["float[2] eps = {0.1, 0.2}", "float eps = {-0.1}", "float[4] eps = {0.1, 0.2, 0.3, 0.4}"])
def test_an_epsilon_is_one_number_that_is_not_negative(epsilon: str) -> None:
    text = normalized(17, f"m = {mean(17, 'x')} d = Sub (x, m)", "d", SQUARES[0], "r = Sqrt (e)", "none", bias=False)
    text = text.replace("float eps = {0.001}", epsilon).replace("[N,3,4]", "[N,2,4]" if "[2]" in epsilon else "[N,3,4]")
    model = printer.parse(text.replace("float[2] eps", "float[2,1] eps"))
    run(Pipeline.parse("fuse-layer-norm"), model, Options(check="off"))
    assert "LayerNormalization" not in {n.op_type for n in model.graph}


def test_a_real_recogniser_of_text(tmp_path: Path) -> None:
    """PP-OCR writes five layer normalizations of nine operators each, and thirteen Gelus."""
    converted = version_converter.convert_version(onnx.load(zoo.fetch("ppocr_rec")), 20)
    onnx.save(converted, tmp_path / "rec.onnx")
    standard = api.optimize(tmp_path / "rec.onnx", tmp_path / "o.onnx")
    made = Counter(n.op_type for n in onnx.load(tmp_path / "o.onnx").graph.node)
    assert made["LayerNormalization"] == 5
    assert not {"Erf", "Sqrt", "Pow"} & set(made)
    fused = api.optimize(tmp_path / "rec.onnx", tmp_path / "f.onnx", dialect="onnxruntime")
    assert not standard.report.broken + fused.report.broken
    assert Counter(n.op_type for n in onnx.load(tmp_path / "f.onnx").graph.node)["Sum"] == 4
    assert fused.nodes_after < standard.nodes_after < standard.nodes_before
