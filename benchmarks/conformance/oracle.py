"""Outputs against the expected ones of a case, with its own tolerances, as ONNX's own runner compares them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

BFLOAT16_RTOL = 2**-6
"""The runner's: two units in the last place of bfloat16."""


def difference(expected: Sequence[Any], actual: Sequence[Any], rtol: float, atol: float) -> str:
    """What is wrong with outputs, '' where nothing is. No magnitudes: those differ between processors."""
    if len(expected) != len(actual):
        return f"{len(actual)} outputs instead of {len(expected)}"
    for i, (wanted, found) in enumerate(zip(expected, actual, strict=True)):
        problem = _one(wanted, found, rtol, atol)
        if problem:
            return f"output {i}: {problem}"
    return ""


def _one(wanted: Any, found: Any, rtol: float, atol: float) -> str:
    if wanted is None or found is None:
        return "" if wanted is found else "present instead of absent" if wanted is None else "absent"
    if isinstance(wanted, list) or isinstance(found, list | tuple):
        if not isinstance(wanted, list) or not isinstance(found, list | tuple):
            return "a sequence and a tensor"
        if len(wanted) != len(found):
            return f"{len(found)} elements instead of {len(wanted)}"
        return next((p for w, f in zip(wanted, found, strict=True) if (p := _one(w, f, rtol, atol))), "")
    wanted, found = np.asarray(wanted), np.asarray(found)
    if wanted.shape != found.shape:
        return f"shape {list(found.shape)} instead of {list(wanted.shape)}"
    if wanted.dtype.kind in "OUS":
        return "" if np.array_equal(wanted.astype(str), found.astype(str)) else "wrong strings"
    if wanted.dtype != found.dtype:
        return f"dtype {found.dtype} instead of {wanted.dtype}"
    if wanted.dtype.name == "bfloat16":
        rtol = max(rtol, BFLOAT16_RTOL)
    if not wanted.dtype.isbuiltin:  # NumPy promotes none of ml_dtypes
        wanted, found = wanted.astype(np.float32), found.astype(np.float32)
    return "" if np.allclose(found, wanted, rtol, atol, equal_nan=True) else "wrong values"
