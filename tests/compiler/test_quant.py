"""Quantization is read off Q/DQ nodes and printed."""

from __future__ import annotations

from optc.compiler import ir, printer
from optc.compiler.quant import quant_type

MODEL = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,2] x) => (float[N,2] y)
<float s = {0.5}, uint8 z = {128}, int8[2,2] w = {1, 2, 3, 4}, float[2] ws = {0.1, 0.2}>
{
  q = QuantizeLinear (x, s, z)
  d = DequantizeLinear (q, s, z)
  wd = DequantizeLinear <axis = 0> (w, ws)
  y = MatMul (d, wd)
}"""


def test_one_scale_a_tensor_and_one_a_channel() -> None:
    values = {v.name: v for n in printer.parse(MODEL).graph for v in n.outputs}
    activation, weight = quant_type(values["d"]), quant_type(values["wd"])
    assert activation is not None and (activation.dtype, activation.axis, str(activation)) == (
        ir.DataType.UINT8,
        None,
        "uint8·0.5 zero 128",
    )
    assert weight is not None and (weight.dtype, weight.axis, weight.scale.tolist()) == (
        ir.DataType.INT8,
        0,
        weight.scale.tolist(),
    )
    assert quant_type(values["y"]) is None


def test_it_is_printed() -> None:
    text = printer.text(printer.parse(MODEL))
    assert "# float[N,2] (uint8·0.5 zero 128)" in text and "# float[2,2] (int8 per channel of axis 0)" in text
