"""Matrix products. With a constant right side the product is a packed, scheduled kernel with a fused epilogue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import relax, tirx

from optc.compiler import ir
from optc.targets.tvm import compute
from optc.targets.tvm.lower.elementwise import elementwise
from optc.targets.tvm.lower.lowering import Lowering, Operand, is_constant
from optc.targets.tvm.lower.movement import permute
from optc.targets.tvm.lower.packed import FUSABLE, call


def matmul(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """NumPy's matmul: vectors are promoted, leading dimensions broadcast."""
    return product(ctx, inputs[0], inputs[1], None)


def product(ctx: Lowering, a: Operand, b: Operand, bias: ir.Array | None) -> Any:
    if is_constant(b) and b.ndim == 2 and ctx.dtype(a) == "float32" == str(b.dtype):
        own = ctx.shape(a)
        rows = ctx.reshape(a, [1, own[0]]) if len(own) == 1 else ctx.tensor(a)
        rank = ctx.picks.pick(f"{ctx.machine.name} gemm {ctx.shape(rows)} weight{b.shape}", compute.CANDIDATES, ctx.behind)
        result = call(ctx, "gemm", compute.gemm(ctx.machine, ctx.shape(rows), b, bias, rank), rows)
        return ctx.reshape(result, [b.shape[1]]) if len(own) == 1 else result
    left, right = ctx.tensor(a), ctx.tensor(b)
    right = _fitted(ctx, left, right)
    result = _activations(ctx, left, right) if _tiled(ctx, left, right) else ctx.emit(relax.op.matmul(left, right))
    depth = ctx.shape(left)[-1]
    if isinstance(depth, int):
        ctx.count(result, depth)
    return result if bias is None else elementwise(ctx, "bias", lambda x, y: x + y, result, bias)


def _tiled(ctx: Lowering, left: Any, right: Any) -> bool:
    """Whether tiles of rows by vectors of columns suit the product: neither a single row nor a few columns."""
    own, others = ctx.shape(left), ctx.shape(right)
    if min(len(own), len(others)) < 2 or not ctx.dtype(left) == ctx.dtype(right) == "float32":
        return False
    columns = others[-1]
    return own[-2] != 1 and (not isinstance(columns, int) or columns >= ctx.machine.lanes() // 2)


def _activations(ctx: Lowering, left: Any, right: Any) -> Any:
    kernel = compute.product(ctx.machine, ctx.shape(left)[-2], ctx.shape(right)[-1])
    return ctx.te("product", kernel.compute, left, right, pattern=FUSABLE)


def _fitted(ctx: Lowering, left: Any, right: Any) -> Any:
    """The right side, its dimensions those of the left where they must be equal and cannot be proved so."""
    own, others = ctx.shape(right), ctx.shape(left)
    if len(own) < 2 or len(others) < 2:
        return right
    wanted = list(own)
    for back in range(3, min(len(own), len(others)) + 1):
        mine, theirs = own[-back], others[-back]
        if not any(isinstance(d, int) and d == 1 for d in (mine, theirs)):
            wanted[-back] = theirs
    wanted[-2] = others[-1]
    return right if ctx.same_shape(own, wanted) else ctx.assume_shape(right, wanted)


def gemm(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """alpha · A' · B' + beta · C, where ' may transpose."""
    a, b, *rest = inputs
    alpha, beta = float(ir.attribute(node, "alpha", 1.0)), float(ir.attribute(node, "beta", 1.0))
    c: Operand = rest[0] if rest and beta != 0.0 else None
    if ir.attribute(node, "transA", 0):
        a = permute(ctx, a, (1, 0))
    if ir.attribute(node, "transB", 0):
        b = np.ascontiguousarray(b.T) if is_constant(b) else permute(ctx, b, (1, 0))
    dtype = ctx.dtype(a)
    if is_constant(b) and alpha != 1.0 and "float" in dtype:
        b, alpha = (b * alpha).astype(b.dtype), 1.0
    bias = None
    if is_constant(c) and is_constant(b) and alpha == 1.0 and c.size in (1, b.shape[1]) and c.ndim < 2 + (c.shape[:1] == (1,)):
        bias, c = np.broadcast_to(c.ravel() * np.asarray(beta, c.dtype), (b.shape[1],)).astype(c.dtype), None
    result = product(ctx, a, b, bias)
    if alpha != 1.0:
        result = elementwise(ctx, "scale", lambda x: x * tirx.const(alpha, dtype), result)
    if c is None:
        return result
    return elementwise(ctx, "add", lambda x, y: x + (y if beta == 1.0 else y * tirx.const(beta, dtype)), result, c)
