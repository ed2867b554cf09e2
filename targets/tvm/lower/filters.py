"""Interpolation filters: weights of the elements around a coordinate, as ONNX's Resize has them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm import tirx

_REAL = "float32"


@dataclass(frozen=True)
class Filter:
    """Taps `first`, `first` + 1, ... from the coordinate's floor on; `weight` is a function of the distance to the coordinate."""

    first: Any  # int, or an integer expression
    taps: Any
    weight: Callable[[Any], Any]


SUPPORT = {"linear": 1, "cubic": 2}
"""How far from the coordinate a filter reaches, in elements."""


def of(mode: str, coefficient: float, scale: float) -> Filter:
    """The linear or cubic filter (Keys, with `coefficient`), stretched by 1 / `scale` where that is below 1 (antialias)."""
    support = SUPPORT[mode]
    first = math.floor(-support / scale) + 1
    shape = linear if mode == "linear" else cubic(coefficient)
    return Filter(first, 2 * support - 2 * first if scale < 1 else 2 * support, lambda d: shape(d * tirx.const(scale, _REAL)))


def stretched(mode: str, coefficient: float, scale: Any, reach: Any) -> Filter:
    """The same by a scale that is seen at run time, stretched where it is below 1; `reach` is ceil(support / scale)."""
    shape = linear if mode == "linear" else cubic(coefficient)
    return Filter(1 - reach, 2 * reach, lambda d: shape(d * tirx.min(scale, tirx.const(1, _REAL))))


def linear(distance: Any) -> Any:
    return tirx.max(tirx.const(1, _REAL) - tirx.abs(distance), tirx.const(0, _REAL))


def cubic(coefficient: float) -> Callable[[Any], Any]:
    """Keys, Cubic convolution interpolation for digital image processing (1981)."""

    def weight(distance: Any) -> Any:
        d = tirx.abs(distance)
        a, one = tirx.const(coefficient, d.ty.dtype), tirx.const(1, d.ty.dtype)
        near = ((a + one + one) * d - (a + one + one + one)) * d * d + one
        far = ((a * d - a * tirx.const(5, d.ty.dtype)) * d + a * tirx.const(8, d.ty.dtype)) * d - a * tirx.const(4, d.ty.dtype)
        return tirx.Select(d <= one, near, tirx.Select(d < tirx.const(2, d.ty.dtype), far, tirx.const(0, d.ty.dtype)))

    return weight
