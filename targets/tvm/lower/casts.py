"""Cast, CastLike and BitCast between all numeric element types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import tirx

from optc.compiler import ir
from optc.targets.tvm.lower import types
from optc.targets.tvm.lower.elementwise import elementwise
from optc.targets.tvm.lower.lowering import Lowering, Operand
from optc.targets.tvm.lower.refusal import dtype_of


def cast(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """To the type `to`, or that of the second operand; float to integer truncates, anything to bool asks for non-zero."""
    kind = types.kind_of(node.inputs[1], inputs[1]) if node.op_type == "CastLike" else _named(node)
    if kind == types.kind_of(node.inputs[0], inputs[0]):
        return inputs[0]
    saturate, mode = bool(ir.attribute(node, "saturate", 1)), ir.attribute(node, "round_mode", "up")
    return elementwise(ctx, "cast", lambda x: types.converted(x, kind, saturate=saturate, mode=mode), inputs[0])


def bit_cast(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """The same bits, read as another type of the same size."""
    source, kind = types.kind_of(node.inputs[0], inputs[0]), _named(node)

    def element(x: Any) -> Any:
        bits = types.encoded(x, source) if types.held(source) != source else x.astype("uint8") if source == "bool" else x
        if types.held(kind) != kind:
            return types.decoded(tirx.reinterpret(types.raw(kind), bits), kind)
        return bits.astype("bool") if kind == "bool" else tirx.reinterpret(kind, bits)

    return elementwise(ctx, "bit_cast", element, inputs[0])


def _named(node: ir.Node) -> str:
    return dtype_of(ir.DataType(ir.attribute(node, "to")), node.outputs[0].name)
