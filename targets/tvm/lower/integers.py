"""Matrix products of quantized integers, summed exactly in int32 (which wraps, as ONNX's reference does)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import te

from optc.compiler import ir
from optc.targets.tvm.lower import types
from optc.targets.tvm.lower.elementwise import broadcast, elementwise, read
from optc.targets.tvm.lower.lowering import Lowering, Operand, is_constant
from optc.targets.tvm.lower.movement import permute
from optc.targets.tvm.lower.quantize import dynamically, given, saturated


def matmul_integer(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    return product(ctx, inputs[0], inputs[1], given(inputs, 2), given(inputs, 3))


def qlinear_matmul(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = inputs
    total = product(ctx, a, b, a_zero, b_zero)
    scale = ratio(ctx, _rows(ctx, a_scale, ctx.shape(a)), b_scale, y_scale)
    return requantized(ctx, total, scale, y_zero, types.kind_of(node.inputs[7], y_zero))


def matmul_integer_to_float(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """com.microsoft: A, B, their scales, their zero points, a bias; the last three may be left out."""
    a, b, a_scale, b_scale = inputs[:4]
    return _scaled(ctx, product(ctx, a, b, given(inputs, 4), given(inputs, 5)), ratio(ctx, a_scale, b_scale), given(inputs, 6))


def dynamic_quantize_matmul(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """com.microsoft: A in float32, quantized as DynamicQuantizeLinear does; B and its scale; a zero point and a bias."""
    a, scale, zero = dynamically(ctx, inputs[0])
    total = product(ctx, a, inputs[1], zero, given(inputs, 3))
    return _scaled(ctx, total, ratio(ctx, scale, inputs[2]), given(inputs, 4))


def qgemm(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """com.microsoft: alpha · A' · B' plus an int32 C, requantized where there is an output scale, else in float32."""
    a, a_scale, a_zero, b, b_scale, b_zero = inputs[:6]
    if ir.attribute(node, "transA", 0):
        a = permute(ctx, a, (1, 0))
    if ir.attribute(node, "transB", 0):
        b = np.ascontiguousarray(b.T) if is_constant(b) else permute(ctx, b, (1, 0))
    total = product(ctx, a, b, a_zero, b_zero)
    if given(inputs, 6) is not None:
        total = elementwise(ctx, "bias", lambda x, c: x + c, total, inputs[6])
    alpha = np.float32(ir.attribute(node, "alpha", 1.0))
    scale = elementwise_or_array(ctx, lambda s, t: s * t, ratio(ctx, a_scale, b_scale), np.asarray(alpha))
    if given(inputs, 7) is None:
        return _scaled(ctx, total, scale, None)
    scale = elementwise_or_array(ctx, lambda s, t: s / t, scale, inputs[7])
    return requantized(ctx, total, scale, given(inputs, 8), types.kind_of(node.outputs[0], a))


def ratio(ctx: Lowering, a: Operand, b: Operand, y: Operand = None) -> Operand:
    """a · b / y in float32, as onnxruntime multiplies what a sum of products is scaled by."""
    if y is None:
        return elementwise_or_array(ctx, lambda s, t: s * t, a, b)
    return elementwise_or_array(ctx, lambda s, t, u: s * t / u, a, b, y)


def elementwise_or_array(ctx: Lowering, f: Any, *operands: Operand) -> Operand:
    """f of float32, at compile time where every operand is known."""
    if all(is_constant(x) for x in operands):
        return np.asarray(f(*[x.astype(np.float32) for x in operands]), np.float32)
    return elementwise(ctx, "scale", lambda *items: f(*[item.astype("float32") for item in items]), *operands)


def requantized(ctx: Lowering, total: Any, scale: Operand, zero: Operand, kind: str) -> Any:
    """An int32 sum as a quantized integer."""
    points = [] if zero is None else [zero]
    return elementwise(
        ctx,
        "requantize",
        lambda x, s, *z: saturated(x.astype("float32") * s, z[0] if z else None, kind),
        total,
        scale,
        *points,
    )


def _scaled(ctx: Lowering, total: Any, scale: Operand, bias: Operand) -> Any:
    more = [] if bias is None else [bias]
    return elementwise(ctx, "scaled", lambda x, s, *b: x.astype("float32") * s + (b[0] if b else 0.0), total, scale, *more)


def shifted(ctx: Lowering, operand: Operand, zero: Operand) -> Operand:
    """The integers less their zero point, which 16 bits hold."""
    if is_constant(operand) and (zero is None or is_constant(zero)):
        return np.asarray(operand.astype(np.int16) - (np.int16(0) if zero is None else zero.astype(np.int16)))
    points = [] if zero is None else [zero]
    return elementwise(ctx, "shifted", lambda x, *z: x.astype("int16") - (z[0].astype("int16") if z else 0), operand, *points)


def _rows(ctx: Lowering, operand: Operand, shape: Sequence[Any]) -> Operand:
    """A vector with an element for each row of a matrix, as a column."""
    own = ctx.shape(operand) if operand is not None else []
    if len(own) != 1 or own == [1] or len(shape) < 2:
        return operand
    return operand.reshape(-1, 1) if is_constant(operand) else ctx.reshape(operand, [own[0], 1])


def product(ctx: Lowering, a: Operand, b: Operand, a_zero: Operand, b_zero: Operand) -> Any:
    """(A - a_zero) · (B - b_zero) as NumPy's matmul, in int32. Zero points: one, one a row of A, one a column of B."""
    left, right = shifted(ctx, a, _rows(ctx, a_zero, ctx.shape(a))), shifted(ctx, b, b_zero)
    a_shape, b_shape = ctx.shape(left), ctx.shape(right)
    flat_a, flat_b = len(a_shape) == 1, len(b_shape) == 1
    if flat_a:
        a_shape = [1, *a_shape]
        left = left.reshape(a_shape) if is_constant(left) else ctx.reshape(left, a_shape)
    if flat_b:
        b_shape = [*b_shape, 1]
        right = right.reshape(b_shape) if is_constant(right) else ctx.reshape(right, b_shape)
    dims = [*broadcast(ctx, [a_shape[:-2], b_shape[:-2]]), a_shape[-2], b_shape[-1]]

    def compute(x: Any, y: Any, dims: Any) -> Any:
        k = te.reduce_axis((0, x.shape[-1]), name="k")

        def element(*at: Any) -> Any:
            *batch, i, j = at
            first, second = read(x, (*batch, i, k), (*dims[:-1], x.shape[-1])), read(y, (*batch, k, j), (*dims[:-2], k, dims[-1]))
            return te.sum(first.astype("int32") * second.astype("int32"), axis=k)

        return te.compute(tuple(dims), element, name="matmul_integer")

    total = ctx.te("matmul_integer", compute, ctx.tensor(left), ctx.tensor(right), dims)
    depth = a_shape[-1]
    ctx.count(total, depth if isinstance(depth, int) else 64)
    kept = [d for i, d in enumerate(dims) if not (flat_a and i == len(dims) - 2) and not (flat_b and i == len(dims) - 1)]
    return ctx.reshape(total, kept)
