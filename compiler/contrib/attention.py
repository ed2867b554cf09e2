"""Attention and MultiHeadAttention of onnxruntime."""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np

from optc.compiler import ir
from optc.compiler.contents import dims
from optc.compiler.contrib.common import (
    fixed,
    integers,
    lowest,
    merge_heads,
    number,
    operand,
    positions,
    rank,
    size,
    split_heads,
    wanted,
)
from optc.compiler.rewrite import Builder, Refuse


def attention(op: Builder, node: ir.Node) -> Any:
    """Self-attention from one projection: input [B, S, D] by weights [D, Dq+Dk+Dv]; past and present are [2, B, N, T, H]."""
    x, weights, bias, mask, past, extra = (operand(node, i) for i in range(6))
    for name in ("do_rotary", "past_present_share_buffer"):
        if ir.attribute(node, name, 0):
            return Refuse(f"{name} is not supported")
    heads, width = ir.attribute(node, "num_heads"), fixed(weights, 1)
    if width is None:
        return Refuse(f"the width of '{weights.name}' is not known")
    widths = ir.attribute(node, "qkv_hidden_sizes") or (width // 3,) * 3
    projected = op.MatMul(x, weights)
    projected = projected if bias is None else op.Add(projected, bias)
    parts = op.Split(projected, integers(*widths), outputs=3, axis=2)
    q, k, v = (split_heads(op, part, heads, own) for part, own in zip(parts, widths, strict=True))
    if past is not None:
        old = [op.Squeeze(part, integers(0)) for part in op.Split(past, integers(1, 1), outputs=2, axis=0)]
        k, v = op.Concat(old[0], k, axis=2), op.Concat(old[1], v, axis=2)
    masks = _masks(op, node, mask, x, x, k if past is not None else None)
    if isinstance(masks, Refuse):
        return masks
    scale = ir.attribute(node, "scale", 0.0) or 1 / sqrt(widths[0] // heads)
    y = merge_heads(op, attend(op, q, k, v, scale, [extra, masks]), widths[2])
    present = None
    if wanted(node, 1):
        present = op.Concat(op.Unsqueeze(k, integers(0)), op.Unsqueeze(v, integers(0)), axis=0)
    return (y, present)


def multi_head(op: Builder, node: ir.Node) -> Any:
    """Attention of query [B, S, D] over key and value [B, L, D], or [B, N, L, H] as they are; past and present [B, N, T, H]."""
    query, key, value, bias, mask, extra, past_key, past_value = (operand(node, i) for i in range(8))
    heads, width = ir.attribute(node, "num_heads"), fixed(query, 2)
    if any(operand(node, i) is not None for i in (8, 9)):
        return Refuse("a shared buffer of the past is not supported")
    if wanted(node, 3):
        return Refuse("it gives the products of queries and keys")
    if key is None or value is None or rank(query) != 3 or rank(key) not in (3, 4):
        return Refuse("packed or unknown layouts of query, key and value are not supported")
    if width is None:
        return Refuse(f"the width of '{query.name}' is not known")
    ready = rank(key) == 4
    parts, widths = [query, key, value], [fixed(x, 2) for x in (query, key, value)]
    if bias is not None:
        total = fixed(bias, 0)
        if total is None or ready:
            return Refuse("a bias beside keys that are split into heads, or of unknown length")
        biases = op.Split(bias, integers(width, width, total - 2 * width), outputs=3, axis=0)
        parts = [op.Add(part, b) for part, b in zip(parts, biases, strict=True)]
    q, k, v = (part if ready and i else split_heads(op, part, heads, widths[i]) for i, part in enumerate(parts))
    if past_key is not None and past_value is not None:
        k, v = op.Concat(past_key, k, axis=2), op.Concat(past_value, v, axis=2)
    masks = _masks(op, node, mask, query, key, k if past_key is not None else None, 2 if ready else 1)
    if isinstance(masks, Refuse):
        return masks
    scale = ir.attribute(node, "scale", 0.0) or 1 / sqrt(width // heads)
    merged = widths[2] if not ready else None if (last := fixed(value, 3)) is None else heads * last
    y = merge_heads(op, attend(op, q, k, v, scale, [extra, masks]), merged)
    return (y, _held(op, k), _held(op, v), None)


def _held(op: Builder, value: ir.Value) -> ir.Value:
    """An output that is an input of the node needs a node of its own."""
    if value.producer() in op.made:
        return value
    found: ir.Value = op.Identity(value)
    return found


def attend(op: Builder, q: ir.Value, k: ir.Value, v: ir.Value, scale: float, added: list[Any]) -> ir.Value:
    """softmax(scale * q k' + added) v, over [B, N, S, H], [B, N, T, H], [B, N, T, Hv]."""
    scores = op.Mul(op.MatMul(q, op.Transpose(k, perm=[0, 1, 3, 2])), np.array(scale, np.float32))
    for term in added:
        scores = scores if term is None else op.Add(scores, term)
    found: ir.Value = op.MatMul(op.Softmax(scores, axis=-1), v)
    return found


def _masks(op: Builder, node: ir.Node, mask: Any, query: ir.Value, key: ir.Value, joined: ir.Value | None, along: int = 1) -> Any:
    """What is added to the scores: the filter value where the mask excludes a key, the lowest number in the future.

    `joined` are the keys behind those of the past, where there is one.
    """
    causal = ir.attribute(node, "unidirectional", 0) and fixed(query, 1) != 1
    if mask is None and not causal:
        return None
    if query.dtype != ir.DataType.FLOAT:
        return Refuse(f"only float32, '{query.name}' is {query.dtype}")
    total = size(op, key, along) if joined is None else op.Gather(op.Shape(joined), integers(2), axis=0)
    found = number(0, query)
    if mask is not None:
        allowed = _allowed(op, mask, query, total)
        if isinstance(allowed, Refuse):
            return allowed
        found = op.Where(allowed, number(0, query), number(ir.attribute(node, "mask_filter_value", -10000.0), query))
    if causal:
        length = size(op, query, 1)
        last = op.Add(positions(op, length), op.Sub(total, length))
        future = op.Greater(op.Unsqueeze(positions(op, total), integers(0)), op.Unsqueeze(last, integers(1)))
        found = op.Where(future, lowest(query), found)
    return found


def _allowed(op: Builder, mask: ir.Value, query: ir.Value, total: Any) -> Any:
    """bool [B, 1, 1 or S, T]: which keys the mask lets through."""
    zero = np.array(0, np.int32)
    shape, batch = dims(mask), dims(query)
    if shape is None or batch is None or mask.dtype != ir.DataType.INT32:
        return Refuse(f"the mask '{mask.name}' is of unknown shape, or not int32")
    if len(shape) in (2, 3):
        if fixed(mask, -1) == 1:
            return Refuse(f"the mask '{mask.name}' has one element a row")
        return op.Unsqueeze(op.Greater(mask, zero), integers(1, 2) if len(shape) == 2 else integers(1))
    if len(shape) != 1:
        return Refuse(f"a mask of {len(shape)} dimensions is not supported")
    keys = op.Cast(positions(op, total), to=int(ir.DataType.INT32))
    if shape[0] == batch[0]:
        return op.Less(keys, op.Unsqueeze(mask, integers(1, 2, 3)))
    if shape[0] != batch[0] * 2:
        return Refuse(f"the length of the mask '{mask.name}' is neither the batch nor twice the batch")
    end, start = op.Split(op.Reshape(mask, integers(2, -1)), integers(1, 1), outputs=2, axis=0)
    bounds = [op.Unsqueeze(op.Squeeze(part, integers(0)), integers(1, 2, 3)) for part in (end, start)]
    return op.And(op.Less(keys, bounds[0]), op.Not(op.Less(keys, bounds[1])))
