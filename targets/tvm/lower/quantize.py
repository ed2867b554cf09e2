"""QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear as elementwise expressions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import tirx

from optc.compiler import ir
from optc.targets.tvm.lower import functions as fn
from optc.targets.tvm.lower.elementwise import elementwise
from optc.targets.tvm.lower.lowering import Lowering, Operand, dtype_of, is_constant
from optc.targets.tvm.lower.movement import axis_of
from optc.targets.tvm.lower.reduce import reduce


def _shaped(ctx: Lowering, node: ir.Node, operand: Operand, x: Operand) -> Operand:
    """A vector along `axis`, shaped to broadcast against x; scalars stay."""
    own = ctx.shape(operand)
    if len(own) == 0 or own == [1]:
        return operand
    if ir.attribute(node, "block_size", 0) or len(own) != 1:
        raise ctx.fail(node, "blocked quantization is not known")
    axis = axis_of(ctx, node, x, 1)
    shape = [own[0] if i == axis else 1 for i in range(len(ctx.shape(x)))]
    return operand.reshape(shape) if is_constant(operand) else ctx.reshape(operand, shape)


def dequantize(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    x, scale = inputs[0], _shaped(ctx, node, inputs[1], inputs[0])
    zero = inputs[2] if len(inputs) > 2 else None
    dtype = ctx.dtype(scale)
    if is_constant(x) and is_constant(scale) and (zero is None or is_constant(zero)):  # a weight: the kernels pack it
        shift = 0 if zero is None else _shaped(ctx, node, zero, x).astype(np.int32)
        return (x.astype(np.int32) - shift).astype(dtype) * scale
    if zero is None:
        return elementwise(ctx, "dequantize", lambda q, s: q.astype(dtype) * s, x, scale)
    return elementwise(
        ctx,
        "dequantize",
        lambda q, s, z: (q.astype("int32") - z.astype("int32")).astype(dtype) * s,
        x,
        scale,
        _shaped(ctx, node, zero, x),
    )


def quantize(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """Half to even, then saturated."""
    x, scale = inputs[0], _shaped(ctx, node, inputs[1], inputs[0])
    zero = inputs[2] if len(inputs) > 2 else None
    dtype = ctx.dtype(zero) if zero is not None else _named(node)
    if zero is None:
        zero = np.zeros((), dtype)
    return elementwise(ctx, "quantize", lambda v, s, z: _saturated(v / s, z, dtype), x, scale, _shaped(ctx, node, zero, x))


def _named(node: ir.Node) -> str:
    wanted = ir.attribute(node, "output_dtype", 0)
    return dtype_of(ir.DataType(wanted), node.outputs[0].name) if wanted else "uint8"


def _saturated(v: Any, zero: Any, dtype: str) -> Any:
    limits = np.iinfo(dtype)
    moved = tirx.nearbyint(v) + zero.astype(fn.dtype(v))
    kept = fn.at_most(fn.at_least(moved, fn.number(limits.min, v)), fn.number(limits.max, v))
    return kept.astype("int32").astype(dtype)


def dynamic_quantize(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """uint8, with a range that holds zero."""
    x = inputs[0]
    axes = range(len(ctx.shape(x)))
    low, high = (ctx.reshape(reduce(ctx, x, axes, kind), []) for kind in ("min", "max"))
    zero, one = tirx.const(0, "float32"), tirx.const(1, "float32")

    def span(a: Any, b: Any) -> Any:
        width = (tirx.max(b, zero) - tirx.min(a, zero)) / tirx.const(255, "float32")
        return tirx.Select(width == zero, one, width)

    scale = elementwise(ctx, "scale", span, low, high)
    point = elementwise(
        ctx, "zero_point", lambda a, s: _saturated(-tirx.min(a, zero) / s, tirx.const(0, "uint8"), "uint8"), low, scale
    )
    return [elementwise(ctx, "quantize", lambda v, s, z: _saturated(v / s, z, "uint8"), x, scale, point), scale, point]
