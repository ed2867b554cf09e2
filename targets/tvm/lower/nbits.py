"""com.microsoft's MatMulNBits: a product with weights of 2, 4 or 8 bits, packed in blocks along their depth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from optc.compiler import ir
from optc.targets.tvm.lower import products
from optc.targets.tvm.lower.elementwise import elementwise
from optc.targets.tvm.lower.lowering import Lowering, Operand, is_constant
from optc.targets.tvm.lower.quantize import given


def matmul(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """A · (B - zero) · scale, with B [N, blocks, bytes of a block], unpacked when the model is compiled.

    Scales are [N, blocks]; zero points are packed like B, [N, bytes], or are of A's type; without them they are half the range.
    """
    a, packed, scales = inputs[:3]
    points, order, bias = (given(inputs, i) for i in (3, 4, 5))
    known = [x for x in (packed, scales, points, order) if x is not None]
    if not all(is_constant(x) for x in known):
        raise ctx.fail(node, "its weights are computed at run time")
    if ir.attribute(node, "weight_prepacked", 0):
        raise ctx.fail(node, "its weights are packed for another engine")
    width, depth, bits, size = (int(ir.attribute(node, name)) for name in ("N", "K", "bits", "block_size"))
    blocks = -(-depth // size)
    codes = _unpacked(packed.reshape(width, -1), bits)[:, : blocks * size].reshape(width, blocks, size)
    scale = scales.reshape(width, blocks, 1).astype(np.float32)
    if points is None:
        zero: Any = np.float32(1 << (bits - 1))
    elif points.dtype == np.uint8:
        zero = _unpacked(points.reshape(width, -1), bits)[:, :blocks].reshape(width, blocks, 1).astype(np.float32)
    else:
        zero = points.reshape(width, blocks, 1).astype(np.float32)
    whole = codes.astype(np.float32)
    if order is None:
        weight = ((whole - zero) * scale).reshape(width, blocks * size)[:, :depth]
    else:  # the block of each index of the depth
        group = order.astype(np.int64)[:depth]
        flat = whole.reshape(width, blocks * size)[:, :depth]
        zero = np.broadcast_to(zero, scale.shape)
        weight = (flat - zero[:, group, 0]) * scale[:, group, 0]
    dtype = ctx.dtype(a)
    result = products.product(ctx, a, np.ascontiguousarray(weight.T.astype(dtype)), None)
    return result if bias is None else elementwise(ctx, "bias", lambda x, b: x + b, result, bias)


def _unpacked(array: ir.Array, bits: int) -> ir.Array:
    """The codes of rows of bytes, the lowest bits first."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    codes = (array[..., None] >> shifts) & np.uint8((1 << bits) - 1)
    return np.asarray(codes.reshape(*array.shape[:-1], -1))
