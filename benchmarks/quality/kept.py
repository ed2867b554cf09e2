"""Derived data that is kept: made once for a name, version, count and seed, then read from the zoo's cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks import zoo
from optc.compiler import atomic
from optc.compiler.measure.data import arrays
from optc.compiler.numerics import Array


def folder() -> Path:
    """Where derived data are kept."""
    return zoo.cache_folder() / "quality"


def kept(name: str, version: int, count: int, seed: int, make: Callable[[], dict[str, Array]]) -> dict[str, Array]:
    """What `make` gives, mapped from the file NAME-vVERSION-COUNT-SEED.npz. `version` rises when `make` changes."""
    file = folder() / f"{name}-v{version}-{count}-{seed}.npz"
    if not file.is_file():
        made = make()
        with atomic.writing(file) as stream:
            np.savez(stream, **made)  # type: ignore[arg-type]  # the stub takes `allow_pickle` for one of the arrays
    return arrays.read(file)
