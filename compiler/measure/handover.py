"""Feeds handed to another process: an .npz file that keeps every dtype a model may have."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from optc.compiler.measure.peers import Feeds
from optc.compiler.numerics import Array

_STRING = "string"


def write(path: Path, feeds: Feeds) -> None:
    """Write feeds to an .npz file. Arrays are numbered: an input may have a name that no entry can have."""
    kinds = [_STRING if array.dtype.kind in "OU" else array.dtype.name for array in feeds.values()]
    arrays = [_plain(array, kind) for array, kind in zip(feeds.values(), kinds, strict=True)]
    np.savez(path, np.array(list(feeds), str), np.array(kinds, str), *arrays)


def read(path: Path) -> dict[str, Array]:
    """The feeds in a file that `write` wrote."""
    with np.load(path, allow_pickle=False) as held:
        names, kinds, *arrays = (held[f"arr_{i}"] for i in range(len(held.files)))
    return {str(name): _restored(array, str(kind)) for name, kind, array in zip(names, kinds, arrays, strict=True)}


def _plain(array: Array, kind: str) -> Array:
    """What an .npy file can hold: strings of one length, and bytes where numpy does not know the dtype (bfloat16, int4)."""
    if kind == _STRING:
        return array.astype(str)
    return array if array.dtype.isbuiltin == 1 else array.view(f"u{array.dtype.itemsize}")


def _restored(array: Array, kind: str) -> Array:
    if kind == _STRING:
        return array.astype(object)
    if array.dtype.name == kind:
        return array
    from optc.compiler import manifest  # 4 MB, which most processes whose peak is measured do without

    return array.view(manifest.dtype(kind))
