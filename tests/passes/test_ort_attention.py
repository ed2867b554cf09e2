"""ort-attention: attention of any opset becomes onnxruntime's own operators and computes the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from optc.compiler import ir

from .exporters import Writer, assert_same, count, run
from .test_fuse_attention import LOWEST, NONE, SEEN, D, H, N, decoder, floats, heads, linear, merge

OPSETS = pytest.mark.parametrize("opset", [13, 17, 23])
PASSES = {13: "ort-attention", 17: "ort-attention", 23: "fuse-attention,ort-attention"}


def encoder(w: Writer, hide: Any, layers: int = 1, packed: bool = False) -> Any:
    """BERT; `hide` makes masked scores of scores."""
    x = w.fed("x", ["B", "S", D])
    for _ in range(layers):
        if packed:
            parts = w.Split(linear(w, x, 3 * D), np.array([D] * 3), outputs=3, axis=-1)
        else:
            parts = [linear(w, x) for _ in range(3)]
        q, k, v = heads(w, parts[0]), heads(w, parts[1], (0, 2, 3, 1)), heads(w, parts[2])
        scores = hide(w.Div(w.MatMul(q, k), np.float32(2)))
        x = linear(w, merge(w, w.MatMul(w.Softmax(scores, axis=-1), v)))
    w.given(x, "y", ["B", "S", D])
    return w.proto()


@OPSETS
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", ["none", "subtracted", "chosen", "of scores"])
def test_an_encoder_with_padding(kind: str, packed: bool, opset: int) -> None:
    w = Writer(opset)
    marks = w.fed("marks", ["B", "S"], np.int64)
    four = w.Unsqueeze(marks, np.array([1, 2]))
    low = np.float32(LOWEST)
    hidden = {
        "none": lambda: None,
        "subtracted": lambda: w.Mul(w.Sub(np.float32(1), w.Cast(four, to=1)), low),
        "chosen": lambda: w.Where(w.Cast(four, to=9), np.float32(0), low),
        "of scores": lambda: w.Equal(four, np.array(0)),
    }[kind]()
    if hidden is None:
        proto = encoder(w, lambda s: s, 2, packed)
    elif kind == "of scores":
        proto = encoder(w, lambda s: w.Where(hidden, low, s), 2, packed)
    else:
        proto = encoder(w, lambda s: w.Add(s, hidden), 2, packed)
    edit = run(proto, PASSES[opset])
    ops = [n.op_type for n in edit.graph]
    assert sorted(ops) == sorted([*([] if kind == "none" else ["Cast"]), *["Attention", "MatMul", "Add"] * 2])
    assert {n.domain for n in edit.graph if n.op_type == "Attention"} == {"com.microsoft"}
    for seen in (SEEN, NONE):
        assert_same(proto, edit.model, [{"x": floats(2, 5, D), "marks": seen}])


@OPSETS
@pytest.mark.parametrize("causal", [False, True])
def test_a_bias_of_the_scores_and_a_causal_constant(causal: bool, opset: int) -> None:
    w = Writer(opset)
    below = np.where(np.tril(np.ones((1, 1, 5, 5), bool)), 0, -1e9).astype(np.float32)
    x = w.fed("x", ["B", 5, D])
    bias = below if causal else w.fed("bias", [1, N, 5, 5])
    q, k, v = heads(w, linear(w, x)), heads(w, w.MatMul(x, w.weight(D, D)), (0, 2, 3, 1)), heads(w, linear(w, x))
    w.given(merge(w, w.MatMul(w.Softmax(w.Add(w.MatMul(q, k), bias), axis=-1), v)), "y", ["B", 5, D])
    proto = w.proto()
    edit = run(proto, "ort-attention")
    assert [n.op_type for n in edit.graph] == ["Attention"]
    assert ir.attribute(edit.graph[0], "unidirectional", 0) == causal
    fused = run(proto, PASSES[opset])
    kept = opset == 23 and not causal  # -inf might be fed, which is zeros in a standard Attention
    assert [n.domain for n in fused.graph if n.op_type == "Attention"] == ["" if kept else "com.microsoft"]
    feeds = {"x": floats(2, 5, D)} | ({} if causal else {"bias": floats(1, N, 5, 5)})
    assert_same(proto, edit.model, [feeds])


@OPSETS
def test_cross_attention_keeps_three_products_and_gives_their_biases(opset: int) -> None:
    w = Writer(opset)
    x, states = w.fed("x", ["B", "S", D]), w.fed("states", ["B", "T", D])
    q, k, v = heads(w, linear(w, x)), heads(w, linear(w, states), (0, 2, 3, 1)), heads(w, linear(w, states))
    w.given(merge(w, w.MatMul(w.Softmax(w.MatMul(q, k), axis=-1), v)), "y", ["B", "S", D])
    proto = w.proto()
    edit = run(proto, PASSES[opset])
    assert [n.op_type for n in edit.graph] == [*["MatMul"] * 3, "MultiHeadAttention"]
    assert_same(proto, edit.model, [{"x": floats(2, 3, D), "states": floats(2, 7, D)}])


def test_a_decoder_with_its_cache() -> None:
    proto = decoder(N)
    edit = run(proto, "ort-attention")
    attention = next(n for n in edit.graph if n.op_type == "MultiHeadAttention")
    assert [v.name if v is not None else "" for v in attention.inputs[4:]] == ["", "mask", "past_key", "past_value"]
    mask = np.where(np.tril(np.ones((3, 5)), 2), 0, -1e9).astype(np.float32)[None, None]
    old = {f"past_{name}": floats(1, N, 2, H, seed=i) for i, name in enumerate(("key", "value"))}
    assert_same(proto, edit.model, [{"x": floats(1, 3, D), "mask": mask, **old}])


def test_rows_that_minus_infinity_hides_stay_nan() -> None:
    w = Writer(17)
    marks = w.Unsqueeze(w.fed("marks", ["B", "S"], np.bool_), np.array([1, 2]))
    mask = w.Where(marks, np.float32(0), np.float32(-np.inf))
    proto = encoder(w, lambda s: w.Add(s, mask))
    edit = run(proto, "ort-attention")
    assert count(edit.model, "Softmax") == 0
    assert_same(proto, edit.model, [{"x": floats(2, 5, D), "marks": NONE > 0}])


def test_a_weight_that_others_use_stays() -> None:
    w = Writer(17)
    x, matrix = w.fed("x", ["B", "S", D]), w.weight(D, D)
    q = w.MatMul(x, matrix)
    w.given(w.Relu(q), "z", ["B", "S", D])
    k, v = heads(w, linear(w, x), (0, 2, 3, 1)), heads(w, linear(w, x))
    w.given(merge(w, w.MatMul(w.Softmax(w.MatMul(heads(w, q), k), axis=-1), v)), "y", ["B", "S", D])
    proto = w.proto()
    edit = run(proto, "ort-attention")
    assert count(edit.model, "MultiHeadAttention") == 1
    assert_same(proto, edit.model, [{"x": floats(2, 3, D)}])


@pytest.mark.parametrize(("groups", "reason"), [(1, "grouped"), (2, "")])
def test_grouped_heads_stay_standard(groups: int, reason: str) -> None:
    edit = run(decoder(groups), "ort-attention")
    reasons = [r.reason for r in edit.refusals if r.owner == "ort-attention" and r.near]
    assert bool(reasons) == bool(reason)
    assert all(reason in r for r in reasons)
