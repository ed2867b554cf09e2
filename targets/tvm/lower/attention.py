"""Attention that the pass `own-attention` found to be computed by blocks of keys."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from optc.compiler import ir
from optc.targets.tvm.compute.attention import Attention, tiles
from optc.targets.tvm.lower import loops
from optc.targets.tvm.lower.lowering import Dim, Lowering, Operand
from optc.targets.tvm.schedule.loops import PARALLEL_WORK


def attention(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """q, k, v as [B, S, N·H] or [B, N, S, H]; the mask broadcasts to [B, N, S, T]."""
    q, k, v, *mask = (ctx.tensor(x) for x in inputs if x is not None)
    flat = len(ctx.shape(q)) == 3
    batch, queries, heads, depth = _extents(ctx, node, q, "q_num_heads", flat)
    _, keys, groups, _ = _extents(ctx, node, k, "kv_num_heads", flat)
    size = _extents(ctx, node, v, "kv_num_heads", flat)[3]
    k, v = (_fitted(ctx, x, [batch, keys, groups, width], flat) for x, width in ((k, depth), (v, size)))
    scale = float(ir.attribute(node, "scale", 1 / math.sqrt(depth)))
    work = [d for d in (batch, queries, keys, heads, depth) if isinstance(d, int)]
    many = len(work) < 5 or math.prod(work) >= PARALLEL_WORK * ctx.machine.lanes()
    causal = bool(ir.attribute(node, "is_causal", 0))
    layer = Attention(tiles(ctx.machine, queries, keys, size), heads, groups, depth, size, scale, causal, many)
    made = [(_shape([batch, queries, heads, size], flat), "float32")]
    made.append(([batch, groups, layer.packed(keys), depth, layer.tiles.width], "float32"))
    result, _ = loops.kernel(ctx, "attention", [q, k, v, *mask], made, layer.body)
    if isinstance(keys, int):
        ctx.count(q, keys * (depth + size) // depth, ctx.builder.lookup_binding(result).tuple_value)
    return result


def _extents(ctx: Lowering, node: ir.Node, x: Any, count: str, flat: bool) -> tuple[Dim, Dim, int, int]:
    """Batch, rows, heads, and the size of one."""
    own = ctx.shape(x)
    heads = int(ir.attribute(node, count)) if flat else own[1]
    return own[0], own[-2], int(heads), int(own[-1]) // heads if flat else int(own[-1])


def _shape(extents: Sequence[Dim], flat: bool) -> list[Dim]:
    batch, rows, heads, size = extents
    return [batch, rows, heads * size] if flat else [batch, heads, rows, size]


def _fitted(ctx: Lowering, x: Any, extents: Sequence[Dim], flat: bool) -> Any:
    wanted = _shape(extents, flat)
    return x if ctx.same_shape(ctx.shape(x), wanted) else ctx.assume_shape(x, wanted)
