"""Operators of onnxruntime, replaced by standard ones: both give the same results over random configurations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from optc.compiler import ir, load, verify
from optc.compiler.edit import Editor
from optc.compiler.reference import Reference
from optc.passes.lowering.inline_functions import InlineFunctions

DOMAIN = "com.microsoft"
Arrays = dict[str, np.ndarray[Any, Any]]


def floats(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(np.float32)


def build(op: str, inputs: dict[str, Any], outputs: list[str], opset: int, weights: tuple[str, ...], **attributes: Any) -> Any:
    """A model of one node; an input that is None is left out, names in `weights` are constants."""
    names = ["" if v is None else k for k, v in inputs.items()]
    domain = "" if op == "SimplifiedLayerNormalization" else DOMAIN
    node = helper.make_node(op, names, outputs, name="node", domain=domain, **attributes)
    fed = {k: v for k, v in inputs.items() if v is not None and k not in weights}
    dtypes = {k: helper.np_dtype_to_tensor_dtype(v.dtype) for k, v in fed.items()}
    graph = helper.make_graph(
        [node], "g",
        [helper.make_tensor_value_info(k, dtypes[k], v.shape) for k, v in fed.items()],
        [helper.make_tensor_value_info(k, TensorProto.INT32 if k.startswith("int") else TensorProto.FLOAT, None)
         for k in outputs if k],
        [onnx.numpy_helper.from_array(inputs[k], k) for k in weights],
    )  # fmt: skip
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10), fed


def replaced(proto: onnx.ModelProto) -> Editor:
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    edit = Editor(load.from_proto(copy, "test"))
    edit.owner = InlineFunctions.name
    InlineFunctions().run(edit)
    return edit


def same(
    op: str, inputs: dict[str, Any], outputs: tuple[str, ...] = ("y",), opset: int = 17, weights: tuple[str, ...] = (),
    rows: Any = None, **attributes: Any,
) -> None:  # fmt: skip
    proto, feeds = build(op, inputs, list(outputs), opset, weights, **attributes)
    expected = Reference(proto, 1).run(feeds)
    edit = replaced(proto)
    assert edit.refusals == []
    assert not [n for n in edit.graph if n.domain == DOMAIN or (n.op_type == op and not n.domain)]
    assert verify.verify(edit.model) == []
    found = Reference(edit.model, 1).run(feeds)
    for name in (o for o in outputs if o):
        a, b = np.asarray(expected[name]), np.asarray(found[name])
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        if rows is not None and name == outputs[0]:
            a, b = (np.concatenate([x[i, :n].ravel() for i, n in enumerate(rows)]) for x in (a, b))
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("opset", [13, 17, 20, 23])
@pytest.mark.parametrize("op", ["Gelu", "FastGelu", "QuickGelu", "BiasGelu"])
def test_gelu(op: str, opset: int) -> None:
    inputs = {"x": floats(2, 3, 8)} | ({"b": floats(8)} if op in ("BiasGelu", "FastGelu") else {})
    same(op, inputs, opset=opset)


@pytest.mark.parametrize("batch", [(0, 0), (1, 0), (0, 1)])
@pytest.mark.parametrize("last", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_fused_matmul(last: tuple[int, int], batch: tuple[int, int]) -> None:
    a, b = floats(2, 3, 4, 5), floats(2, 3, 5, 6)
    for x, side in ((0, a), (1, b)):
        side = side.swapaxes(-1, -2) if last[x] else side
        side = side.transpose(2, 0, 1, 3) if batch[x] else side
        a, b = (side, b) if x == 0 else (a, side)
    flags = {"transA": last[0], "transB": last[1], "transBatchA": batch[0], "transBatchB": batch[1]}
    same("FusedMatMul", {"a": np.ascontiguousarray(a), "b": np.ascontiguousarray(b)}, alpha=0.25, **flags)


@pytest.mark.parametrize(
    ("activation", "parameters"),
    [("Relu", {}), ("Tanh", {}), ("LeakyRelu", {"alpha": 0.3}), ("HardSigmoid", {"alpha": 0.3, "beta": 0.4})],
)  # fmt: skip
def test_fused_gemm_and_conv(activation: str, parameters: dict[str, float]) -> None:
    given = {f"activation_{k}": v for k, v in parameters.items()}
    same("FusedGemm", {"a": floats(3, 4), "b": floats(5, 4), "c": floats(5)}, transB=1, alpha=0.5, activation=activation, **given)
    listed = {"activation_params": list(parameters.values())} if parameters else {}
    image = {"x": floats(1, 3, 6, 6), "w": floats(4, 3, 3, 3), "b": floats(4)}
    same("FusedConv", image, pads=[1, 1, 1, 1], activation=activation, **listed)
    same("FusedConv", image | {"z": floats(1, 4, 6, 6)}, pads=[1, 1, 1, 1], activation="Relu")


@pytest.mark.parametrize("opset", [13, 17])
def test_fused_conv_with_hard_swish(opset: int) -> None:
    image = {"x": floats(1, 3, 6, 6), "w": floats(4, 3, 3, 3), "b": floats(4)}
    same("FusedConv", image, opset=opset, pads=[1, 1, 1, 1], activation="HardSwish")


@pytest.mark.parametrize("opset", [14, 17, 23])
def test_layer_normalizations(opset: int) -> None:
    x, skip, gamma, beta, bias = floats(2, 3, 8), floats(2, 3, 8, seed=1), floats(8), floats(8, seed=1), floats(8, seed=2)
    named = {"x": x, "skip": skip, "gamma": gamma}
    sums = ("y", "", "", "sum")
    same("SkipLayerNormalization", named | {"beta": beta, "bias": bias}, sums, opset, epsilon=1e-5)
    same("SkipLayerNormalization", named | {"beta": None}, opset=opset)
    same("SkipSimplifiedLayerNormalization", named | {"bias": bias}, sums, opset, epsilon=1e-5)
    same("SkipSimplifiedLayerNormalization", named, opset=opset)
    same("SimplifiedLayerNormalization", {"x": x, "gamma": gamma}, opset=opset, axis=-1, epsilon=1e-5, stash_type=1)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("segments", [False, True])
def test_embed_layer_normalization(segments: bool, masked: bool) -> None:
    ids = np.array([[1, 2, 3], [4, 0, 2]], np.int32)
    inputs = {
        "ids": ids, "kinds": ids % 2 if segments else None, "words": floats(5, 8), "places": floats(6, 8),
        "segments": floats(2, 8) if segments else None, "gamma": floats(8), "beta": floats(8, seed=1),
        "mask": np.array([[1, 1, 0], [1, 1, 1]], np.int32) if masked else None,
    }  # fmt: skip
    same("EmbedLayerNormalization", inputs, ("y", "int_mask"), epsilon=1e-5)
    same("EmbedLayerNormalization", inputs | {"at": np.array([[2, 1, 0], [3, 4, 5]], np.int32)}, ("y", "int_mask"), epsilon=1e-5)


MASKS = {
    "none": lambda t: None,
    "ends": lambda t: np.array([3, 4], np.int32),
    "ends and starts": lambda t: np.array([3, 4, 1, 0], np.int32),
    "raw": lambda t: (np.arange(2 * t).reshape(2, t) % 3 > 0).astype(np.int32),
    "of queries": lambda t: (np.arange(2 * 4 * t).reshape(2, 4, t) % 3 > 0).astype(np.int32),
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("unidirectional", [0, 1])
@pytest.mark.parametrize("past", [0, 3])
def test_attention(mask: str, unidirectional: int, past: int) -> None:
    inputs = {
        "x": floats(2, 4, 8), "w": floats(8, 24) / 3, "b": floats(24), "mask": MASKS[mask](4 + past),
        "past": floats(2, 2, 2, past, 4) if past else None, "extra": None if past else floats(1, 2, 4, 4),
    }  # fmt: skip
    outputs = ("y", "present") if past else ("y",)
    same("Attention", inputs, outputs, num_heads=2, unidirectional=unidirectional)
    same(
        "Attention", inputs | {"extra": None}, outputs, weights=("w", "b"), num_heads=2, unidirectional=unidirectional, scale=0.3
    )


@pytest.mark.parametrize("mask", ["ends", "raw"])
def test_attention_of_any_batch_and_length(mask: str) -> None:
    inputs = {"x": floats(2, 4, 8), "w": floats(8, 24) / 3, "b": floats(24), "mask": MASKS[mask](4)}
    proto, feeds = build("Attention", inputs, ["y"], 17, ("w", "b"), num_heads=2, unidirectional=1)
    for value, dims in zip(proto.graph.input, (("B", "S", 8), ("B",) if mask == "ends" else ("B", "S")), strict=True):
        value.CopyFrom(helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, dims))
    edit = replaced(proto)
    assert edit.refusals == []
    np.testing.assert_allclose(
        Reference(edit.model, 1).run(feeds)["y"], Reference(proto, 1).run(feeds)["y"], rtol=1e-4, atol=1e-5
    )


def test_attention_with_values_of_another_width() -> None:
    inputs = {"x": floats(2, 4, 8), "w": floats(8, 28) / 3, "b": floats(28)}
    same("Attention", inputs, num_heads=2, qkv_hidden_sizes=[8, 8, 12])


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("unidirectional", [0, 1])
@pytest.mark.parametrize("mask", ["none", "raw", "ends", "of queries"])
@pytest.mark.parametrize("past", [0, 3])
def test_multi_head_attention(bias: bool, unidirectional: int, mask: str, past: int) -> None:
    inputs = {
        "q": floats(2, 4, 8), "k": floats(2, 4, 8, seed=1), "v": floats(2, 4, 8, seed=2), "b": floats(24) if bias else None,
        "mask": MASKS[mask](4 + past), "extra": floats(2, 1, 4, 4 + past),
        "pk": floats(2, 2, past, 4) if past else None, "pv": floats(2, 2, past, 4, seed=1) if past else None,
    }  # fmt: skip
    same("MultiHeadAttention", inputs, ("y", "k1", "v1"), num_heads=2, unidirectional=unidirectional)


def test_multi_head_attention_over_keys_that_are_split_into_heads() -> None:
    inputs = {"q": floats(2, 4, 8), "k": floats(2, 2, 5, 4), "v": floats(2, 2, 5, 4, seed=1)}
    same("MultiHeadAttention", inputs, num_heads=2)


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("at", [np.array([2]), np.array([[0, 1, 2], [3, 4, 5]])])
def test_rotary_embedding(interleaved: int, at: np.ndarray[Any, Any]) -> None:
    caches = {"at": at, "cos": floats(8, 4), "sin": floats(8, 4, seed=1)}
    same("RotaryEmbedding", {"x": floats(2, 3, 16)} | caches, interleaved=interleaved)
    same("RotaryEmbedding", {"x": floats(2, 5, 3, 8)} | caches, interleaved=interleaved)
    part = {"at": at, "cos": floats(8, 2), "sin": floats(8, 2, seed=1)}
    same("RotaryEmbedding", {"x": floats(2, 3, 16)} | part, interleaved=interleaved, num_heads=2, rotary_embedding_dim=4)


@pytest.mark.parametrize(
    ("new", "past", "lengths", "total"),
    [(4, 0, [4, 4], 4), (4, 0, [4, 2], 4), (1, 5, [6, 6], 6), (1, 8, [4, 6], 6), (4, 8, [4, 3], 4), (3, 5, [8], 8)],
)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", ["plain", "rotary", "interleaved", "window", "softcap", "smooth", "sink", "bias"])
def test_group_query_attention(new: int, past: int, lengths: list[int], total: int, packed: bool, kind: str) -> None:
    n, k, h = 4, 2, 16
    b = len(lengths)
    q, key, value = floats(b, new, n * h), floats(b, new, k * h), floats(b, new, k * h, seed=1)
    rotary = kind in ("rotary", "interleaved")
    inputs = {
        "q": np.concatenate([q, key, value], 2) if packed else q, "k": None if packed else key, "v": None if packed else value,
        "pk": floats(b, k, past, h) if past else None, "pv": floats(b, k, past, h, seed=1) if past else None,
        "seqlens": np.array(lengths, np.int32) - 1, "total": np.array([total], np.int32),
        "cos": floats(16, h // 2) if rotary else None, "sin": floats(16, h // 2, seed=1) if rotary else None,
        "at": None, "bias": floats(1, n, new, total) if kind == "bias" else None, "sink": floats(n) if kind == "sink" else None,
    }  # fmt: skip
    if kind == "bias" and past > total - new:
        pytest.skip("a bias is as wide as the sequence, not as its buffer")
    attributes: dict[str, Any] = {
        "rotary": {"do_rotary": 1}, "interleaved": {"do_rotary": 1, "rotary_interleaved": 1}, "window": {"local_window_size": 2},
        "softcap": {"softcap": 2.0}, "smooth": {"smooth_softmax": 1},
    }.get(kind, {})  # fmt: skip
    valid = [min(new, length) for length in lengths]
    same("GroupQueryAttention", inputs, ("y", "k1", "v1"), rows=valid, num_heads=n, kv_num_heads=k, **attributes)


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "why"),
    [
        ("Attention", {"x": floats(2, 4, 8), "w": floats(8, 24), "b": floats(24)}, {"num_heads": 2, "do_rotary": 1}, "do_rotary"),
        ("FusedGemm", {"a": floats(2, 2), "b": floats(2, 2)}, {"activation": "Selu"}, "activation Selu"),
        (
            "RotaryEmbedding", {"x": floats(2, 3, 16), "at": np.array([0]), "c": floats(8, 4), "s": floats(8, 4)},
            {"scale": 2.0}, "scale",
        ),
    ],
)  # fmt: skip
def test_what_is_not_known_stays_with_the_reason(op: str, inputs: Arrays, attributes: dict[str, Any], why: str) -> None:
    edit = replaced(build(op, inputs, ["y"], 17, (), **attributes)[0])
    assert [n.op_type for n in edit.graph] == [op]
    assert [r for r in edit.refusals if why in r.reason]


def test_a_model_that_onnxruntime_optimized_is_standard_again(tmp_path: Path) -> None:
    import gzip

    import onnxruntime as ort

    root = Path(__file__).parents[2] / "benchmarks" / "exports" / "minilm_l6.onnx.gz"
    source, optimized = tmp_path / "source.onnx", tmp_path / "optimized.onnx"
    proto = onnx.ModelProto.FromString(gzip.decompress(root.read_bytes()))
    for i, tensor in enumerate(t for t in proto.graph.initializer if t.doc_string):  # the file holds the graph alone
        tensor.raw_data = (floats(*tensor.dims, seed=i) * np.float32(0.05)).tobytes()
    onnx.save(proto, source)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath, options.log_severity_level = str(optimized), 4
    ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
    model, before = load.load(optimized), load.load(optimized)
    assert {n.op_type for n in model.graph if n.domain == DOMAIN} >= {"FusedMatMul", "BiasGelu"}
    edit = Editor(model)
    edit.owner = InlineFunctions.name
    InlineFunctions().run(edit)
    assert not [n for n in model.graph if n.domain == DOMAIN]
    assert verify.verify(model) == []
    assert [v.name for n in model.graph for v in n.outputs if v.dtype is None or v.shape is None] == []
    rng = np.random.default_rng(0)
    feeds = {v.name: np.ones((2, 7), np.int64) if "ids" not in v.name or "type" in v.name else rng.integers(5, 900, (2, 7))
             for v in model.graph.inputs}  # fmt: skip
    feeds = {k: np.zeros_like(v) if "type" in k else v for k, v in feeds.items()}
    expected, found = Reference(before).run(feeds), Reference(model).run(feeds)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-5)
        assert ir.count_nodes(model) > ir.count_nodes(before)
