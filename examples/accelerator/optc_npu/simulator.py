"""The accelerator, as far as results go: it executes the instructions of assemble.py one by one, in NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from optc.compiler.diagnostics import UserError
from optc.compiler.numerics import Array

TILE = 16


class Simulator:
    """The engine of a program. Each call has a state of its own, so that many threads may call."""

    def __init__(self, program: Mapping[str, Any], weights: Mapping[str, Array]) -> None:
        self._layers, self._outputs = list(program["layers"]), list(program["outputs"])
        names = ("weights", "zeros", "bias", "scales")
        self._weights = [{n: weights[k] for n in names if (k := f"{i}.{n}") in weights} for i in range(len(self._layers))]
        self._constants = {name: weights[f"constant.{name}"] for name in program["constants"]}

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs, for any size of batch and image."""
        values = {**feeds, **self._constants}
        for layer, weights in zip(self._layers, self._weights, strict=True):
            values[layer["output"]] = _layer(layer, weights, values[layer["input"]])
        foreign = self._constants.keys() | feeds.keys()
        return {name: values[name].copy() if name in foreign else values[name] for name in self._outputs}


def _layer(layer: Mapping[str, Any], weights: Mapping[str, Array], x: Array) -> Array:
    """One layer on all of x. A matrix product sees its rows as images of one pixel."""
    inputs, outputs = layer["channels"]
    if (layer["image"] and x.ndim != 4) or x.shape[1 if layer["image"] else -1] != inputs:
        wanted = f"[batch, {inputs}, rows, columns]" if layer["image"] else f"[..., {inputs}]"
        raise UserError(f"'{layer['input']}' has shape {list(x.shape)}, expected {wanted}")
    pixels = x.transpose(0, 2, 3, 1) if layer["image"] else x.reshape(-1, 1, 1, inputs)
    top, left, bottom, right = layer["pads"]
    edges = ((0, 0), (top, bottom), (left, right), (0, 0))
    pixels = np.pad(pixels, edges, constant_values=np.asarray(layer["zero"], x.dtype))
    spans = (d * (w - 1) + 1 for d, w in zip(layer["dilations"], layer["window"], strict=True))
    sizes = [max(0, (n - span) // s + 1) for n, span, s in zip(pixels.shape[1:3], spans, layer["strides"], strict=True)]
    shape = (len(pixels), *sizes)
    y = np.empty((int(np.prod(shape)), outputs), layer["output_type"])
    for first in range(0, len(y), TILE):
        rows = np.arange(first, min(first + TILE, len(y)))
        core = Core(layer, weights, pixels, np.unravel_index(rows, shape), y[rows[0] : rows[-1] + 1])
        for operation, *operands in layer["code"]:
            getattr(core, operation)(*operands)
    if layer["image"]:
        return np.ascontiguousarray(y.reshape(*shape, outputs).transpose(0, 3, 1, 2))
    return y.reshape(*x.shape[:-1], outputs)


class Core:
    """The registers of the accelerator while up to 16 rows of an output are made; each instruction is a method."""

    def __init__(
        self, layer: Mapping[str, Any], weights: Mapping[str, Array], pixels: Array, rows: tuple[Array, ...], output: Array
    ) -> None:
        self._layer, self._weights, self._pixels, self._output = layer, weights, pixels, output
        self._image, *places = rows
        self._corner = [place * stride for place, stride in zip(places, layer["strides"], strict=True)]
        self._loaded, self._sums = np.zeros(0), np.zeros(0)

    def clear(self) -> None:
        self._sums = np.zeros((len(self._output), TILE), np.int32)

    def load(self, row: int, column: int, k: int) -> None:
        (top, left), (down, across) = self._corner, self._layer["dilations"]
        bytes_ = self._pixels[self._image, top + row * down, left + column * across, k : k + TILE]
        self._loaded = bytes_.astype(np.int32) - self._layer["zero"]

    def multiply(self, tile: int, n: int) -> None:
        weights = self._weights["weights"][tile].astype(np.int32) - self._weights["zeros"][n : n + TILE]
        self._sums = accumulate(self._sums, self._loaded @ weights)

    def bias(self, n: int) -> None:
        self._sums = accumulate(self._sums, self._weights["bias"][n : n + TILE])

    def requantize(self, n: int) -> None:
        limits = np.iinfo(self._layer["output_type"])
        scaled = np.rint(self._sums.astype(np.float32) * self._weights["scales"][n : n + TILE])
        zero = self._layer["output_zero"]
        self._sums = (np.clip(scaled, limits.min - zero, limits.max - zero) + zero).astype(np.int32)

    def store(self, n: int) -> None:
        self._output[:, n : n + TILE] = self._sums


def accumulate(sums: Array, more: Array) -> Array:
    """The adder behind the multipliers: 32 bits, which wrap."""
    return sums + more
