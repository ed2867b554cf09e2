"""The weights of a program: parameters of its `main`, one for equal contents."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from tvm import relax

from optc.compiler import ir
from optc.targets.tvm.filtering import side
from optc.targets.tvm.lower import types


class Parameters:
    """`arrays` by name, in the order of the parameters; `filters`: those that loading transforms for Winograd's filtering, with
    the size of its tiles."""

    def __init__(self) -> None:
        self.arrays: dict[str, ir.Array] = {}
        self.filters: dict[str, int] = {}
        self._variables: dict[str, Any] = {}  # by digest

    def variables(self) -> list[Any]:
        return list(self._variables.values())

    def of(self, array: ir.Array, size: int = 0) -> Any:
        """The variable of a weight; with a size, of [9, ...] that is loaded as [side², ...], see `filtering`."""
        array = types.hold(np.ascontiguousarray(array).reshape(array.shape))
        digest = hashlib.sha256(f"{array.dtype}{array.shape}{size}".encode() + array.tobytes()).hexdigest()
        if digest not in self._variables:
            name = f"w{len(self.arrays)}"
            self.arrays[name], shape = array, array.shape
            if size:
                self.filters[name], shape = size, (side(size) ** 2, *array.shape[1:])
            self._variables[digest] = relax.Var(name, relax.TensorType(shape, str(array.dtype)))
        return self._variables[digest]
