"""`optc opt --dialect onnxruntime`: the model in onnxruntime's vocabulary, checked like every other."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from typer.testing import CliRunner

from benchmarks import zoo
from optc.compiler import api, inputs, load
from optc.compiler.check import check
from optc.compiler.cli import app
from optc.compiler.diagnostics import UserError
from optc.compiler.numerics import Numerics
from optc.passes.dialect import fused_conv

FEEDS = {"lcnet": (2, 3, 224, 224), "fashion_cnn": (3, 1, 28, 28), "ppocr_cls": (2, 3, 48, 192)}


def session(path: Path, level: ort.GraphOptimizationLevel, kept: Path | None = None) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.graph_optimization_level, options.log_severity_level = level, 4
    if kept is not None:
        options.optimized_model_filepath = str(kept)
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def operators(path: Path) -> Counter[str]:
    return Counter(f"{n.domain}.{n.op_type}" if n.domain else n.op_type for n in onnx.load(path).graph.node)


@pytest.mark.parametrize("name", sorted(FEEDS))
def test_it_runs_and_is_no_larger_than_what_onnxruntime_makes(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    source, output, theirs = request.getfixturevalue(name), tmp_path / "o.onnx", tmp_path / "extended.onnx"
    result = api.optimize(source, output, dialect="onnxruntime")
    assert not result.report.broken
    proto = onnx.load(output)
    assert {o.domain for o in proto.opset_import} == {"", "com.microsoft"}
    assert not proto.functions
    assert operators(output)["com.microsoft.FusedConv"] > 0
    feeds = {session(source, ort.GraphOptimizationLevel.ORT_DISABLE_ALL).get_inputs()[0].name: np.random.default_rng(0).random(
        FEEDS[name], np.float32)}  # fmt: skip
    expected = session(source, ort.GraphOptimizationLevel.ORT_DISABLE_ALL).run(None, feeds)
    for level in (ort.GraphOptimizationLevel.ORT_DISABLE_ALL, ort.GraphOptimizationLevel.ORT_ENABLE_ALL):
        for a, b in zip(expected, session(output, level).run(None, feeds), strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-5)
    session(source, ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED, theirs)
    assert result.nodes_after <= operators(theirs).total()


def test_a_real_encoder_of_sentences(tmp_path: Path) -> None:
    source, output, theirs = zoo.fetch("minilm_l6"), tmp_path / "o.onnx", tmp_path / "extended.onnx"
    result = api.optimize(source, output, dialect="onnxruntime")
    assert not result.report.broken
    made = operators(output)
    assert made["com.microsoft.EmbedLayerNormalization"] == 1
    assert (made["LayerNormalization"], made["Sum"]) == (12, 12)
    assert made["com.microsoft.BiasGelu"] == 6
    ids = np.random.default_rng(0).integers(0, 1000, (2, 7))
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    (expected,) = session(source, ort.GraphOptimizationLevel.ORT_DISABLE_ALL).run(None, feeds)
    for level in (ort.GraphOptimizationLevel.ORT_DISABLE_ALL, ort.GraphOptimizationLevel.ORT_ENABLE_ALL):
        np.testing.assert_allclose(session(output, level).run(None, feeds)[0], expected, rtol=1e-3, atol=1e-5)
    session(source, ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED, theirs)
    assert result.nodes_after < operators(theirs).total()


@pytest.mark.parametrize("dialect", ["standard", "onnxruntime"])
def test_onnxruntime_leaves_residual_sums_before_normalizations_alone(dialect: str, tmp_path: Path) -> None:
    """Of Add it makes an operator that is slower; it does so with the model whose sums are written so."""
    output, theirs = tmp_path / "o.onnx", tmp_path / "theirs.onnx"
    api.optimize(zoo.fetch("minilm_l6"), output, dialect=dialect)
    found = []
    for op_type in ("Sum", "Add"):
        proto = onnx.load(output)
        for node in proto.graph.node:
            node.op_type = op_type if node.op_type == "Sum" else node.op_type
        onnx.save(proto, output)
        session(output, ort.GraphOptimizationLevel.ORT_ENABLE_ALL, theirs)
        found.append(operators(theirs)["com.microsoft.SkipLayerNormalization"])
    assert found == [0, 12]


@pytest.mark.parametrize("name", ["fashion_cnn", "lcnet"])
def test_it_is_read_back_and_becomes_standard_again(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    source, output = request.getfixturevalue(name), tmp_path / "o.onnx"
    api.optimize(source, output, dialect="onnxruntime")
    again, report = api.optimized(output, "inline-functions")
    assert not report.refusals
    assert not [n for n in again.graph if n.domain == "com.microsoft"]
    before = load.load(source)
    assert check(before, again, Numerics.REASSOCIATED, inputs.generate(before)).holds


def test_the_standard_dialect_has_standard_operators_alone(fashion_cnn: Path, tmp_path: Path) -> None:
    api.optimize(fashion_cnn, tmp_path / "o.onnx", dialect="standard")
    assert {o.domain for o in onnx.load(tmp_path / "o.onnx").opset_import} == {""}


def test_the_command(fashion_cnn: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["opt", str(fashion_cnn), "-o", str(tmp_path / "o.onnx"), "--dialect", "onnxruntime"])
    assert done.exit_code == 0, done.output
    assert operators(tmp_path / "o.onnx")["com.microsoft.FusedConv"] > 0


def test_another_dialect_is_refused(fashion_cnn: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no dialect 'openvino'") as caught:
        api.optimize(fashion_cnn, tmp_path / "o.onnx", dialect="openvino")
    assert "onnxruntime" in (caught.value.hint or "")


def test_what_changes_the_outputs_is_rolled_back(fashion_cnn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = fused_conv._build

    def wrong(op, conv, activation, *inputs):  # type: ignore[no-untyped-def]
        return op.Neg(build(op, conv, activation, *inputs))

    monkeypatch.setattr(fused_conv, "_build", wrong)
    result = api.optimize(fashion_cnn, tmp_path / "o.onnx", dialect="onnxruntime")
    assert [o.name for o in result.report.broken] == ["ort-fused-conv"]
    assert "com.microsoft.FusedConv" not in operators(tmp_path / "o.onnx")
