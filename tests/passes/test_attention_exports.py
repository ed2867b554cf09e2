"""Layers of well-known models as their exporters write them: attention is found in each, and the graph computes the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from optc.compiler import ir

from .exporters import Feeds, Writer, assert_same, count, run
from .test_fuse_attention import LOWEST, floats, repeated, sliced
from .test_fuse_rotary import computed, half_turned, rotated

N, H = 2, 4
D = N * H
PASSES = "fuse-rotary,fuse-attention,canonicalize,share-subexpressions"
Array = np.ndarray[Any, Any]


def dense(w: Writer, x: str, into: int = D, own: int = D, bias: bool = True) -> str:
    y = w.MatMul(x, w.weight(own, into))
    return w.Add(w.weight(into), y) if bias else y  # type: ignore[no-any-return]


def viewed(w: Writer, x: str, *last: int) -> str:
    """x.view(batch, length, *last), as TorchScript writes it."""
    return w.Reshape(x, w.Concat(w.extent(x, 0), w.extent(x, 1), *(np.array([n]) for n in last), axis=0))  # type: ignore[no-any-return]


def cached(w: Writer, k: str, v: str, groups: int = N) -> tuple[str, str]:
    """Keys and values behind those of the past, all of them given out."""
    made = []
    for name, new in (("key", k), ("value", v)):
        whole = w.Concat(w.fed(f"past_{name}", ["B", groups, "P", H]), new, axis=-2)
        w.outputs.append(_info(w, f"present_{name}", ["B", groups, "P + S", H]))
        w.nodes[-1].output[0] = f"present_{name}"
        made.append(f"present_{name}" if whole else whole)
    return made[0], made[1]


def _info(w: Writer, name: str, shape: Any) -> Any:
    from onnx import TensorProto, helper

    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def past(groups: int, p: int) -> Feeds:
    return {f"past_{name}": floats(2, groups, p, H, seed=i) for i, name in enumerate(("key", "value"))}


def gpt2(w: Writer) -> list[Feeds]:
    """optimum: one Gemm of all three, a piece of the constant triangle, padding added."""
    x, marks = w.fed("x", ["B", "S", D]), w.fed("marks", ["B", "P + S"], np.int64)
    flat = w.Reshape(x, np.array([-1, D]))
    qkv = viewed_back(w, w.Gemm(flat, w.weight(D, 3 * D), w.weight(3 * D)), x, 3 * D)
    q, k, v = (w.Transpose(viewed(w, p, N, H), perm=[0, 2, 1, 3]) for p in w.Split(qkv, np.array([D] * 3), outputs=3, axis=2))
    k, v = cached(w, k, v)
    scores = w.Div(w.MatMul(q, w.Transpose(k, perm=[0, 1, 3, 2])), np.float32(2))
    scores = w.Where(sliced(w, q, k), scores, np.float32(LOWEST))
    four = w.Cast(w.Unsqueeze(w.Unsqueeze(marks, np.array([1])), np.array([2])), to=1)
    scores = w.Add(scores, w.Mul(w.Sub(np.float32(1), four), np.float32(LOWEST)))
    y = w.Transpose(w.MatMul(w.Softmax(scores, axis=-1), v), perm=[0, 2, 1, 3])
    y = viewed_back(w, w.Gemm(w.Reshape(viewed(w, y, D), np.array([-1, D])), w.weight(D, D), w.weight(D)), x, D)
    w.given(y, "y", ["B", "S", D])
    return [{"x": floats(2, 3, D), "marks": np.array([[1] * 5, [0, 1, 1, 1, 1]])} | past(N, 2)]


def viewed_back(w: Writer, y: str, x: str, width: int) -> str:
    return w.Reshape(y, w.Concat(w.extent(x, 0), w.extent(x, 1), np.array([width]), axis=0))  # type: ignore[no-any-return]


def llama(w: Writer) -> list[Feeds]:
    """Four queries share a key; rotated; the mask of all layers is fed."""
    x, at = w.fed("x", ["B", "S", D]), w.fed("at", ["B", "S"], np.int64)
    mask = w.fed("mask", ["B", 1, "S", "P + S"])
    cos, sin = computed(w, at, 1)
    q = w.Transpose(viewed(w, dense(w, x, bias=False), N, H), perm=[0, 2, 1, 3])
    k, v = (w.Transpose(viewed(w, dense(w, x, H, bias=False), 1, H), perm=[0, 2, 1, 3]) for _ in range(2))
    q, k = (rotated(w, s, half_turned(w, s), cos, sin) for s in (q, k))
    k, v = (repeated(w, s, N, "Expand") for s in cached(w, k, v, 1))
    scores = w.Add(w.Mul(w.MatMul(q, w.Transpose(k, perm=[0, 1, 3, 2])), np.float32(0.5)), mask)
    y = w.MatMul(w.Softmax(scores, axis=-1), v)
    w.given(dense(w, viewed(w, w.Transpose(y, perm=[0, 2, 1, 3]), D), bias=False), "y", ["B", "S", D])
    hidden = np.where(np.tril(np.ones((3, 5)), 2), 0, LOWEST).astype(np.float32)[None, None]
    at_two = np.array([[2, 3, 4], [2, 3, 4]])
    return [{"x": floats(2, 3, D), "at": at_two, "mask": np.repeat(hidden, 2, 0)} | past(1, 2)]


def t5(w: Writer) -> list[Feeds]:
    """No scale; a bias for each head and distance, from a table, with the mask in it."""
    x = w.fed("x", ["B", "S", D])
    s = w.Squeeze(w.extent(x, 1))
    places = w.Range(np.array(0), s, np.array(1))
    gap = w.Sub(w.Unsqueeze(places, np.array([0])), w.Unsqueeze(places, np.array([1])))
    bucket = w.Min(w.Abs(gap), np.array(7))
    bias = w.Unsqueeze(w.Transpose(w.Gather(w.weight(8, N), bucket), perm=[2, 0, 1]), np.array([0]))
    marks = w.Cast(w.Unsqueeze(w.fed("marks", ["B", "S"], np.int64), np.array([1, 2])), to=1)
    bias = w.Add(bias, w.Mul(w.Sub(np.float32(1), marks), np.float32(LOWEST)))
    q, k, v = (w.Transpose(viewed(w, dense(w, x, bias=False), N, H), perm=[0, 2, 1, 3]) for _ in range(3))
    scores = w.Add(w.MatMul(q, w.Transpose(k, perm=[0, 1, 3, 2])), bias)
    y = w.Transpose(w.MatMul(w.Softmax(scores, axis=-1), v), perm=[0, 2, 1, 3])
    w.given(dense(w, viewed(w, y, D), bias=False), "y", ["B", "S", D])
    return [{"x": floats(2, 5, D), "marks": np.array([[1] * 5, [1, 1, 1, 0, 0]])}]


def whisper(w: Writer) -> list[Feeds]:
    """The decoder's cross attention over keys that an earlier call gave, queries scaled before the split."""
    x = w.fed("x", ["B", "S", D])
    k, v = (w.fed(name, ["B", N, "T", H]) for name in ("key", "value"))
    q = w.Transpose(viewed(w, w.Mul(dense(w, x), np.float32(0.5)), N, H), perm=[0, 2, 1, 3])
    y = w.MatMul(w.Softmax(w.MatMul(q, w.Transpose(k, perm=[0, 1, 3, 2])), axis=-1), v)
    w.given(dense(w, viewed(w, w.Transpose(y, perm=[0, 2, 1, 3]), D)), "y", ["B", "S", D])
    return [{"x": floats(2, 3, D), "key": floats(2, N, 5, H), "value": floats(2, N, 5, H, seed=1)}]


