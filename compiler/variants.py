"""Fast paths of a program: variants for given sizes, chosen by the sizes of what each call is fed.

A program may have `variants`, each with `dims` (sizes of symbolic dimensions by name), `nodes` (how many), `weights` (what its
weights' names begin with) and `program`, a whole program of the same target. Imports no compiler.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from optc.compiler.manifest import ValueInfo
from optc.compiler.numerics import Array
from optc.compiler.target import Engine

Dims = Mapping[str, int]


def text(dims: Dims) -> str:
    """`N=1,S=128`, as the command takes it."""
    return ",".join(f"{name}={size}" for name, size in dims.items())


def dimensions(inputs: Sequence[ValueInfo]) -> dict[str, tuple[str, int]]:
    """Each symbolic dimension of the inputs, in order, and where it is first seen: the input and the axis."""
    found: dict[str, tuple[str, int]] = {}
    for value in inputs:
        for axis, dim in enumerate(value.shape):
            if isinstance(dim, str) and dim != "?":
                found.setdefault(dim, (value.name, axis))
    return found


class Choice:
    """Which variant serves a call: of those whose dimensions are what is fed, the one that fixes most; of equals the first."""

    def __init__(self, inputs: Sequence[ValueInfo], program: Mapping[str, Any]) -> None:
        where = dimensions(inputs)
        self.variants: tuple[Dims, ...] = tuple(dict(variant["dims"]) for variant in program.get("variants", ()))
        order = sorted(range(len(self.variants)), key=lambda number: -len(self.variants[number]))
        self._sizes = [(number, [(*where[name], size) for name, size in self.variants[number].items()]) for number in order]

    def __call__(self, feeds: Mapping[str, Array]) -> int | None:
        """The number of the variant for checked feeds; None: the general program."""
        for number, sizes in self._sizes:
            if all(feeds[name].shape[axis] == size for name, axis, size in sizes):
                return number
        return None


class VariantEngine:
    """A general engine and its variants, which are loaded when a call first needs them, once, by whichever thread it is."""

    def __init__(self, general: Engine, choice: Choice, load: Callable[[int], Engine]) -> None:
        self.general, self.choice = general, choice
        self._load, self._lock = load, threading.Lock()
        self._loaded: dict[int, Engine] = {}

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        return self.engine(self.choice(feeds)).run(feeds)

    def engine(self, number: int | None) -> Engine:
        """The engine of a variant, or the general one. Raises UserError where it cannot be loaded."""
        if number is None:
            return self.general
        if number not in self._loaded:
            with self._lock:
                if number not in self._loaded:
                    self._loaded[number] = self._load(number)
        return self._loaded[number]
