"""QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear, of ONNX and of com.microsoft, as elementwise expressions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np
from tvm import te, tirx

from optc.compiler import ir
from optc.targets.tvm.lower import functions as fn
from optc.targets.tvm.lower import types
from optc.targets.tvm.lower.elementwise import elementwise
from optc.targets.tvm.lower.lowering import Lowering, Operand, is_constant
from optc.targets.tvm.lower.movement import axis_of
from optc.targets.tvm.lower.reduce import reduce
from optc.targets.tvm.lower.refusal import dtype_of


def given(inputs: Sequence[Operand], index: int) -> Operand:
    """An input, or None where it was left out."""
    return inputs[index] if len(inputs) > index else None


def saturated(value: Any, zero: Any, kind: str) -> Any:
    """A float32 as an integer of type `kind`: to nearest even, moved by `zero` (None: 0), saturated; NaN is the least one."""
    limits = ml_dtypes.iinfo(kind)  # type: ignore[no-untyped-call]
    moved = tirx.nearbyint(value)
    if zero is not None:
        moved = moved + zero.astype("float32")
    kept = tirx.min(tirx.max(moved, fn.number(limits.min, moved)), fn.number(limits.max, moved))
    return kept.astype("int32").astype(types.held(kind))


def _spread(ctx: Lowering, node: ir.Node, operand: Operand, x: Operand) -> Operand:
    """A scale or zero point, shaped to broadcast against x: one for all, one for each index of `axis`, or one for each block."""
    own, shape = ctx.shape(operand), ctx.shape(x)
    if all(isinstance(d, int) and d == 1 for d in own):
        return operand.reshape(()) if is_constant(operand) else ctx.reshape(operand, [])
    axis = axis_of(ctx, node, x, 1)
    size = int(ir.attribute(node, "block_size", 0))
    if size == 0:
        if len(own) != 1:
            raise ctx.fail(node, "its scale has more than one axis, and it has no block_size")
        wanted = [own[0] if i == axis else 1 for i in range(len(shape))]
        return operand.reshape(wanted) if is_constant(operand) else ctx.reshape(operand, wanted)
    if is_constant(operand) and isinstance(shape[axis], int):
        return np.repeat(operand, size, axis)[tuple(slice(shape[axis]) if i == axis else slice(None) for i in range(len(own)))]

    def compute(scale: Any, dims: Any) -> Any:
        return te.compute(
            tuple(dims), lambda *at: scale(*[i // size if a == axis else i for a, i in enumerate(at)]), name="blocks"
        )

    return ctx.te("blocks", compute, ctx.tensor(operand), shape)


def dequantize(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """(x - zero) * scale in float32, as the output's type. Floats of 8 and 4 bits have no zero point."""
    x, scale, zero = inputs[0], _spread(ctx, node, inputs[1], inputs[0]), given(inputs, 2)
    wanted = ir.attribute(node, "output_dtype", 0)
    kind = dtype_of(ir.DataType(wanted), node.outputs[0].name) if wanted else types.kind_of(node.inputs[1], scale)
    whole = "int" in ctx.dtype(x)
    zero = None if zero is None or not whole else _spread(ctx, node, zero, x)
    if all(operand is None or is_constant(operand) for operand in (x, scale, zero)):  # a weight: the kernels pack it
        moved = x.astype(np.int32) - (0 if zero is None else zero.astype(np.int32)) if whole else x
        return np.asarray(moved.astype(np.float32) * scale.astype(np.float32)).astype(kind)  # by its name in ml_dtypes, too

    def element(q: Any, s: Any, *z: Any) -> Any:
        moved = q.astype("int32") - z[0].astype("int32") if z else q
        product = moved.astype("float32") * s.astype("float32")
        return types.converted(product, kind) if kind != "float32" else product

    return elementwise(ctx, "dequantize", element, x, scale, *([] if zero is None else [zero]))


def quantize(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """x / scale, divided in the scale's type or that of `precision`; integers to nearest even, then saturated."""
    x, scale, zero = inputs[0], _spread(ctx, node, inputs[1], inputs[0]), given(inputs, 2)
    kind = _quantized_kind(node, zero)
    named = ir.attribute(node, "precision", 0)
    division = dtype_of(ir.DataType(named), node.outputs[0].name) if named else types.kind_of(node.inputs[1], scale)
    saturate = bool(ir.attribute(node, "saturate", 1))
    if kind in ("int32", "uint32"):
        raise ctx.fail(node, f"quantization to {kind} is not known")
    zero = None if zero is None or kind.startswith("float8") else _spread(ctx, node, zero, x)

    def element(v: Any, s: Any, *z: Any) -> Any:
        quotient = types.converted(v, division) / types.converted(s, division)
        found = types.converted(quotient, division).astype("float32")
        if "int" in kind:
            return saturated(found, z[0] if z else None, kind)
        return types.rounded(found + z[0] if z else found, kind, saturate=saturate)

    return elementwise(ctx, "quantize", element, x, scale, *([] if zero is None else [zero]))


def _quantized_kind(node: ir.Node, zero: Operand) -> str:
    if zero is not None:
        return types.kind_of(node.inputs[2], zero)
    wanted = ir.attribute(node, "output_dtype", 0)
    return dtype_of(ir.DataType(wanted), node.outputs[0].name) if wanted else "uint8"


def dynamic_quantize(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    return list(dynamically(ctx, inputs[0]))


def dynamically(ctx: Lowering, x: Operand) -> tuple[Any, Any, Any]:
    """x in uint8, its scale and its zero point, of a range that holds zero."""
    axes = range(len(ctx.shape(x)))
    low, high = (ctx.reshape(reduce(ctx, x, axes, kind), []) for kind in ("min", "max"))
    zero, one = tirx.const(0, "float32"), tirx.const(1, "float32")

    def span(a: Any, b: Any) -> Any:
        width = (tirx.max(b, zero) - tirx.min(a, zero)) / tirx.const(255, "float32")
        return tirx.Select(width == zero, one, width)

    scale = elementwise(ctx, "scale", span, low, high)
    point = elementwise(ctx, "zero_point", lambda a, s: saturated(-tirx.min(a, zero) / s, None, "uint8"), low, scale)
    return elementwise(ctx, "quantize", lambda v, s, z: saturated(v / s, z, "uint8"), x, scale, point), scale, point