def torch_multihead(w: Writer) -> list[Feeds]:
    """nn.MultiheadAttention that gives its weights: [S, B, D], batch and heads in one axis, bmm."""
    x = w.fed("x", ["S", "B", D])
    qkv = w.Add(w.MatMul(x, w.weight(D, 3 * D)), w.weight(3 * D))
    split = w.Squeeze(w.Transpose(w.Unsqueeze(viewed(w, qkv, 3, D), np.array([0])), perm=[3, 1, 2, 0, 4]), np.array([-2]))
    parts = [w.Gather(split, np.array(i), axis=0) for i in range(3)]
    shape = w.Concat(w.extent(x, 0), w.Mul(w.extent(x, 1), np.array([N])), np.array([H]), axis=0)
    q, k, v = (w.Transpose(w.Reshape(p, shape), perm=[1, 0, 2]) for p in parts)
    weights = w.Softmax(w.MatMul(w.Mul(q, np.float32(0.5)), w.Transpose(k, perm=[0, 2, 1])), axis=-1)
    y = w.Transpose(w.MatMul(weights, v), perm=[1, 0, 2])
    y = w.Reshape(y, w.Concat(w.Mul(w.extent(x, 0), w.extent(x, 1)), np.array([D]), axis=0))
    w.given(w.Gemm(y, w.weight(D, D), w.weight(D), transB=1), "y", ["S*B", D])
    return [{"x": floats(3, 2, D)}]


