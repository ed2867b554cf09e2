"""Lossy passes on weights: int8 within half a step, exactly the smallest elements gone, nothing else touched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from optc.compiler import ir, load, printer, runner
from optc.compiler.diagnostics import UserError
from optc.compiler.edit import Editor
from optc.compiler.pipeline import Pipeline
from optc.compiler.weights import weights


def run(model: ir.Model, text: str) -> Editor:
    edit = Editor(model)
    for p in Pipeline.parse(text):
        edit.owner = p.name
        p.run(edit)
    return edit


def test_weights_and_their_channel_axes() -> None:
    model = printer.parse("""<ir_version: 8, opset_import: ["" : 17]>
    g (float[N,2,4,4] x, int64[N] i) => (float[N,3] y, float[N,5] z)
    <float[4,2,1,1] conv = {1,2,3,4,5,6,7,8},
     float[4,3] product = {1,2,3,4,5,6,7,8,9,10,11,12}, float[3,3] gemm = {1,2,3,4,5,6,7,8,9},
     float[2,5] table = {1,2,3,4,5,6,7,8,9,10}, float[3] bias = {1,2,3}>
    {
      a = Conv (x, conv)
      b = GlobalAveragePool (a)
      c = Flatten (b)
      d = MatMul (c, product)
      y = Gemm <transB = 1> (d, gemm, bias)
      z = Gather (table, i)
    }""")
    assert {w.value.name: w.axis for w in weights(model.graph)} == {"conv": 0, "product": 1, "gemm": 0, "table": 0}
    assert {w.value.name for w in weights(model.graph, min_elements=9, tables=False)} == {"product", "gemm"}


@pytest.mark.parametrize("per_channel", ["true", "false"])
def test_quantized_weights_are_within_half_a_step(fashion_cnn: Path, per_channel: str) -> None:
    model = load.load(fashion_cnn)
    before = {w.value.name: w.array for w in weights(model.graph, 1024)}
    run(model, f"quantize-weights{{per-channel={per_channel}}}")
    made = [n for n in model.graph if n.op_type == "DequantizeLinear"]
    assert len(made) == len(before)
    for node in made:
        q, scale = ir.const(node.inputs[0]), ir.const(node.inputs[1])
        assert q is not None
        assert scale is not None
        original = before[node.inputs[0].name.removesuffix("_int8")]  # type: ignore[union-attr]
        shape = [-1 if i == ir.attribute(node, "axis", None) else 1 for i in range(q.ndim)] if scale.ndim else []
        assert np.all(np.abs(q * scale.reshape(shape) - original) <= scale.reshape(shape) * 0.501)


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_pruning_zeroes_the_share_it_was_asked_for(fashion_cnn: Path, scope: str) -> None:
    model = load.load(fashion_cnn)
    before = {w.users[0].name: w.array for w in weights(model.graph, 1024, tables=False)}
    run(model, f"prune-weights{{sparsity=0.25 scope={scope}}}")
    after = {w.users[0].name: w.array for w in weights(model.graph, 1024, tables=False)}
    gone = {k: (after[k] == 0) & (before[k] != 0) for k in before}
    for name, array in before.items():
        assert np.array_equal(after[name], np.where(gone[name], 0, array))
        if scope == "layer":
            assert gone[name].mean() == pytest.approx(0.25, abs=1e-3)
        if gone[name].any() and not gone[name].all():
            assert np.abs(array[gone[name]]).max() <= np.abs(array[~gone[name]]).min()
    assert sum(g.sum() for g in gone.values()) / sum(g.size for g in gone.values()) == pytest.approx(0.25, abs=1e-3)


def test_a_bound_that_is_not_met_rolls_the_pass_back(fashion_cnn: Path) -> None:
    model = load.load(fashion_cnn)
    before = printer.text(model)
    report = runner.run(Pipeline.parse("prune-weights{sparsity=0.9 max-error=0.001}"), model)
    assert [o.kept for o in report.outcomes] == [False]
    assert "above max-error" in report.outcomes[0].reason
    assert printer.text(model) == before


def test_a_bound_that_is_met_keeps_the_pass(fashion_cnn: Path) -> None:
    report = runner.run(Pipeline.parse("quantize-weights{max-error=0.02}"), load.load(fashion_cnn))
    assert [o.kept for o in report.outcomes] == [True]
    assert 0 < (report.outcomes[0].error or 0) <= 0.02


def test_a_sparsity_out_of_range_is_the_users_mistake() -> None:
    with pytest.raises(UserError, match="sparsity must be at least 0 and less than 1"):
        Pipeline.parse("prune-weights{sparsity=1.5}")
