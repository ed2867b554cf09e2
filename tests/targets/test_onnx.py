"""The `onnx` target: plain standard operators, each weight once, as files of the bundle; the checker takes it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort
import pytest

from optc.compiler import bundle, ir, load, printer, runtime
from optc.compiler.inputs import generate
from optc.compiler.manifest import Manifest, ValueInfo
from optc.compiler.reference import Reference
from optc.compiler.target import Target

BIG = ", ".join(["0.5"] * 400)
CHANNELS_LAST = """<ir_version: 10, opset_import: ["" : 21, "optc" : 1]>
g (float[N,6,6,3] x) => (float[N,4,4,4] y) <float[4,3,3,3] w = {...}, float[4] b = {0, 1, 2, 3}>
{
  [conv] y = optc.ConvChannelsLast <kernel_shape = [3, 3]> (x, w, b)
}""".replace("{...}", "{" + ", ".join(str(i % 7) for i in range(108)) + "}")
BRANCHES = f"""<ir_version: 10, opset_import: ["" : 21]>
g (bool c, float[400] x) => (float[400] y) <float[400] w = {{{BIG}}}>
{{
  y = If (c) <
    then_branch = then () => (float[400] t) <float[400] v = {{{BIG}}}> {{ t = Add (x, v) }},
    else_branch = other () => (float[400] e) {{ e = Mul (x, w) }}
  >
}}"""


def write(model: ir.Model, path: Path, target: str = "onnx") -> Manifest:
    inputs, outputs = (tuple(map(ValueInfo.of, part)) for part in (model.graph.inputs, model.graph.outputs))
    return bundle.write(path, Manifest("0" * 64, "", target, inputs, outputs), Target.parse(target).build(model))


def same_as_reference(model: ir.Model, path: Path) -> None:
    """The bundle and its model.onnx, in onnxruntime without optc, give what the model means."""
    program = runtime.load(path, threads=2)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # it rounds activations beside int4 weights
    session: Any = ort.InferenceSession(str(path / "model.onnx"), options, providers=["CPUExecutionProvider"])
    for feeds in generate(model, samples=2):
        expected = Reference(model).run(feeds)
        for actual in (program.run(feeds), dict(zip(expected, session.run(list(expected), feeds), strict=True))):
            for name, value in expected.items():
                np.testing.assert_allclose(actual[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["lcnet", "fashion_cnn", "ppocr_cls"])
def test_real_models_pass_the_checker_and_run_with_and_without_optc(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    model = load.load(request.getfixturevalue(name))
    write(model, tmp_path / "m.optc")
    onnx.checker.check_model(str(tmp_path / "m.optc" / "model.onnx"), full_check=True)
    same_as_reference(model, tmp_path / "m.optc")


def test_weights_are_files_named_by_their_content_and_small_ones_stay_inside(lcnet: Path, tmp_path: Path) -> None:
    model = load.load(lcnet)
    made = write(model, tmp_path / "m.optc")
    proto = onnx.load(str(tmp_path / "m.optc" / "model.onnx"), load_external_data=False)
    outside = [t for t in proto.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
    assert {t.name for t in outside} == set(made.weights)
    for tensor in outside:
        location = {e.key: e.value for e in tensor.external_data}["location"]
        digest = hashlib.sha256((tmp_path / "m.optc" / location).read_bytes()).hexdigest()
        assert location == f"weights/{digest}"
    assert (tmp_path / "m.optc" / "model.onnx").stat().st_size < 0.05 * made.bytes_needed
    assert all(len(t.raw_data) < 1024 for t in proto.graph.initializer)


def test_operators_of_optc_become_standard_ones(tmp_path: Path) -> None:
    model = printer.parse(CHANNELS_LAST)
    write(model, tmp_path / "m.optc")
    proto = onnx.load(str(tmp_path / "m.optc" / "model.onnx"))
    assert [n.op_type for n in proto.graph.node] == ["Transpose", "Conv", "Transpose"]
    assert ([o.domain for o in proto.opset_import], len(proto.functions)) == ([""], 0)
    same_as_reference(model, tmp_path / "m.optc")
    assert [n.op_type for n in model.graph] == ["ConvChannelsLast"]


def test_weights_in_branches_are_files_too_and_equal_ones_are_one(tmp_path: Path) -> None:
    model = printer.parse(BRANCHES)
    made = write(model, tmp_path / "m.optc")
    assert made.weights["v"].file == made.weights["w"].file
    same_as_reference(model, tmp_path / "m.optc")


def test_external_data_of_the_source_becomes_the_bundles_own(fashion_cnn: Path, tmp_path: Path) -> None:
    source = tmp_path / "source" / "m.onnx"
    source.parent.mkdir()
    onnx.save_model(onnx.load(str(fashion_cnn)), str(source), save_as_external_data=True, location="m.data", size_threshold=0)
    model = load.load(source)
    write(model, tmp_path / "m.optc")
    write(load.load(fashion_cnn), tmp_path / "inline.optc")
    assert bundle.read(tmp_path / "m.optc").weights == bundle.read(tmp_path / "inline.optc").weights
    (source.parent / "m.data").rename(tmp_path / "gone")
    same_as_reference(load.load(fashion_cnn), tmp_path / "m.optc")


def test_packed_types_are_packed_as_onnx_packs_them(tmp_path: Path) -> None:
    weight = (np.arange(4096) % 15 - 7).astype(ml_dtypes.int4).reshape(64, 64)
    nodes = [
        onnx.helper.make_node("DequantizeLinear", ["w", "s"], ["d"]),
        onnx.helper.make_node("MatMul", ["x", "d"], ["y"]),
    ]
    typed = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["N", 64]) for n in ("x", "y")]
    weights = [onnx.numpy_helper.from_array(weight, "w"), onnx.numpy_helper.from_array(np.float32(0.1), "s")]
    graph = onnx.helper.make_graph(nodes, "g", typed[:1], typed[1:], weights)
    model = load.from_proto(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10), "test"
    )
    made = write(model, tmp_path / "m.optc")
    assert made.files[made.weights["w"].file].size == 2048
    same_as_reference(model, tmp_path / "m.optc")
