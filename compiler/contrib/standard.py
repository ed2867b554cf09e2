"""Attention, RMSNormalization and RotaryEmbedding of opset 23 by as few operators as exporters write for them.

ONNX's own definitions scale queries and keys apart, build a mask where there is none and repeat grouped keys; that of Softplus
loses small results. A builder returns None where the operator needs more than it does: then ONNX's definition stands.
"""

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
    mean,
    merge_heads,
    number,
    operand,
    per_head,
    positions,
    rank,
    size,
    wanted,
)
from optc.compiler.contrib.rotary import rotate
from optc.compiler.rewrite import Builder

_SPREAD = frozenset({"Expand", "Unsqueeze", "Squeeze", "Reshape", "Transpose", "Slice", "Gather", "Concat", "Identity", "Cast"})
_FINITE = frozenset({"Add", "Sub", "Mul", "Min", "Neg", "Where"}) | _SPREAD
_KNOWN = frozenset(
    {"q_num_heads", "kv_num_heads", "scale", "is_causal", "softcap", "softmax_precision", "qk_matmul_output_mode"}
    | {"axis", "epsilon", "stash_type", "interleaved", "num_heads", "rotary_embedding_dim"}
)
"""Attributes of opset 23. Later ones mean more than is built here."""
_LOOK = 48
"""How many nodes back a mask is looked at."""


def attention(op: Builder, node: ir.Node) -> Any:
    """softmax(softcap(scale·Q·Kᵀ) + mask)·V over [B, N, S, H], or [B, S, N·H] that is split and merged. Heads that share
    keys stand as rows of one product."""
    q, k, v, mask, old_k, old_v, lengths = (operand(node, i) for i in range(7))
    flat, precision = rank(q) == 3, ir.attribute(node, "softmax_precision", 0)
    heads = ir.attribute(node, "q_num_heads", 0) if flat else fixed(q, 1)
    groups = ir.attribute(node, "kv_num_heads", 0) if flat else fixed(k, 1)
    width = fixed(q, -1)
    head = width // heads if flat and width is not None and heads else width
    plain = q.dtype == k.dtype == v.dtype and precision in (0, int(q.dtype or 0)) and lengths is None and not wanted(node, 3)
    plain = plain and q.dtype not in (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)  # where they round is seen in the result
    plain = plain and set(node.attributes) <= _KNOWN and not _short(op, mask, k, old_k, flat)
    plain = plain and ir.attribute(node, "scale", 1.0) >= 0  # ONNX takes its root
    if not plain or not heads or not groups or not head or rank(q) not in (3, 4) or (mask is not None and rank(mask) is None):
        return None
    queries, keys, values = (_split(op, x, n, flat) for x, n in ((q, heads), (k, groups), (v, groups)))
    new = old_k is not None or wanted(node, 1)
    turned = None if new else _turned(op, k, groups, flat)
    keys = keys() if turned is None else None
    values = values()
    if old_k is not None:
        keys, values = op.Concat(old_k, keys, axis=2), op.Concat(old_v, values, axis=2)
    turned = op.Transpose(keys, perm=[0, 1, 3, 2]) if turned is None else turned
    scores = _scores(op, node, queries(), turned, (heads, groups, head), ir.attribute(node, "scale", 1 / sqrt(head)))
    capped = _capped(op, scores, ir.attribute(node, "softcap", 0.0))
    total = op.Gather(op.Shape(keys), integers(2), axis=0) if old_k is not None else size(op, k, 1 if flat else 2)
    masked, hidden = _masked(op, node, capped, mask, size(op, q, 1 if flat else 2), total)
    weights = op.Softmax(masked, axis=-1)
    y = _mixed(op, weights, values, heads, groups)
    y = y if hidden is None else op.Where(hidden, number(0, q), y)
    present = (_held(op, keys), _held(op, values)) if wanted(node, 1) or wanted(node, 2) else (None, None)
    last = fixed(v, -1)
    merged = None if last is None else last // groups * heads
    return (merge_heads(op, y, merged) if flat else y, *present, None)


def _short(op: Builder, mask: Any, k: ir.Value, old: Any, flat: bool) -> bool:
    """Whether a mask may have fewer columns than there are keys: from opset 24 on those are hidden."""
    own, keys = dims(mask), dims(k)
    if mask is None or op.opset < 24:
        return False
    before = dims(old) if old is not None else None
    if own is None or not own or keys is None or (old is not None and before is None):
        return True
    return bool(own[-1] != keys[1 if flat else 2] + (before[2] if before is not None else 0))


def _split(op: Builder, x: ir.Value, heads: int, flat: bool) -> Any:
    """What makes [B, N, S, H] of an operand."""
    if not flat:
        return lambda: x
    return lambda: op.Transpose(_in_heads(op, x, heads), perm=[0, 2, 1, 3])


