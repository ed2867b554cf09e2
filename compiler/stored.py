"""Weights as a bundle stores them: what engines unpack from the same stored arrays they hold together."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence

from optc.compiler.numerics import Array


class Stored(Mapping[str, Array]):
    """Arrays by name, some of which are unpacked into others when an engine is loaded."""

    @abstractmethod
    def once(self, form: str, names: Sequence[str], make: Callable[[], Array]) -> Array:
        """What `make` makes of the weights of these names, by the `form` of unpacking: one array, not to be written to, for all
        who unpack the same bytes, while anybody holds it."""
