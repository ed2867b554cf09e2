"""Dimensions of attention, of recurrent layers, and of operators in onnxruntime's vocabulary (com.microsoft)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from optc.compiler import ir, symbolic
from optc.compiler.dimensions import NOTHING, Dims, broadcast_dims, dims, matmul_dims
from optc.compiler.symbolic import Dim

if TYPE_CHECKING:
    from optc.compiler.contents import Contents


def _shape(node: ir.Node, index: int) -> tuple[Dim, ...] | None:
    return dims(node.inputs[index]) if index < len(node.inputs) else None


def attention(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    """The standard Attention: Y, present key and value (past and new rows), and the product of queries and keys."""
    q, k, v, past = (_shape(node, i) for i in (0, 1, 2, 4))
    if q is None or k is None or v is None:
        return NOTHING
    heads, kv_heads = ir.attribute(node, "q_num_heads"), ir.attribute(node, "kv_num_heads")
    flat = len(q) == 3
    if flat and (not heads or not kv_heads):
        return NOTHING
    queries, rows = (q[1], k[1]) if flat else (q[2], k[2])
    count, kept = (heads, kv_heads) if flat else (q[1], k[1])
    size, width = (symbolic.floordiv(x[2], kv_heads) if flat else x[3] for x in (k, v))
    before = past[2] if past is not None else 0 if len(node.inputs) < 5 or node.inputs[4] is None else None
    total = None if before is None else before + rows
    y = (q[0], queries, width * heads) if flat else (*q[:3], width)
    return [y, (q[0], kept, total, size), (q[0], kept, total, width), (q[0], count, queries, total)]


def recurrent(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    """LSTM, GRU, RNN: Y [steps, directions, batch, hidden], then the last states."""
    x, hidden = _shape(node, 0), ir.attribute(node, "hidden_size")
    r = _shape(node, 2)
    if x is None or r is None:
        return NOTHING
    hidden, directions = hidden or r[-1], 2 if ir.attribute(node, "direction", "forward") == "bidirectional" else 1
    if ir.attribute(node, "layout", 0):
        state: Dims = (x[0], directions, hidden)
        return [(x[0], x[1], directions, hidden), state, state]
    state = (directions, x[1], hidden)
    return [(x[0], directions, x[1], hidden), state, state]


def _same(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    x = _shape(node, 0)
    return [x] if x is not None else NOTHING


def _skip(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    """Y, two statistics that only training asks for, and the sum."""
    x = _shape(node, 0)
    return [x, None, None, x] if x is not None else NOTHING


def _fused_matmul(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    a, b = _shape(node, 0), _shape(node, 1)
    batches = ir.attribute(node, "transBatchA") or ir.attribute(node, "transBatchB")
    if a is None or b is None or len(a) < 2 or len(b) < 2 or batches:
        return NOTHING
    a = (*a[:-2], a[-1], a[-2]) if ir.attribute(node, "transA") else a
    b = (*b[:-2], b[-1], b[-2]) if ir.attribute(node, "transB") else b
    return [matmul_dims(a, b)]


def _matmul_nbits(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    x = _shape(node, 0)
    return [(*x[:-1], ir.attribute(node, "N"))] if x is not None else NOTHING


def _multi_head(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    """MultiHeadAttention of [batch, rows, heads·size] inputs: Y, present key and value."""
    q, k, v, heads = _shape(node, 0), _shape(node, 1), _shape(node, 2), ir.attribute(node, "num_heads")
    if q is None or len(q) != 3 or k is None or v is None or len(k) != 3 or len(v) != 3:
        return NOTHING
    past = _shape(node, 6)
    absent = len(node.inputs) < 7 or node.inputs[6] is None
    total = k[1] if absent else None if past is None else past[2] + k[1]
    if len(node.inputs) > 8:  # a buffer that past and present share
        total = None
    presents = [(q[0], heads, total, symbolic.floordiv(x[2], heads)) for x in (k, v)]
    return [(q[0], q[1], v[2]), *presents]


def _packed(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    """Attention of com.microsoft: Y [batch, rows, hidden of V]; the present is [2, batch, heads, past + rows, size]."""
    x, weight, past, heads = _shape(node, 0), _shape(node, 1), _shape(node, 4), ir.attribute(node, "num_heads")
    sizes = ir.attribute(node, "qkv_hidden_sizes")
    if x is None or weight is None:
        return NOTHING
    hidden = sizes[2] if sizes else symbolic.floordiv(weight[1], 3)
    absent = len(node.inputs) < 5 or node.inputs[4] is None
    shared = ir.attribute(node, "past_present_share_buffer", 0)
    total = None if shared else x[1] if absent else None if past is None else past[3] + x[1]
    return [(x[0], x[1], hidden), (2, x[0], heads, total, symbolic.floordiv(hidden, heads))]


def _grouped(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    """GroupQueryAttention: Y like the queries; how long its present is depends on numbers that are fed."""
    q, k, past = _shape(node, 0), _shape(node, 1), _shape(node, 3)
    heads, kept = ir.attribute(node, "num_heads"), ir.attribute(node, "kv_num_heads")
    if q is None or len(q) != 3:
        return NOTHING
    packed = k is None and (len(node.inputs) < 2 or node.inputs[1] is None)
    size = symbolic.floordiv(q[2], heads + 2 * kept) if packed else symbolic.floordiv(q[2], heads)
    present: Dims = (q[0], kept, None, past[3] if past is not None and len(past) == 4 else size)
    return [(q[0], q[1], size * heads), present, present]


def _embed(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    ids, table = _shape(node, 0), _shape(node, 2)
    return [(*ids, table[1]), (ids[0],), (*ids, table[1])] if ids is not None and table is not None else NOTHING


def _dynamic_matmul(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    a, b = _shape(node, 0), _shape(node, 1)
    return [matmul_dims(a, b)] if a and b else NOTHING


def _qlinear_binary(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    a, b = _shape(node, 0), _shape(node, 3)
    return [broadcast_dims([a, b])] if a is not None and b is not None else NOTHING


_SAME = (
    "BiasGelu FastGelu Gelu QuickGelu RotaryEmbedding SimplifiedLayerNormalization QLinearSigmoid QLinearLeakyRelu "
    "QLinearSoftmax QuantizeLinear DequantizeLinear GroupNorm BiasAdd Inverse"
)
MICROSOFT: dict[str, Callable[[Any, ir.Node], Sequence[Dims | None]]] = {
    **dict.fromkeys(_SAME.split(), _same),
    "SkipLayerNormalization": _skip,
    "SkipSimplifiedLayerNormalization": _skip,
    "FusedMatMul": _fused_matmul,
    "FusedMatMulActivation": _fused_matmul,
    "MatMulNBits": _matmul_nbits,
    "MatMulBnb4": _matmul_nbits,
    "MultiHeadAttention": _multi_head,
    "Attention": _packed,
    "GroupQueryAttention": _grouped,
    "EmbedLayerNormalization": _embed,
    "MatMulIntegerToFloat": _dynamic_matmul,
    "DynamicQuantizeMatMul": _dynamic_matmul,
    "QLinearAdd": _qlinear_binary,
    "QLinearMul": _qlinear_binary,
}
