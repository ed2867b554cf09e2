"""Attention in a real model: MiniLM as its exporter wrote it, with weights of noise."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.version_converter
import pytest

from optc.compiler import ir, load
from optc.compiler.contents import dims
from optc.compiler.edit import Editor
from optc.compiler.pipeline import Pipeline
from optc.targets.cpu import Cpu

from .exporters import assert_same, count

LAYERS = 6
EXPORT = Path(__file__).parents[2] / "benchmarks" / "exports" / "minilm_l6.onnx.gz"
EARLY = "infer-shapes,canonicalize,fold-constants,share-subexpressions"
LATE = "canonicalize,share-subexpressions,eliminate-dead"


@pytest.fixture(scope="module")
def minilm() -> onnx.ModelProto:
    """Of opset 17; the file holds the graph alone."""
    proto = onnx.ModelProto.FromString(gzip.decompress(EXPORT.read_bytes()))
    for i, tensor in enumerate(t for t in proto.graph.initializer if t.doc_string):
        noise = np.random.default_rng(i).standard_normal(tuple(tensor.dims)).astype(np.float32)
        tensor.raw_data = (noise * np.float32(0.05)).tobytes()
    return proto


def after(proto: onnx.ModelProto, passes: str) -> ir.Model:
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    edit = Editor(load.from_proto(copy, "minilm"))
    for p in Pipeline.parse(passes).passes:
        edit.owner = p.name
        p.run(edit)
    return edit.model


def feeds(proto: onnx.ModelProto) -> list[dict[str, Any]]:
    """Two sentences, the second with padding."""
    made: dict[str, Any] = {v.name: np.zeros((2, 7), np.int64) for v in proto.graph.input}
    for name in made:
        if "mask" in name:
            made[name] = (np.arange(7) < np.array([[7], [4]])).astype(np.int64)
        elif "type" not in name:
            made[name] = np.random.default_rng(0).integers(5, 900, (2, 7))
    return [made]


@pytest.fixture(scope="module")
def recent(minilm: onnx.ModelProto) -> onnx.ModelProto:
    return onnx.version_converter.convert_version(minilm, 23)


def test_each_layer_is_one_attention(recent: onnx.ModelProto) -> None:
    model = after(recent, f"{EARLY},fuse-attention,{LATE}")
    assert count(model, "Attention") == LAYERS
    assert not {n.op_type for n in model.graph} & {"Softmax", "Reshape", "Transpose"}
    assert count(model, "Expand") == 1
    assert_same(recent, model, feeds(recent))


def test_in_the_vocabulary_of_onnxruntime(minilm: onnx.ModelProto, recent: onnx.ModelProto) -> None:
    """onnxruntime's own extended level leaves 207 nodes of this model."""
    for proto, passes in ((minilm, "ort-attention"), (recent, "fuse-attention,ort-attention")):
        model = after(proto, f"{EARLY},fuse-gelu,{passes},{LATE}")
        assert sum(n.domain == "com.microsoft" for n in model.graph) == LAYERS
        assert count(model, "MatMul") == 3 * LAYERS
        assert ir.count_nodes(model) < 90
        assert_same(proto, model, feeds(proto))


def test_cpu_compiles_the_same_operators_with_and_without_the_fusion(recent: onnx.ModelProto) -> None:
    """But for the bound of the mask, and that a scale multiplies where the exporter divided, if no kernel takes it as a whole."""
    pipeline = Cpu().pipeline().replace("own-attention,", "")
    plain, fused = (
        Counter(
            ("Mul" if n.op_type == "Div" else n.op_type, tuple(map(str, map(dims, n.inputs))))
            for graph in ir.all_graphs(after(recent, f"{EARLY},{passes}{LATE},{pipeline}").graph)
            for n in graph
        )
        for passes in ("", "fuse-attention,")
    )
    assert plain - fused == Counter()
    assert [op for op, _ in (fused - plain).elements()] == ["Max"]


def test_cpu_has_a_kernel_for_each_layer(recent: onnx.ModelProto) -> None:
    model = after(recent, f"{EARLY},fuse-attention,{LATE},{Cpu().pipeline()}")
    assert sum((n.domain, n.op_type) == ("optc", "Attention") for n in model.graph) == LAYERS
    assert not count(model, "Softmax")
