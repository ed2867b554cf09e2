"""How large the dimensions of a model's inputs may be, where its operators say so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations, zip_longest

from optc.compiler import ir, symbolic
from optc.compiler.contents import dims

_BROADCASTING = ("Add", "Sub", "Mul", "Div", "Pow", "Where", "Min", "Max", "Equal", "Less", "Greater", "And", "Or")


def largest(graph: ir.Graph) -> dict[str, int]:
    """Name of a dimension -> the largest size with which the graph runs.

    An extent of min(k, n), as a table of k positions cut at n gives, is broadcast with one of n only where they are equal, so
    where n is at most k. Bodies are not looked at: it is not sure that they run.
    """
    found: dict[str, int] = {}
    for node in graph:
        if not ir.standard(node, *_BROADCASTING):
            continue
        shapes = [shape for value in node.inputs if (shape := dims(value)) is not None]
        for column in zip_longest(*(shape[::-1] for shape in shapes), fillvalue=1):
            for a, b in [*combinations(column, 2), *combinations(column[::-1], 2)]:
                most = _cut(a, b)
                if most is not None and most > 1:
                    found[str(b)] = min(most, found.get(str(b), most))
    return {name: most for name, most in found.items() if str(symbolic.name(name)) == name}


def of_inputs(inputs: Iterable[ir.Value], sizes: Mapping[str, int]) -> list[tuple[str, int, int]]:
    """(input, axis, size) of each dimension of the inputs that has a largest size, by its name."""
    axes = [(value.name or "", axis, str(dim)) for value in inputs for axis, dim in enumerate(dims(value) or ())]
    return [(name, axis, sizes[dim]) for name, axis, dim in axes if dim in sizes]


def _cut(dim: symbolic.Dim, whole: symbolic.Dim) -> int | None:
    """k where the dimension is min(k, whole)."""
    if not isinstance(dim, symbolic.Expr) or len(dim.terms) != 1 or isinstance(whole, int):
        return None
    (monomial, coefficient), *_ = dim.terms
    if coefficient != 1 or len(monomial) != 1 or monomial[0].function != "min":
        return None
    numbers = [a for a in monomial[0].args if isinstance(a, int)]
    return numbers[0] if len(numbers) == 1 and whole in monomial[0].args else None
