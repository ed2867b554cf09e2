"""3x3 convolutions by Winograd's filtering: what its three kernels compute, and when they take less time than a direct one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import te, tirx

from optc.targets.tvm.compute.kernel import Array, Kernel, pad_last, round_up
from optc.targets.tvm.compute.tile import choose
from optc.targets.tvm.filtering import KERNEL, side, transforms
from optc.targets.tvm.machine import Machine

_RATE, _BYTES = 50e9, 30e9
"""Multiply-adds a second and bytes a second of one thread, about: only what one takes beside the other matters."""


@dataclass(frozen=True)
class Winograd:
    """A 3x3 convolution of stride 1 in three kernels: tiles transformed, products, results transformed back.

    x, [N, H, W, C] (`shape`), has known extents. `size` x `size` of the results, `extents` in all, come of `side` x `side` of its
    elements; `before` are the zeros above it and on its left.
    """

    size: int
    shape: tuple[int, int, int, int]
    outputs: int
    extents: tuple[int, int]
    before: tuple[int, int]

    @property
    def side(self) -> int:
        return side(self.size)

    @property
    def rows(self) -> int:
        return -(-self.extents[0] // self.size)

    @property
    def columns(self) -> int:
        return -(-self.extents[1] // self.size)

    @property
    def tiles(self) -> int:
        return self.shape[0] * self.rows * self.columns

    def high(self, machine: Machine) -> int:
        """The tiles, filled up to whole tiles of registers."""
        return int(round_up(self.tiles, choose(machine, self.tiles, self.outputs).mr))

    def direct(self) -> float:
        """Seconds of a direct convolution."""
        return self.shape[0] * math.prod(self.extents) * KERNEL**2 * self.shape[3] * self.outputs / _RATE

    def seconds(self, machine: Machine) -> float:
        """Seconds that it takes, about: the products, or reading their weights; and three passes over what lies between them."""
        inner, positions = self.shape[3], self.side**2
        weights = 4 * positions * inner * self.outputs
        between = 4 * positions * self.tiles * (inner + self.outputs) * 2 + 4 * math.prod(self.shape)
        return max(positions * self.high(machine) * inner * self.outputs / _RATE, weights / _BYTES) + between / _BYTES

    def products(self, machine: Machine, weight: Array) -> Kernel:
        """V[side², tiles, C] · U[side², C, O]. The weights are packed [9, O / width, C, width], to be `filtered` into U."""
        outer, inner = weight.shape[:2]
        tile = choose(machine, self.tiles, outer)
        taps = weight.transpose(2, 3, 1, 0).reshape(-1, inner, outer)
        packed = pad_last(taps, round_up(outer, tile.width)).reshape(len(taps), inner, -1, tile.width).transpose(0, 2, 1, 3)
        high, count = round_up(self.tiles, tile.mr), self.side**2

        def compute(v: Any, w: Any) -> Any:
            k = te.reduce_axis((0, inner), name="k")
            acc = te.compute(
                (count, high, w.shape[1] * tile.width),
                lambda s, p, j: te.sum(v[s, p, k] * w[s, j // tile.width, k, j % tile.width], axis=k),
                name="acc",
                attrs=dict(tile.attributes("tile", 1)),
            )
            return te.compute((count, self.tiles, outer), lambda *i: acc[i], name="out")

        return Kernel((np.ascontiguousarray(packed),), compute, depth=inner)

    def results(self, m: Any, bias: Any = None) -> Any:
        """[N, H, W, O] of M [side², tiles, O]."""
        n, span, a = self.shape[0], self.side, transforms(self.size).output

        def half(b: Any, r: Any, c: Any, i: Any, q: Any, o: Any) -> Any:
            tile = (b * self.rows + r) * self.columns + c
            return _chosen(i, [combine(row, [m[p * span + q, tile, o] for p in range(span)]) for row in a])

        shape = (n, self.rows, self.columns, self.size, span, self.outputs)
        turned = te.compute(shape, half, name="half", attrs={"optc.kind": "winograd", "optc.size": self.size})

        def element(b: Any, h: Any, w: Any, o: Any) -> Any:
            place = (b, h // self.size, w // self.size, h % self.size)
            value = _chosen(w % self.size, [combine(row, [turned[(*place, q, o)] for q in range(span)]) for row in a])
            return value if bias is None else value + bias[o]

        return te.compute((n, *self.extents, self.outputs), element, name="out")


def combine(coefficients: Sequence[float], terms: Sequence[Any]) -> Any:
    """The terms times their coefficients, those that are 0 left out."""
    total: Any = None
    for coefficient, term in zip(coefficients, terms, strict=True):
        if coefficient:
            value = term if abs(coefficient) == 1 else term * tirx.const(abs(coefficient), "float32")
            if total is None:
                total = value if coefficient > 0 else tirx.const(0, "float32") - value
            else:
                total = total + value if coefficient > 0 else total - value
    return total


def _chosen(index: Any, values: Sequence[Any]) -> Any:
    """The value of that number; once the loop over the index is unrolled, nothing of the others is left."""
    result = values[-1]
    for i, value in reversed(list(enumerate(values[:-1]))):
        result = tirx.Select(index == i, value, result)
    return result
