"""GroupQueryAttention of onnxruntime."""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np

from optc.compiler import ir
from optc.compiler.contrib.common import (
    fixed,
    integers,
    lowest,
    merge_heads,
    number,
    operand,
    positions,
    size,
    split_heads,
    wanted,
)
from optc.compiler.contrib.rotary import rotate
from optc.compiler.rewrite import Builder, Refuse

_INPUTS = {
    9: "position_ids", 12: "k_scale", 13: "v_scale", 14: "q_norm_weight", 15: "k_norm_weight", 16: "query_seqlens",
}  # fmt: skip
_ATTRIBUTES = {"kv_cache_bit_width": 0, "sliding_window_cache": 0, "qk_output": 0, "causal": 1}


def group_query_attention(op: Builder, node: ir.Node) -> Any:
    """Causal attention of N heads over K of keys and values, which are written into the cache behind each sequence's past.

    seqlens_k [B] + 1 are the lengths of the sequences with what is new; the first prompt is where all that there is is new.
    """
    query, key, value, past_key, past_value, lengths, total, cos, sin, _, extra, sink = (operand(node, i) for i in range(12))
    heads, groups = ir.attribute(node, "num_heads"), ir.attribute(node, "kv_num_heads")
    refused = _unsupported(node, query)
    if refused:
        return refused
    width = fixed(query, 2) or 0
    head = width // (heads + (2 * groups if key is None else 0))
    if key is None:
        parts = op.Split(query, integers(heads * head, groups * head, groups * head), outputs=3, axis=2)
    else:
        parts = (query, key, value)
    q, k, v = (split_heads(op, x, n) for x, n in zip(parts, (heads, groups, groups), strict=True))

    length = size(op, query, 1)
    here = op.Unsqueeze(positions(op, length), integers(0))  # [1, S]
    ends = op.Unsqueeze(op.Add(op.Cast(lengths, to=int(ir.DataType.INT64)), np.array(1)), integers(1))  # [B, 1]
    whole = op.Reshape(op.Cast(total, to=int(ir.DataType.INT64)), integers(1))
    prompt = op.Equal(whole, length)
    past = op.Where(prompt, np.array(0), op.Sub(ends, length))  # [B, 1]
    at = op.Add(past, here)
    if ir.attribute(node, "do_rotary", 0):
        half = fixed(cos, 1) or 0
        interleaved = bool(ir.attribute(node, "rotary_interleaved", 0))
        q, k = (rotate(op, x, at, cos, sin, half, head, interleaved) for x in (q, k))
    if past_key is not None:
        k, v = (_cached(op, old, new, past, whole, length) for old, new in ((past_key, k), (past_value, v)))

    scale = ir.attribute(node, "scale", 0.0) or 1 / sqrt(head)
    grouped = op.Reshape(q, integers(0, groups, heads // groups, -1, head))
    scores = op.MatMul(grouped, op.Transpose(op.Unsqueeze(k, integers(2)), perm=[0, 1, 2, 4, 3]))
    scores = op.Mul(scores, number(scale, query))
    softcap = ir.attribute(node, "softcap", 0.0)
    if softcap:
        scores = op.Mul(op.Tanh(op.Div(scores, number(softcap, query))), number(softcap, query))
    seen = _visible(op, node, scores, at, k, extra, query)
    sinks = sink is not None or ir.attribute(node, "smooth_softmax", 0) == 1
    weights = _with_sink(op, node, seen, sink) if sinks else op.Softmax(seen, axis=-1)
    mixed = op.Reshape(op.MatMul(weights, op.Unsqueeze(v, integers(2))), integers(0, heads, -1, head))
    return (merge_heads(op, mixed), k, v, None)


def _unsupported(node: ir.Node, query: ir.Value) -> Refuse | None:
    for index, name in _INPUTS.items():
        if operand(node, index) is not None:
            return Refuse(f"{name} is not supported")
    for name, plain in _ATTRIBUTES.items():
        if ir.attribute(node, name, plain) != plain:
            return Refuse(f"{name} is not supported")
    if wanted(node, 3):
        return Refuse("it gives the products of queries and keys")
    if query.dtype != ir.DataType.FLOAT or fixed(query, 2) is None:
        return Refuse(f"'{query.name}' is not float32 of a known width")
    if ir.attribute(node, "do_rotary", 0) and fixed(operand(node, 7), 1) is None:
        return Refuse("the width of the cache of cosines is not known")
    return None


def _cached(op: Builder, old: ir.Value, new: ir.Value, past: ir.Value, whole: ir.Value, length: Any) -> ir.Value:
    """[B, K, max(P, total), H]: each sequence's past, what is new, zeros."""
    room = op.Gather(op.Shape(old), integers(2), axis=0)
    j = op.Unsqueeze(positions(op, op.Max(room, whole)), integers(0))  # [1, T]
    is_old = op.Less(j, past)
    offset = op.Sub(j, past)
    fresh = op.Add(room, op.Min(op.Max(offset, np.array(0)), op.Sub(length, np.array([1]))))
    index = op.Where(is_old, j, fresh)
    valid = op.Or(is_old, op.Less(offset, length))
    data = op.Concat(old, new, axis=2)
    spread = op.Shape(data)
    lead, last = op.Slice(spread, integers(0), integers(2)), op.Slice(spread, integers(3), integers(4))
    shape = op.Concat(lead, op.Gather(op.Shape(j), integers(1), axis=0), last, axis=0)
    gathered = op.GatherElements(data, op.Expand(op.Unsqueeze(index, integers(1, 3)), shape), axis=2)
    found: ir.Value = op.Where(op.Unsqueeze(valid, integers(1, 3)), gathered, number(0, old))
    return found


def _visible(op: Builder, node: ir.Node, scores: ir.Value, at: ir.Value, k: ir.Value, extra: Any, query: ir.Value) -> ir.Value:
    """Scores [B, K, G, S, T] with the bias, and the lowest number where a key is in the future or out of the window."""
    keys = positions(op, op.Gather(op.Shape(k), integers(2), axis=0))
    rows = op.Unsqueeze(at, integers(1, 2, 4))
    hidden = op.Greater(keys, rows)
    window = ir.attribute(node, "local_window_size", -1)
    if window > 0:
        hidden = op.Or(hidden, op.Not(op.Greater(keys, op.Sub(rows, np.array(window)))))
    if extra is not None:
        heads, groups = ir.attribute(node, "num_heads"), ir.attribute(node, "kv_num_heads")
        one = fixed(extra, 1) == 1
        scores = op.Add(scores, op.Unsqueeze(extra, integers(2)) if one else _regroup(op, extra, groups, heads // groups))
    found: ir.Value = op.Where(hidden, lowest(query), scores)
    return found


def _regroup(op: Builder, extra: ir.Value, groups: int, each: int) -> ir.Value:
    """[B, N, S, T] -> [B, K, G, S, T]."""
    shape = op.Shape(extra)
    target = op.Concat(
        op.Slice(shape, integers(0), integers(1)), integers(groups, each), op.Slice(shape, integers(2), integers(4)), axis=0
    )
    found: ir.Value = op.Reshape(extra, target)
    return found


def _with_sink(op: Builder, node: ir.Node, seen: ir.Value, sink: ir.Value | None) -> ir.Value:
    """Softmax whose denominator has one more term a head, exp(sink), or exp(0)."""
    heads, groups = ir.attribute(node, "num_heads"), ir.attribute(node, "kv_num_heads")
    held = np.zeros(heads, np.float32) if sink is None else sink
    column = op.Reshape(held, integers(1, groups, heads // groups, 1, 1))
    lead = op.Slice(op.Shape(seen), integers(0), integers(4))
    widened = op.Concat(seen, op.Expand(column, op.Concat(lead, integers(1), axis=0)), axis=4)
    found: ir.Value = op.Slice(op.Softmax(widened, axis=-1), integers(0), integers(-1), integers(4))
    return found