def _in_heads(op: Builder, x: ir.Value, heads: int) -> Any:
    """[B, S, N·H] -> [B, S, N, H]; what was merged to it just before, as it was."""
    node = x.producer()
    if node is not None and ir.standard(node, "Reshape") and rank(node.inputs[0]) == 4 and fixed(node.inputs[0], 2) == heads:
        return node.inputs[0]
    return op.Reshape(x, integers(0, 0, heads, per_head(x, heads)))


def _turned(op: Builder, k: ir.Value, groups: int, flat: bool) -> Any:
    """Keys [B, G, H, T] by one transposition."""
    if flat:
        return op.Transpose(_in_heads(op, k, groups), perm=[0, 2, 3, 1])
    node = k.producer()
    if node is None or not ir.standard(node, "Transpose") or "perm" not in node.attributes:
        return None
    a, b, c, d = ir.attribute(node, "perm")
    return op.Transpose(node.inputs[0], perm=[a, b, d, c])


def _scores(op: Builder, node: ir.Node, q: ir.Value, turned: ir.Value, counts: tuple[int, int, int], scale: float) -> Any:
    """scale·Q·Kᵀ, [B, N, S, T]."""
    heads, groups, head = counts
    if heads == groups:
        product = op.MatMul(q, turned)
    else:
        rows = op.MatMul(op.Reshape(q, integers(0, groups, -1, head)), turned)
        product = _regrouped(op, rows, node, heads)
    return product if scale == 1 else op.Mul(product, number(scale, operand(node, 0)))


def _regrouped(op: Builder, rows: ir.Value, node: ir.Node, heads: int) -> Any:
    """[B, G, N/G·S, T] -> [B, N, S, T]."""
    q = operand(node, 0)
    length = size(op, q, 1 if rank(q) == 3 else 2)
    shape = integers(0, heads, int(length[0]), -1) if isinstance(length, np.ndarray) else None
    if shape is None:
        shape = op.Concat(integers(0, heads), length, integers(-1), axis=0)
    return op.Reshape(rows, shape)


def _mixed(op: Builder, weights: ir.Value, values: ir.Value, heads: int, groups: int) -> Any:
    """P·V, [B, N, S, H]."""
    if heads == groups:
        return op.MatMul(weights, values)
    shape = op.Shape(weights)
    batch, keys = op.Slice(shape, integers(0), integers(1)), op.Slice(shape, integers(3), integers(4))
    rows = op.Concat(batch, integers(groups, -1), keys, axis=0)
    mixed = op.MatMul(op.Reshape(weights, rows), values)
    back = op.Concat(op.Slice(shape, integers(0), integers(3)), integers(-1), axis=0)
    return op.Reshape(mixed, back)


def _capped(op: Builder, scores: ir.Value, cap: float) -> Any:
    if not cap:
        return scores
    held = np.array(cap, np.float32)
    root = op.match.roots[0].producer()
    held = number(cap, operand(root, 0)) if root is not None else held
    return op.Mul(op.Tanh(op.Div(scores, held)), held)


def _masked(op: Builder, node: ir.Node, scores: ir.Value, mask: Any, length: Any, total: Any) -> tuple[Any, Any]:
    """The scores with the mask, and bool [.., S, 1]: queries all of whose keys are hidden by -inf, where there may be such."""
    q = operand(node, 0)
    future = _future(op, node, length, total) if ir.attribute(node, "is_causal", 0) else None
    if mask is None:
        return (scores if future is None else op.Where(future, lowest(q), scores)), None
    narrow = _narrow(mask)
    if mask.dtype == ir.DataType.BOOL:
        held = ir.const(narrow)
        seen = narrow if future is None else op.And(narrow, op.Not(future))
        masked = op.Where(seen, scores, lowest(q))
        if future is None and held is not None and np.all(np.any(held, axis=-1)):
            return masked, None
        most = op.ReduceMax(op.Cast(seen, to=int(ir.DataType.FLOAT)), integers(-1), keepdims=1)
        return masked, op.Equal(most, np.array(0, np.float32))
    if is_finite(narrow):
        masked = op.Add(scores, narrow)
        return (masked if future is None else op.Where(future, lowest(q), masked)), None
    bias = narrow if future is None else op.Where(future, number(-np.inf, q), narrow)
    return op.Add(scores, bias), _known_hidden(node, bias) or op.Equal(_most(op, bias), number(-np.inf, q))


def _most(op: Builder, bias: Any) -> Any:
    return op.ReduceMax(bias, integers(-1), keepdims=1)


