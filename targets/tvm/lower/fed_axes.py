"""Axes that are fed at run time: how many there are is known, which ones is seen in each call.

Everything is an expression of the fed numbers: a dimension asks whether it is among the axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import tirx

from optc.targets.tvm.lower.lowering import Dim, Lowering


def fixed(axes: Sequence[Dim] | None) -> bool:
    """Whether all axes are known at compile time."""
    return axes is None or all(isinstance(a, int) for a in axes)


def among(axes: Sequence[Dim], axis: int, rank: int) -> Any:
    """Whether an axis is one of the fed ones."""
    found: Any = tirx.const(False, "bool")
    for fed in axes:
        found = tirx.any(found, _from_the_front(fed, rank) == number(axis))
    return found


def without(ctx: Lowering, dims: Sequence[Dim], axes: Sequence[Dim]) -> list[Dim]:
    """The dimensions that are not among the axes, in order."""
    rank = len(dims)
    kept = [tirx.Select(among(axes, i, rank), number(0), number(1)) for i in range(rank)]
    return [ctx.opaque(_at(dims, kept, j), plain=True) for j in range(rank - len(axes))]


def with_ones(ctx: Lowering, dims: Sequence[Dim], axes: Sequence[Dim]) -> list[Dim]:
    """The dimensions with a 1 at each of the axes of the result."""
    rank = len(dims) + len(axes)
    result: list[Dim] = []
    before: Any = number(0)
    for j in range(rank):
        new = among(axes, j, rank)
        own: Any = number(0)
        for i, dim in enumerate(dims):
            own = tirx.Select(before == number(i), number(dim), own)
        result.append(ctx.opaque(tirx.Select(new, number(1), own), plain=True))
        before = before + tirx.Select(new, number(0), number(1))
    return result


def at_each(axes: Sequence[Dim], values: Sequence[Dim], defaults: Sequence[Dim]) -> list[Any]:
    """What each dimension has of values that are given for the axes, and its default where it is not among them."""
    result = []
    for i, default in enumerate(defaults):
        found = number(default)
        for axis, value in zip(axes, values, strict=True):
            found = tirx.Select(_from_the_front(axis, len(defaults)) == number(i), number(value), found)
        result.append(found)
    return result


def number(dim: Dim) -> Any:
    return tirx.IntImm("int64", dim) if isinstance(dim, int) else dim


def _from_the_front(axis: Dim, rank: int) -> Any:
    return tirx.Select(number(axis) < number(0), number(axis) + number(rank), number(axis))


def _at(dims: Sequence[Dim], kept: Sequence[Any], position: int) -> Any:
    """The dimension that is kept as the one at `position`."""
    found: Any = number(0)
    before: Any = number(0)
    for dim, own in zip(dims, kept, strict=True):
        found = found + tirx.Select(tirx.all(own == number(1), before == number(position)), number(dim), number(0))
        before = before + own
    return found
