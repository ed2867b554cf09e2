"""Weights that take few values are stored as such, and unpacked once when a bundle is loaded. Lossless: what is stored gives back
the same numbers, so int8 and codebook weights keep their size on disk whatever layout the kernels packed them into."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from optc.compiler.stored import Stored

Array = npt.NDArray[Any]

_FEW = 8  # elements along each axis of a channel that are looked at first
SMALL = 4096
"""Weights with fewer elements are stored as they are."""
ALIGNMENT = 64
"""Kernels load whole vectors from weights: bytes."""
INT8, CODEBOOK = "int8", "codebook"


def compact(weights: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, str]]:
    """What to store in place of float32 weights, and the form of each weight that is stored in another."""
    stored: dict[str, Array] = {}
    forms: dict[str, str] = {}
    for name, array in weights.items():
        found = _compacted(array) if array.dtype == np.float32 and array.size >= SMALL else None
        if found is None:
            stored[name] = array
        else:
            forms[name], stored[f"{name}.codes"], stored[f"{name}.values"] = found
    return stored, forms


def expand(stored: Mapping[str, Array], forms: Mapping[str, str], name: str) -> Array:
    """The weight of a name, as it was. What is unpacked starts at a multiple of ALIGNMENT, as memory-mapped weights do. Engines
    that load from one bundle have what they unpack from the same bytes together."""
    if name not in forms:
        return stored[name]
    form, codes, values = forms[name], f"{name}.codes", f"{name}.values"
    if isinstance(stored, Stored):
        return stored.once(form, (codes, values), lambda: _unpacked(stored[codes], stored[values], form))
    return _unpacked(stored[codes], stored[values], form)


def aligned(shape: Sequence[int], dtype: npt.DTypeLike = np.float32) -> Array:
    """An array that starts at a multiple of ALIGNMENT, to be filled."""
    size = np.dtype(dtype).itemsize * math.prod(shape)
    raw = np.empty(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size].view(dtype).reshape(shape)


def aligned_copy(array: Array) -> Array:
    """The array as it lies in a bundle, which is mapped from the start of a page."""
    copy = aligned(array.shape, array.dtype)
    copy[...] = array
    return copy


def _unpacked(codes: Array, values: Array, form: str) -> Array:
    whole = aligned(codes.shape)
    if form == INT8:
        np.multiply(codes, values, out=whole)
    else:
        np.take(values, codes, out=whole)
    return whole


def _compacted(array: Array) -> tuple[str, Array, Array] | None:
    """int8 with a scale for each channel, else codes of at most 256 values, where that gives back the same numbers."""
    for axes in ((array.ndim - 1,), (0, array.ndim - 1)):  # the channels of a packed weight: in vectors, and blocks of vectors
        found = _int8(array, axes)
        if found is not None:
            return INT8, *found
    sample = np.unique(array.ravel()[: 4 * SMALL])  # an ordinary weight is told by its first elements
    values, codes = np.unique(array, return_inverse=True) if sample.size <= 256 else (sample, sample)
    if values.size > 256:
        return None
    return CODEBOOK, codes.reshape(array.shape).astype(np.uint8), values


def _int8(array: Array, channels: tuple[int, ...]) -> tuple[Array, Array] | None:
    """Integers and a scale a channel, as quantize-weights makes them: the largest element of a channel is 127 scales."""
    others = tuple(axis for axis in range(array.ndim) if axis not in channels)
    largest = np.maximum(np.max(array, axis=others, keepdims=True), -np.min(array, axis=others, keepdims=True))
    estimate = np.where(largest > 0, largest, np.float32(127)) / np.float32(127)
    scale, left = estimate, np.ones(estimate.shape, bool)
    candidates = (estimate, np.nextafter(estimate, np.float32(0)), np.nextafter(estimate, np.float32(np.inf)))
    few = array[tuple(slice(_FEW if axis in others else None) for axis in range(array.ndim))]
    if not any(_integers(few, candidate, others).any() for candidate in candidates):
        return None  # an ordinary weight is told by its first elements
    for candidate in candidates:
        exact = _integers(array, candidate, others)
        scale, left = np.where(left & exact, candidate, scale), left & ~exact
        if not left.any():
            return np.rint(array / scale).astype(np.int8), scale
        if left.all():
            return None  # not one channel is made of integers: an ordinary weight
    return None


def _integers(array: Array, scale: Array, axes: tuple[int, ...]) -> Array:
    """For each channel, whether all its elements are integers times its scale."""
    exact: Array = np.all(np.rint(array / scale) * scale == array, axis=axes, keepdims=True)
    return exact
