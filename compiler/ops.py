"""The `optc` operator domain: what standard ONNX cannot say in one node.

One definition an operator: its decomposition into standard ONNX, as the text of an ONNX function. Shapes, the reference
result and the plain-ONNX export all follow from it: `attach` adds the functions that a model uses, `expand` inlines them.
"""

from __future__ import annotations

import onnx.parser
import onnx_ir.passes.common
import onnx_ir.serde

from optc.compiler import ir

_CONV = "auto_pad, dilations, group, kernel_shape, pads, strides"
_POOL = "auto_pad, ceil_mode, dilations, kernel_shape, pads, strides"


def _channels_last(op: str, attributes: str, operands: str = "", drop: str = "") -> str:
    forwarded = ", ".join(f"{a}: {_KIND[a]} = @{a}" for a in attributes.split(", "))
    return f"""<{attributes}> (x{operands}) => (y) {{
        t = Transpose<perm = [0, 3, 1, 2]>(x)
        u = {op}<{forwarded}>(t{operands})
        y = Transpose<perm = [0, 2, 3, 1]>(u)
    }}"""


_KIND = {
    "auto_pad": "string", "group": "int", "ceil_mode": "int", "count_include_pad": "int",
    "dilations": "ints", "kernel_shape": "ints", "pads": "ints", "strides": "ints",
}  # fmt: skip

OPS: dict[str, str] = {
    "ConvChannelsLast": _channels_last("Conv", _CONV, ", w, b"),
    "MaxPoolChannelsLast": _channels_last("MaxPool", _POOL),
    "AveragePoolChannelsLast": _channels_last("AveragePool", _POOL.replace("dilations", "count_include_pad")),
}
"""Operator -> signature and body. Activations of the *ChannelsLast operators are [N, H, W, C], weights as in ONNX."""


def function(op_type: str, opset: int) -> ir.Function:
    """The ONNX function that defines an operator, its body in the given opset of the standard domain."""
    text = f'<domain: "{ir.DOMAIN}", opset_import: ["" : {opset}]> {op_type} {OPS[op_type]}'
    return onnx_ir.serde.deserialize_function(onnx.parser.parse_function(text))


def attach(model: ir.Model) -> None:
    """Give the model the functions of the `optc` operators it uses: any ONNX runtime can then run it."""
    used = {n.op_type for g in ir.all_graphs(model.graph) for n in g if n.domain == ir.DOMAIN}
    for op_type in sorted(used):
        made = function(op_type, model.opset_imports[""])
        model.functions[made.identifier()] = made


def expand(model: ir.Model) -> None:
    """Replace every `optc` operator by its decomposition: what is left is plain standard ONNX."""
    attach(model)
    if model.functions:
        onnx_ir.passes.common.InlinePass()(model)
        model.functions.clear()
    model.opset_imports.pop(ir.DOMAIN, None)
