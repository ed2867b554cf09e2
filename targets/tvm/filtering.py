"""Winograd's minimal filtering: transforms that make 3x3 convolutions products with 2.25 or 4 times fewer multiplications.

Lavin and Gray, Fast Algorithms for Convolutional Neural Networks (CVPR 2016). The transforms are those of Toom and Cook, for
points that keep rounding small (Barabasz et al., Error Analysis and Improving the Accuracy of Winograd Convolution, 2020).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from optc.targets.tvm.compact import aligned

Array = npt.NDArray[Any]

KERNEL = 3
SIZES = (4, 2)
"""Results along a side of a tile: the more, the fewer multiplications and the larger the weights."""
_POINTS = {2: (0.0, 1.0, -1.0), 4: (0.0, 0.5, -0.5, 1.5, -1.5)}


@dataclass(frozen=True)
class Transforms:
    """Y = A (G g Gᵀ · B d Bᵀ) Aᵀ, the inner product element by element: `output` is A, `kernel` G, `input` B; float64."""

    output: Array
    kernel: Array
    input: Array


def side(size: int) -> int:
    """Elements along a side of the tile that a tile of results comes of."""
    return size + KERNEL - 1


@cache
def transforms(size: int) -> Transforms:
    """For tiles of size x size results."""
    points = _POINTS[size]
    count = side(size)
    output, kernel, inputs = (np.zeros(shape) for shape in ((size, count), (count, KERNEL), (count, count)))
    for j, point in enumerate(points):
        others = [p for p in points if p != point]
        output[:, j] = [point**i for i in range(size)]
        kernel[j] = [point**i / np.prod([point - p for p in others]) for i in range(KERNEL)]
        inputs[j, : count - 1] = np.poly(others)[::-1]
    output[-1, -1] = kernel[-1, -1] = 1.0
    inputs[-1] = np.poly(points)[::-1]
    return Transforms(output, kernel, inputs)


def filtered(weight: Array, size: int) -> Array:
    """The weights of the products, [side², ...], of those of a convolution, [9, ...]: G g Gᵀ."""
    turn = transforms(size).kernel
    whole = aligned((len(turn) ** 2, *weight.shape[1:]))
    np.matmul(np.kron(turn, turn).astype(np.float32), weight.reshape(len(weight), -1), out=whole.reshape(len(whole), -1))
    return whole
