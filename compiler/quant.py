"""Quantization of values, read off the QuantizeLinear and DequantizeLinear nodes around them."""

from __future__ import annotations

from dataclasses import dataclass

from optc.compiler import ir


@dataclass(frozen=True)
class QuantType:
    """real = (stored - zero_point) · scale. `axis` is the channel axis of per-channel scales, None for one scale a tensor;
    `block` is the length of a block along it (0: none). `scale` and `zero_point` are float and stored-dtype arrays."""

    dtype: ir.DataType
    scale: ir.Array
    zero_point: ir.Array | None
    axis: int | None
    block: int

    def __str__(self) -> str:
        name = self.dtype.name.lower()
        if self.axis is None:
            zero = int(self.zero_point) if self.zero_point is not None else 0
            return f"{name}·{float(self.scale.ravel()[0]):.4g}{f' zero {zero}' if zero else ''}"
        block = f" blocks of {self.block}" if self.block else ""
        return f"{name} per channel of axis {self.axis}{block}"


def quant_type(value: ir.Value) -> QuantType | None:
    """How a value is quantized: it comes out of DequantizeLinear or QuantizeLinear with constant scales. None: it is not."""
    node = value.producer()
    if node is None or not ir.standard(node, "DequantizeLinear", "QuantizeLinear"):
        return None
    stored = node.inputs[0] if node.op_type == "DequantizeLinear" else node.outputs[0]
    scale, zero_point = ir.const(node.inputs[1]), ir.const(node.inputs[2]) if len(node.inputs) > 2 else None
    if stored is None or stored.dtype is None or scale is None:
        return None
    axis = int(ir.attribute(node, "axis", 1)) if scale.size > 1 or scale.ndim > 0 else None
    return QuantType(stored.dtype, scale, zero_point, axis, int(ir.attribute(node, "block_size", 0)))