def _known_hidden(node: ir.Node, bias: ir.Value) -> ir.Value | None:
    """What was asked of the same mask for a layer before: this builder made it, so it stands before the node."""
    for user in bias.consumers():
        if not ir.standard(user, "ReduceMax") or ir.origin(user).passes[-1:] != ("inline-functions",):
            continue
        axes, answers = ir.const(operand(user, 1)), list(user.outputs[0].consumers())
        limit = ir.const(answers[0].inputs[1]) if len(answers) == 1 and ir.standard(answers[0], "Equal") else None
        same = user.graph is node.graph and axes is not None and axes.tolist() == [-1] and ir.attribute(user, "keepdims", 1)
        if same and limit is not None and np.all(np.isneginf(limit)):
            return answers[0].outputs[0]
    return None


def _future(op: Builder, node: ir.Node, length: Any, total: Any) -> Any:
    """bool [S, T]: the keys behind each query."""
    last = positions(op, length)
    if operand(node, 4) is not None:
        last = op.Add(last, op.Sub(total, length))
    return op.Greater(op.Unsqueeze(positions(op, total), integers(0)), op.Unsqueeze(last, integers(1)))


def _narrow(mask: ir.Value) -> ir.Value:
    """A mask before it was spread over all rows: what adds it broadcasts."""
    node = mask.producer()
    inner = node.inputs[0] if node is not None and ir.standard(node, "Expand") else None
    return inner if inner is not None and rank(inner) == rank(mask) and fixed(inner, -1) != 1 else mask


def is_finite(value: ir.Value) -> bool:
    """Whether a mask cannot hold -inf, as far as the operators and constants tell from which it is computed."""
    seen, work = {value}, [value]
    while work:
        current = work.pop()
        held, node = ir.const_tensor(current), current.producer()
        if held is not None:
            if held.dtype.is_floating_point() and not np.all(np.isfinite(held.numpy())):
                return False
            continue
        if current.dtype is not None and not current.dtype.is_floating_point():
            continue
        if node is None or len(seen) > _LOOK:
            return False
        if ir.standard(node, "Max") and any((c := ir.const(v)) is not None and np.all(np.isfinite(c)) for v in node.inputs):
            continue
        if not ir.standard(node, *_FINITE):
            return False
        inputs = [v for v in node.inputs if v is not None and v not in seen]
        seen.update(inputs)
        work += inputs
    return True


def _held(op: Builder, value: ir.Value) -> Any:
    """An output that is an input of the node needs a node of its own."""
    return value if value.producer() in op.made else op.Identity(value)


def rms_normalization(op: Builder, node: ir.Node) -> Any:
    """x / sqrt(mean(x²) + epsilon)·scale over the last axis."""
    x, scale = operand(node, 0), operand(node, 1)
    axis, precision = ir.attribute(node, "axis", -1), ir.attribute(node, "stash_type", 1)
    if rank(x) is None or axis not in (-1, (rank(x) or 0) - 1) or precision != int(x.dtype or 0) or scale.dtype != x.dtype:
        return None
    if not set(node.attributes) <= _KNOWN:
        return None
    root = op.Sqrt(op.Add(mean(op, op.Mul(x, x)), number(ir.attribute(node, "epsilon", 1e-5), x)))
    return op.Mul(op.Div(x, root), scale)


def rotary_embedding(op: Builder, node: ir.Node) -> Any:
    """Rotates the first elements of each head of x, [B, S, N·H] or [B, N, S, H], by the angles of its positions."""
    x, cos, sin, at = (operand(node, i) for i in range(4))
    flat, heads, width = rank(x) == 3, ir.attribute(node, "num_heads", 0), fixed(x, -1)
    if (
        not set(node.attributes) <= _KNOWN
        or width is None
        or rank(x) not in (3, 4)
        or (flat and not heads)
        or fixed(cos, -1) is None
    ):
        return None
    head, half = width // heads if flat else width, fixed(cos, -1) or 0
    if (ir.attribute(node, "rotary_embedding_dim", 0) or head) != 2 * half:
        return None
    interleaved = bool(ir.attribute(node, "interleaved", 0))
    parts = op.Reshape(x, integers(0, 0, heads, head)) if flat else x
    turned = rotate(op, parts, at, cos, sin, half, head, interleaved, axis=2 if flat else 1)
    return op.Reshape(turned, integers(0, 0, width)) if flat else turned


def softplus(op: Builder, node: ir.Node) -> Any:
    """max(x, 0) + log1p(e), e = exp(-|x|), with log1p(e) = 2·atanh(e / (2 + e)): log(1 + e) is 0 where e is lost beside 1."""
    x = operand(node, 0)
    if x.dtype != ir.DataType.FLOAT or op.opset < 14:  # Relu and Add as they are here
        return None
    two, e = number(2.0, x), op.Exp(op.Neg(op.Abs(x)))
    return op.Add(op.Relu(x), op.Mul(op.Atanh(op.Div(e, op.Add(e, two))), two))
