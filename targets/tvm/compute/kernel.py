"""What a kernel is: weights packed at compile time and the tensor expression that reads them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Extent = Any  # int, or a tirx expression for a symbolic dimension
Array = NDArray[Any]


@dataclass(frozen=True)
class Kernel:
    """`compute(*activations, *weights)` takes te tensors (the weights have the packed arrays' shapes) and returns the result's.

    A kernel with windows has `extents`: the output's height and width for an input's. Its `compute` takes `extents=`, variables
    that stand for them: long expressions of the input's sizes would make index arithmetic slow, and LLVM take minutes over it.
    `depth`: multiply-adds that an element of the result needs, what is padded not counted; 0 where it is no product.
    """

    weights: tuple[Array, ...]
    compute: Callable[..., Any]
    extents: Callable[[Sequence[Extent]], list[Extent]] | None = None
    depth: int = 0


def static(extent: Extent) -> int | None:
    """The extent as an int, None when it is known only at run time."""
    if isinstance(extent, int):
        return extent
    value = getattr(extent, "value", None)
    return value if isinstance(value, int) else None


def simple(extent: Extent) -> Extent:
    """A constant expression as an int; tile choices ask for ints."""
    known = static(extent)
    return extent if known is None else known


def round_up(extent: Extent, multiple: int) -> Extent:
    """The smallest multiple of `multiple` that is at least `extent`."""
    return (extent + multiple - 1) // multiple * multiple


def pad_last(array: Array, size: int) -> Array:
    """The array with zeros appended to its last axis up to `size` elements."""
    return np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, size - array.shape[-1])])


def output_extent(extent: Extent, kernel: int, stride: int, dilation: int, before: int, after: int) -> Extent:
    """Output extent of a sliding window, as ONNX defines it for floor rounding."""
    return (extent + before + after - ((kernel - 1) * dilation + 1)) // stride + 1


def pair(values: Sequence[int]) -> tuple[int, int]:
    """Two ints, as heights and widths come."""
    first, second = values
    return int(first), int(second)
