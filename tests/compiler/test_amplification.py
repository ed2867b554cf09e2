"""A model that amplifies rounding is optimized all the same, and what is wrong with a rewrite is still found on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from optc.compiler import check, ir, printer, runner
from optc.compiler.edit import Editor
from optc.compiler.numerics import Numerics
from optc.compiler.pipeline import Pass, Pipeline

FUSED = "canonicalize,infer-shapes,fold-constants,fuse-layer-norm,fuse-gelu"


def network(gain: float) -> ir.Model:
    """A product, decomposed LayerNorm and Gelu, then Sin(gain · h): of a great gain rounding is all that stays."""
    return printer.parse(
        f"""<ir_version: 10, opset_import: ["" : 20]>
        net (float[4,16] x) => (float[4,16] y)
        <{weights()} int64[1] last = {{-1}}, float two = {{2}}, float eps = {{0.00001}}, float root = {{1.4142135}},
         float one = {{1}}, float half = {{0.5}}, float gain = {{{gain}}}>
        {{
          [product] p = MatMul (x, w)
          [mean] m = ReduceMean <keepdims = 1> (p, last)
          [centre] c = Sub (p, m)
          [square] q = Pow (c, two)
          [variance] v = ReduceMean <keepdims = 1> (q, last)
          [stable] ve = Add (v, eps)
          [deviation] sd = Sqrt (ve)
          [normal] n = Div (c, sd)
          [scaled] ns = Mul (n, scale)
          [shifted] h = Add (ns, bias)
          [inside] e0 = Div (h, root)
          [erf] e1 = Erf (e0)
          [plus] e2 = Add (e1, one)
          [times] e3 = Mul (h, e2)
          [gelu] g = Mul (e3, half)
          [loud] l = Mul (g, gain)
          [wave] y = Sin (l)
        }}"""
    )


def weights() -> str:
    """Of the product and of the LayerNorm, as text."""
    rng, shapes = np.random.default_rng(0), {"w": (16, 16), "scale": (16,), "bias": (16,)}
    drawn = {name: rng.normal(0, 0.5, shape) for name, shape in shapes.items()}
    return "".join(
        f"float[{','.join(map(str, a.shape))}] {name} = {{{', '.join(f'{v:.6f}' for v in a.ravel())}}}, "
        for name, a in drawn.items()
    )


@dataclass(frozen=True)
class Wrong(Pass):
    """Gives one node a wrong constant, as a fusion would that reads or writes it wrongly."""

    name = "planted-constant"
    numerics = Numerics.REASSOCIATED
    node: str = ""
    index: int = 1
    times: float = 1.0
    transposed: bool = False

    def run(self, edit: Editor) -> None:
        node = next(n for n in edit.graph if n.name == self.node)
        held = ir.const(node.inputs[self.index])
        assert held is not None
        if edit.step(node):
            wrong = held.T.copy() if self.transposed else held * held.dtype.type(self.times)
            edit.set_input(node, self.index, edit.initializer(np.ascontiguousarray(wrong), "wrong"))


def test_a_model_that_amplifies_rounding_is_fused_and_the_report_says_so() -> None:
    model = network(30000.0)
    report = runner.run(Pipeline.parse(FUSED), model)
    assert not report.broken
    assert {"LayerNormalization", "Gelu"} <= {n.op_type for n in model.graph}
    (found,) = report.checks
    assert found.worst.error > check.TOLERANCE
    assert found.amplified.startswith("the model amplifies rounding: output 'y'")
    assert [o.reason for o in report.outcomes if o.reason] == [found.amplified]


def test_of_a_model_that_does_not_nothing_is_said() -> None:
    report = runner.run(Pipeline.parse(FUSED), network(1.0))
    assert [(c.holds, c.amplified) for c in report.checks] == [(True, "")]
    assert not [o.reason for o in report.outcomes if o.reason]


FAULTS = [
    Wrong(node="stable", times=10.0),  # another epsilon
    Wrong(node="inside", times=1.0005),  # another constant of Gelu
    Wrong(node="product", transposed=True),
    Wrong(node="scaled", times=1.0 + 3e-5),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.node)
@pytest.mark.parametrize("gain", [1000.0, 30000.0, 1e6])
def test_faults_are_found_on_models_that_amplify_rounding(fault: Wrong, gain: float) -> None:
    report = runner.run(Pipeline((fault, *Pipeline.parse(FUSED).passes)), network(gain))
    assert [(o.name, f"'{fault.node}'" in o.reason) for o in report.broken] == [("planted-constant", True)]
