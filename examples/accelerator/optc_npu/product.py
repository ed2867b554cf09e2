"""What the accelerator can run: a node read as one product of 8-bit integers, or the reason why it is none.

A matrix product is a convolution of 1x1 pixels; so both are one thing from here on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optc.compiler import ir
from optc.compiler.numerics import Array
from optc_npu.simulator import TILE

_INTEGER = ("input", "weights", "zero point", "zero point of its weights")
_LINEAR = ("input", "scale", "zero point", "weights", "scale of its weights", "zero point of its weights")
_QUANTIZED = (*_LINEAR, "scale of its output", "zero point of its output", "bias")
OPERANDS = {"ConvInteger": _INTEGER, "MatMulInteger": _INTEGER, "QLinearConv": _QUANTIZED, "QLinearMatMul": _QUANTIZED}


class RefusedError(Exception):
    """Why a node cannot run on the accelerator, in words for people."""


@dataclass(frozen=True)
class Product:
    """Weights int8 [rows, columns, inputs, outputs] with one zero point int32 an output; `scales` float32 [outputs], `bias`
    int32 [outputs] and the output's zero point say how sums become 8 bits again; without `scales` the sums are the output."""

    image: bool  # a convolution of [batch, channels, rows, columns]; else a product of [..., inputs]
    zero: int
    weights: Array
    weight_zeros: Array
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]
    bias: Array | None = None
    scales: Array | None = None
    output_zero: Array | None = None  # its dtype is the output's

    @staticmethod
    def of(node: ir.Node) -> Product:
        """Raises RefusedError."""
        if not ir.standard(node, *OPERANDS):
            raise RefusedError(f"the accelerator runs {', '.join(OPERANDS)} alone")
        given = {what: v for what, v in zip(OPERANDS[node.op_type], node.inputs, strict=False) if v is not None}
        held = {what: _constant(what, value) for what, value in given.items() if what != "input"}
        image, weights = node.op_type in ("ConvInteger", "QLinearConv"), held["weights"]
        if weights.ndim != (4 if image else 2):
            raise RefusedError(f"its weights have {weights.ndim} dimensions, not {4 if image else 2}")
        if (groups := ir.attribute(node, "group", 1)) != 1:
            raise RefusedError(f"it has {groups} groups, not one")
        weights, shift = _signed(weights.transpose(2, 3, 1, 0) if image else weights[None, None])
        for count, what in zip(weights.shape[2:], ("input", "output"), strict=True):
            if count % TILE or not count:
                plural = "channel is" if count == 1 else "channels are"
                raise RefusedError(f"its {count} {what} {plural} not a multiple of {TILE}")
        outputs = weights.shape[3]
        zeros = _each(held.get("zero point of its weights", np.zeros(1)), outputs).astype(np.int32) - shift
        window = _window(node) if image else ((1, 1), (1, 1), (0, 0, 0, 0))
        zero = int(_eight_bits(_one("zero point", held.get("zero point", np.zeros(1, np.uint8))), "input")[0])
        if "scale" not in held:
            return Product(image, zero, weights, zeros, *window)
        scale, by = (_one(what, held[what]) for what in ("scale", "scale of its output"))
        scales = _each(scale * held["scale of its weights"] / by, outputs)  # in this order, as onnxruntime rounds
        if scales.dtype != np.float32:
            raise RefusedError(f"its scales are {scales.dtype}")
        output_zero = _one("zero point of its output", held["zero point of its output"])
        return Product(image, zero, weights, zeros, *window, held.get("bias"), scales, _eight_bits(output_zero, "output"))


def _constant(what: str, value: ir.Value) -> Array:
    array = ir.const(value)
    if array is None:
        raise RefusedError(f"its {what} {'are' if what == 'weights' else 'is'} computed at run time")
    return array


def _one(what: str, array: Array) -> Array:
    if array.size != 1:
        raise RefusedError(f"its {what} has {array.size} values, not one")
    return array.reshape(1)


def _each(array: Array, outputs: int) -> Array:
    """One number an output channel; one number stands for all."""
    if array.size not in (1, outputs):
        raise RefusedError(f"its weights have {array.size} scales or zero points for {outputs} output channels")
    return np.broadcast_to(array.reshape(-1), outputs)


def _eight_bits(array: Array, what: str) -> Array:
    if array.dtype not in (np.int8, np.uint8):
        raise RefusedError(f"its {what} is {array.dtype}, not int8 or uint8")
    return array


def _signed(weights: Array) -> tuple[Array, int]:
    """Weights as int8, and by how much they and their zero point moved."""
    if _eight_bits(weights, "weights' type").dtype == np.int8:
        return weights, 0
    return (weights ^ np.uint8(128)).view(np.int8), 128


def _window(node: ir.Node) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    auto = ir.attribute(node, "auto_pad", "NOTSET")
    if auto not in ("NOTSET", "VALID"):
        raise RefusedError(f"its padding depends on the size of its input (auto_pad = {auto})")
    pads = ir.attribute(node, "pads", (0, 0, 0, 0)) if auto == "NOTSET" else (0, 0, 0, 0)
    return ir.attribute(node, "strides", (1, 1)), ir.attribute(node, "dilations", (1, 1)), pads