def vit(w: Writer) -> list[Feeds]:
    """timm: [B, S, 3, N, H] turned once, queries scaled."""
    x = w.fed("x", ["B", 5, D])
    five = w.Transpose(w.Reshape(dense(w, x, 3 * D), np.array([-1, 5, 3, N, H])), perm=[2, 0, 3, 1, 4])
    q, k, v = (w.Squeeze(p, np.array([0])) for p in w.Split(five, np.array([1, 1, 1]), outputs=3, axis=0))
    weights = w.Softmax(w.MatMul(w.Mul(q, np.float32(0.5)), w.Transpose(k, perm=[0, 1, 3, 2])), axis=-1)
    y = w.Reshape(w.Transpose(w.MatMul(weights, v), perm=[0, 2, 1, 3]), np.array([-1, 5, D]))
    w.given(dense(w, y), "y", ["B", 5, D])
    return [{"x": floats(2, 5, D)}]


def swin(w: Writer) -> list[Feeds]:
    """Windows as a batch; a bias for each head, then a mask for each window, by way of five dimensions."""
    x = w.fed("x", ["B*4", 4, D])
    five = w.Transpose(w.Reshape(dense(w, x, 3 * D), np.array([-1, 4, 3, N, H])), perm=[2, 0, 3, 1, 4])
    q, k, v = (w.Gather(five, np.array(i), axis=0) for i in range(3))
    scores = w.Add(w.MatMul(w.Mul(q, np.float32(0.5)), w.Transpose(k, perm=[0, 1, 3, 2])), w.weight(1, N, 4, 4))
    y = w.Transpose(w.MatMul(w.Softmax(scores, axis=-1), v), perm=[0, 2, 1, 3])
    w.given(dense(w, w.Reshape(y, np.array([-1, 4, D]))), "y", ["B*4", 4, D])
    return [{"x": floats(8, 4, D)}]


def single_head(w: Writer) -> list[Feeds]:
    """The attention in the middle of an image autoencoder: no heads, channels first."""
    x = w.fed("x", ["B", D, "S"])
    q, k, v = (w.Conv(x, w.weight(D, D, 1), w.weight(D), kernel_shape=[1]) for _ in range(3))
    scores = w.Mul(w.MatMul(w.Transpose(q, perm=[0, 2, 1]), k), np.float32(8**-0.5))
    y = w.MatMul(w.Softmax(scores, axis=-1), w.Transpose(v, perm=[0, 2, 1]))
    w.given(w.Transpose(y, perm=[0, 2, 1]), "y", ["B", D, "S"])
    return [{"x": floats(2, D, 5)}]


LAYERS = [gpt2, llama, t5, whisper, torch_multihead, vit, swin, single_head]


@pytest.mark.parametrize("layer", LAYERS)
def test_attention_is_found(layer: Any) -> None:
    w = Writer()
    feeds = layer(w)
    proto = w.proto()
    edit = run(proto, PASSES)
    reasons = [r.reason for r in edit.refusals if r.owner == "fuse-attention"]
    assert count(edit.model, "Attention") == 1, reasons
    assert count(edit.model, "Softmax") == 0
    assert_same(proto, edit.model, feeds)


def test_a_layer_of_gpt2_takes_its_cache_and_is_causal() -> None:
    w = Writer()
    gpt2(w)
    edit = run(w.proto(), PASSES)
    attention = next(n for n in edit.graph if n.op_type == "Attention")
    assert ir.attribute(attention, "is_causal") == 1
    assert [v.name for v in attention.outputs[1:]] == ["present_key", "present_value"]
    assert count(edit.model, "Where") == count(edit.model, "Slice") == 0


def test_a_layer_of_llama_is_ten_operators() -> None:
    w = Writer()
    llama(w)
    edit = run(w.proto(), PASSES)
    assert count(edit.model, "RotaryEmbedding") == 2
    ops = [n.op_type for n in edit.graph]
    assert len(ops) - ops.index("RotaryEmbedding") <= 6
    assert not {"Reshape", "Expand", "Slice"} & set(ops)


@pytest.mark.parametrize("layer", [f for f in LAYERS if f not in (llama, whisper)])
def test_in_the_vocabulary_of_onnxruntime(layer: Any) -> None:
    w = Writer(17)
    feeds = layer(w)
    proto = w.proto()
    edit = run(proto, "ort-attention,canonicalize,share-subexpressions")
    reasons = [r.reason for r in edit.refusals if r.owner == "ort-attention"]
    assert count(edit.model, "Attention") + count(edit.model, "MultiHeadAttention") == 1, reasons
    assert_same(proto, edit.model, feeds)


@pytest.mark.parametrize("layer", LAYERS)
def test_what_cpu_makes_of_it_computes_the_same(layer: Any) -> None:
    w = Writer()
    feeds = layer(w)
    proto = w.proto()
    edit = run(proto, f"{PASSES},inline-functions{{operators=Attention|RotaryEmbedding}}")
    assert not {"Attention", "RotaryEmbedding", "If"} & {n.op_type for n in edit.graph}
    assert count(edit.model, "ReduceMax") == (layer is llama)  # its mask is fed and may be -inf
    assert_same(proto, edit.model, feeds)
