"""Weights of few values are stored small and come back as they were."""

from __future__ import annotations

import numpy as np
import pytest

from optc.compiler.numerics import Array
from optc.targets.tvm.compact import ALIGNMENT, compact, expand

RNG = np.random.default_rng(0)


def quantized(w: Array, channels: tuple[int, ...]) -> Array:
    """As quantize-weights makes them: int8, with a scale a channel of which the largest element is 127."""
    others = tuple(a for a in range(w.ndim) if a not in channels)
    largest = np.max(np.abs(w), axis=others, keepdims=True)
    scale = np.where(largest > 0, largest, np.float32(127)) / np.float32(127)
    return np.rint(w / scale).astype(np.int8) * scale


def normal(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def stored_bytes(array: Array) -> int:
    stored, forms = compact({"w": array})
    back = expand(stored, forms, "w")
    assert np.array_equal(back, array) and back.dtype == array.dtype and back.ctypes.data % ALIGNMENT == 0
    return sum(a.nbytes for a in stored.values())


@pytest.mark.parametrize(("shape", "channels"), [((256, 64), (1,)), ((8, 3, 3, 64, 16), (0, 4)), ((5, 5, 512), (2,))])
def test_int8_weights_stay_int8_in_any_packing(shape: tuple[int, ...], channels: tuple[int, ...]) -> None:
    array = quantized(normal(*shape), channels)
    assert stored_bytes(array) < 0.3 * array.nbytes


def test_a_channel_of_zeros_and_padding_stay() -> None:
    w = normal(8, 3, 3, 64, 16)
    w[-1, ..., 9:] = 0
    w[:, :, :, 60:] = 0
    assert stored_bytes(quantized(w, (0, 4))) < 0.3 * w.nbytes


def test_codebook_weights_are_codes_and_values() -> None:
    array = normal(32)[RNG.integers(0, 32, (8, 3, 3, 64, 16))]
    assert stored_bytes(array) < 0.3 * array.nbytes


@pytest.mark.parametrize("array", [normal(128, 64), np.ones(16, np.float32), np.arange(8192)])
def test_other_weights_are_stored_as_they_are(array: Array) -> None:
    stored, forms = compact({"w": array})
    assert forms == {} and stored["w"] is array
