"""RotaryEmbedding of onnxruntime."""

from __future__ import annotations

from typing import Any

from optc.compiler import ir
from optc.compiler.contrib.common import fixed, integers, merge_heads, operand, positions, rank, size
from optc.compiler.rewrite import Builder, Refuse


def rotary_embedding(op: Builder, node: ir.Node) -> Any:
    """Rotates the first elements of each head of x, [B, S, N*H] or [B, N, S, H], by the angles of its positions."""
    x, at, cos, sin = (operand(node, i) for i in range(4))
    half, heads = fixed(cos, 1), ir.attribute(node, "num_heads", 0)
    if ir.attribute(node, "scale", 1.0) != 1 or ir.attribute(node, "is_packed_batching", 0):
        return Refuse("a scale and packed batches are not supported")
    if half is None or rank(x) not in (3, 4) or rank(at) is None:
        return Refuse("the shapes of its inputs are not known")
    split = rank(x) == 3
    if split:
        width = fixed(x, 2)
        partial = ir.attribute(node, "rotary_embedding_dim", 0) > 0
        if partial and (not heads or width is None):
            return Refuse("a part of each head, and the number of heads is not known")
        head = width // heads if partial and width is not None else 2 * half
        x4 = op.Transpose(op.Reshape(x, integers(0, 0, -1, head)), perm=[0, 2, 1, 3])
    else:
        found = fixed(x, 3)
        if found is None:
            return Refuse(f"the head size of '{x.name}' is not known")
        x4, head = x, found
    if rank(at) == 1:
        at = op.Unsqueeze(op.Add(positions(op, size(op, x, 1 if split else 2)), at), integers(0))
    y = rotate(op, x4, at, cos, sin, half, head, bool(ir.attribute(node, "interleaved", 0)))
    return merge_heads(op, y) if split else y


def rotate(
    op: Builder, x: ir.Value, at: Any, cos: ir.Value, sin: ir.Value, half: int, head: int, interleaved: bool, axis: int = 1
) -> ir.Value:
    """x [B, N, S, head] at positions [B or 1, S] of the caches [M, half]; without positions these are [B or 1, S, half]. `axis`:
    that of the heads."""
    rows = [table if at is None else op.Gather(table, at, axis=0) for table in (cos, sin)]
    angles = [op.Unsqueeze(row, integers(axis)) for row in rows]
    rest: list[Any] = []
    if head > 2 * half:
        x, kept = op.Split(x, integers(2 * half, head - 2 * half), outputs=2, axis=3)
        rest = [kept]
    if interleaved:
        pairs = op.Split(op.Reshape(x, integers(0, 0, 0, half, 2)), integers(1, 1), outputs=2, axis=4)
        a, b = (op.Squeeze(part, integers(4)) for part in pairs)
    else:
        a, b = op.Split(x, integers(half, half), outputs=2, axis=3)
    c, s = angles
    first, second = op.Sub(op.Mul(a, c), op.Mul(b, s)), op.Add(op.Mul(b, c), op.Mul(a, s))
    if interleaved:
        stacked = op.Concat(op.Unsqueeze(first, integers(4)), op.Unsqueeze(second, integers(4)), axis=4)
        parts = [op.Reshape(stacked, integers(0, 0, 0, 2 * half))]
    else:
        parts = [first, second]
    parts += rest
    found: ir.Value = parts[0] if len(parts) == 1 else op.Concat(*parts, axis=3)
    return found
