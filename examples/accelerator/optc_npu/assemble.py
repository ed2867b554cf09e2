"""The assembler: a region of products becomes layers of instructions, and weights in tiles of 16x16.

A layer's code makes 16 rows of its output (pixels, or rows of a matrix); it is repeated for all of them. Its instructions:

    ["clear"]                  the accumulators, int32 [16, 16], become zero
    ["load", row, column, k]   16 inputs, of the 16 channels from k on, at a place of the window, less the zero point
    ["multiply", tile, n]      adds what was loaded times a tile of weights less the zero points of 16 output channels from n on
    ["bias", n]                adds the biases of these channels
    ["requantize", n]          sums times scales, rounded half to even, plus the zero point, saturated to the output's type
    ["store", n]               the accumulators become these channels of the output
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from optc.compiler import ir
from optc.compiler.numerics import Array
from optc.compiler.target import Artifact
from optc_npu.product import Product
from optc_npu.simulator import TILE


def assemble(model: ir.Model) -> Artifact:
    """`program` has the layers in order; `weights` of layer i are named `i.weights` int8 [tiles, 16, 16] and so on."""
    layers, weights = list[dict[str, Any]](), dict[str, Array]()
    for node in model.graph:
        if ir.standard(node, "Constant"):
            continue
        product = Product.of(node)
        layers.append(
            {
                "input": _name(node.inputs[0]),
                "output": _name(node.outputs[0]),
                "image": product.image,
                "zero": product.zero,
                "window": list(product.weights.shape[:2]),
                "channels": list(product.weights.shape[2:]),
                "strides": list(product.strides),
                "dilations": list(product.dilations),
                "pads": list(product.pads),
                "output_type": "int32" if product.output_zero is None else str(product.output_zero.dtype),
                "output_zero": 0 if product.output_zero is None else int(product.output_zero[0]),
                "code": list(_code(product)),
            }
        )
        arrays = {
            "weights": tiles(product.weights),
            "zeros": product.weight_zeros,
            "bias": product.bias,
            "scales": product.scales,
        }
        weights.update({f"{len(layers) - 1}.{name}": array for name, array in arrays.items() if array is not None})
    given = {_name(v): array for v in model.graph.outputs if (array := ir.const(v)) is not None}
    program = {"layers": layers, "outputs": [_name(v) for v in model.graph.outputs], "constants": sorted(given)}
    weights.update({f"constant.{name}": array for name, array in given.items()})
    return Artifact(weights=weights, program=program)


def tiles(weights: Array) -> Array:
    """[rows, columns, inputs, outputs] as [tiles, 16, 16]: the tiles of 16 outputs follow one another."""
    _, _, _, outputs = weights.shape
    return weights.reshape(-1, TILE, outputs // TILE, TILE).transpose(2, 0, 1, 3).reshape(-1, TILE, TILE)


def _code(product: Product) -> Iterator[list[Any]]:
    rows, columns, inputs, outputs = product.weights.shape
    tile = 0
    for n in range(0, outputs, TILE):
        yield ["clear"]
        for place in ([r, c, k] for r in range(rows) for c in range(columns) for k in range(0, inputs, TILE)):
            yield ["load", *place]
            yield ["multiply", tile, n]
            tile += 1
        if product.bias is not None:
            yield ["bias", n]
        if product.scales is not None:
            yield ["requantize", n]
        yield ["store", n]


def _name(value: ir.Value | None) -> str:
    return "" if value is None else value.name or ""
