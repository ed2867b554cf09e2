"""Feeds out of columns that are called as the model's inputs are."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from optc.compiler import ir
from optc.compiler.measure.data.part import check_array
from optc.compiler.measure.data.rows import Held, check_numbers
from optc.compiler.numerics import Array


class Columns:
    """A column an input."""

    identity = b""

    def __init__(self, model: ir.Model) -> None:
        self._inputs = {v.name or "": v for v in model.graph.inputs}
        self.columns = tuple(self._inputs)

    def feeds(self, held: Held, rows: NDArray[np.int64], place: str) -> dict[str, Array]:
        """Raises UserError for columns that cannot be their inputs, and for NaN, with its row."""
        feeds = {}
        for name, value in self._inputs.items():
            array = fitted(value, held[name])
            check_array(value, array.dtype, array.shape, f"{place}, column '{name}'", skip=1)
            check_numbers(name, array, rows, place)
            feeds[name] = array
        return feeds


def fitted(value: ir.Value, array: Array) -> Array:
    """An array [rows, ...] as an input takes it, where that is beyond doubt: else it comes back as it is.

    Numbers become wider ones of the same kind. A row that is flat, or differs only by axes of size 1, is reshaped.
    """
    wanted = value.dtype.numpy() if value.dtype is not None else array.dtype
    kinds = {"i": "i", "u": "iu", "f": "f"}
    if array.dtype != wanted and wanted.kind in kinds.get(array.dtype.kind, "") and np.can_cast(array.dtype, wanted, "safe"):
        array = array.astype(wanted)
    if value.shape is None or len(value.shape) == array.ndim:
        return array
    dims, own = list(value.shape[1:]), array.shape[1:]
    known = [d for d in dims if isinstance(d, int)]
    if len(known) == len(dims) and len(own) <= 1 and math.prod(known) == math.prod(own):
        return array.reshape(len(array), *known)
    longer = [n for n in own if n != 1]
    if len(longer) != sum(d != 1 for d in dims):
        return array
    sizes = iter(longer)
    return array.reshape(len(array), *(1 if d == 1 else next(sizes) for d in dims))
