"""Einsum: the equation is parsed, operands are contracted two by two, and a contraction is a matrix product where it is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import te

from optc.compiler import ir
from optc.targets.tvm.lower.elementwise import elementwise
from optc.targets.tvm.lower.lowering import Dim, Lowering, Operand, is_constant
from optc.targets.tvm.lower.movement import permute, product
from optc.targets.tvm.lower.products import product as matrix_product
from optc.targets.tvm.lower.reduce import reduce
from optc.targets.tvm.lower.scatter import fitted

Index = str  # a letter, or "…i": the i-th dimension from the right of what the ellipsis stands for


@dataclass(frozen=True)
class Term:
    """An operand and the index of each of its axes, no two the same."""

    operand: Operand
    indices: tuple[Index, ...]


def parse(equation: str, ranks: Sequence[int]) -> tuple[list[tuple[Index, ...]], tuple[Index, ...]]:
    """The indices of each operand and of the result. Without `->` the result has the ellipsis, then the letters that occur once,
    in alphabetical order. Raises ValueError where the equation does not fit the ranks."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise ValueError(f"it names {len(terms)} operands, and {len(ranks)} are given")
    wide = max([rank - len(t.replace("...", "")) for t, rank in zip(terms, ranks, strict=True) if "..." in t], default=0)
    found = [_indices(t, rank) for t, rank in zip(terms, ranks, strict=True)]
    letters = [i for term in found for i in term if not i.startswith("…")]
    if not arrow:
        right = "..." + "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    result = _indices(right, len(right.replace("...", "")) + (wide if "..." in right else 0))
    if len(set(result)) != len(result) or not {i for i in result if not i.startswith("…")} <= set(letters):
        raise ValueError(f"'{right}' is no result of '{left}'")
    return found, result


def _indices(term: str, rank: int) -> tuple[Index, ...]:
    first, dots, last = term.partition("...")
    missing = rank - len(first) - len(last)
    if not (first + last + "a").isalpha() or missing < 0 or (missing and not dots):
        raise ValueError(f"'{term}' does not fit an operand of {rank} dimensions")
    return (*first, *(f"…{missing - 1 - i}" for i in range(missing)), *last)


def einsum(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """NumPy's einsum: from the left two operands at a time, each first summed along what no other needs."""
    shapes = [ctx.shape(x) for x in inputs]
    try:
        found, result = parse(str(ir.attribute(node, "equation")), [len(s) for s in shapes])
    except ValueError as error:
        raise ctx.fail(node, str(error)) from error
    extents, dtype = _extents(ctx, shapes, found), ctx.dtype(inputs[0])
    terms = [_diagonal(ctx, _fitted(ctx, _single(ctx, x), i, extents), i) for x, i in zip(inputs, found, strict=True)]
    while len(terms) > 1:
        a, b, *rest = terms
        later = {*result, *(i for term in rest for i in term.indices)}
        a, b = _summed(ctx, a, {*later, *b.indices}), _summed(ctx, b, {*later, *a.indices})
        terms = [_contract(ctx, a, b, later, extents), *rest]
    last = _summed(ctx, terms[0], set(result))
    order = [last.indices.index(i) for i in result if i in last.indices]
    whole = permute(ctx, last.operand, order)
    held = iter(ctx.shape(whole))
    made = ctx.reshape(whole, [next(held) if i in last.indices else 1 for i in result])
    return elementwise(ctx, "half", lambda x: x.astype(dtype), made) if dtype == "float16" else made


def _single(ctx: Lowering, operand: Operand) -> Operand:
    """Half precision loses long sums: it is computed in float32."""
    if ctx.dtype(operand) != "float16":
        return operand
    return (
        operand.astype(np.float32) if is_constant(operand) else elementwise(ctx, "single", lambda x: x.astype("float32"), operand)
    )


def _fitted(ctx: Lowering, operand: Operand, indices: Sequence[Index], extents: dict[Index, Dim]) -> Operand:
    """The operand under the extents of its indices; those that only a call can tell equal are checked then."""
    wanted = [d if _one(d) else extents[i] for d, i in zip(ctx.shape(operand), indices, strict=True)]
    return operand if ctx.same_shape(ctx.shape(operand), wanted) else fitted(ctx, operand, wanted)


def _extents(ctx: Lowering, shapes: Sequence[Sequence[Dim]], terms: Sequence[Sequence[Index]]) -> dict[Index, Dim]:
    """The extent of each index: 1 broadcasts to what another operand has."""
    found: dict[Index, Dim] = {}
    for shape, term in zip(shapes, terms, strict=True):
        for dim, index in zip(shape, term, strict=True):
            if index not in found or _one(found[index]) or (isinstance(dim, int) and not _one(dim)):
                found[index] = dim
    return found


def _one(dim: Dim) -> bool:
    return isinstance(dim, int) and dim == 1


def _diagonal(ctx: Lowering, operand: Operand, indices: tuple[Index, ...]) -> Term:
    """The operand with one axis an index: axes that share one become their diagonal."""
    kept = tuple(dict.fromkeys(indices))
    if len(kept) == len(indices):
        return Term(operand, indices)
    at = [kept.index(i) for i in indices]

    def compute(x: Any) -> Any:
        dims = [x.shape[indices.index(i)] for i in kept]
        return te.compute(dims, lambda *i: x(*[i[a] for a in at]), name="diagonal")

    return Term(ctx.te("diagonal", compute, ctx.tensor(operand)), kept)


def _summed(ctx: Lowering, term: Term, needed: set[Index]) -> Term:
    """The term without the indices that nobody needs."""
    axes = [a for a, i in enumerate(term.indices) if i not in needed]
    if not axes:
        return term
    if is_constant(term.operand):
        left = tuple(i for i in term.indices if i in needed)
        return Term(term.operand.sum(axis=tuple(axes), dtype=term.operand.dtype), left)
    total = reduce(ctx, term.operand, axes, "sum")
    kept = [a for a in range(len(term.indices)) if a not in axes]
    own = ctx.shape(term.operand)
    return Term(ctx.reshape(total, [own[a] for a in kept]), tuple(term.indices[a] for a in kept))


def _contract(ctx: Lowering, a: Term, b: Term, later: set[Index], extents: dict[Index, Dim]) -> Term:
    """Two terms as a batch of matrix products: indices of both that stay are the batch, those of both that go are summed."""
    shared = [i for i in a.indices if i in b.indices and not _one(_own(ctx, a, i)) and not _one(_own(ctx, b, i))]
    batch = [i for i in shared if i in later]
    inner = [i for i in shared if i not in later]
    rows = [i for i in a.indices if i not in shared and not (i in b.indices and _one(_own(ctx, a, i)))]
    columns = [i for i in b.indices if i not in shared and i not in rows]
    if not inner:
        return _outer(ctx, a, b)
    left = _matrix(ctx, a, batch, rows, inner)
    right = _matrix(ctx, b, batch, inner, columns)
    made = matrix_product(ctx, left, right, None)
    whole = (*batch, *rows, *columns)
    result = Term(ctx.reshape(made, [extents[i] if i in shared else _own(ctx, a if i in rows else b, i) for i in whole]), whole)
    return _summed(ctx, result, later)


def _own(ctx: Lowering, term: Term, index: Index) -> Dim:
    return ctx.shape(term.operand)[term.indices.index(index)]


def _matrix(ctx: Lowering, term: Term, batch: Sequence[Index], first: Sequence[Index], second: Sequence[Index]) -> Any:
    """The term as [batch..., first, second]; what it has beside these has extent 1."""
    order = [term.indices.index(i) for i in (*batch, *first, *second)]
    spare = [a for a in range(len(term.indices)) if a not in order]
    turned = [*order, *spare]
    moved = np.transpose(term.operand, turned) if is_constant(term.operand) else permute(ctx, term.operand, turned)
    dims = ctx.shape(moved)
    cut, end = len(batch) + len(first), len(order)
    shape = [*dims[: len(batch)], ctx.opaque(product(dims[len(batch) : cut])), ctx.opaque(product(dims[cut:end]))]
    return np.ascontiguousarray(moved).reshape(shape) if is_constant(moved) else ctx.reshape(moved, shape)


def _outer(ctx: Lowering, a: Term, b: Term) -> Term:
    """Element by element, each broadcast along what only the other has."""
    whole = (*a.indices, *(i for i in b.indices if i not in a.indices))
    return Term(elementwise(ctx, "multiply", lambda x, y: x * y, _spread(ctx, a, whole), _spread(ctx, b, whole)), whole)


def _spread(ctx: Lowering, term: Term, whole: Sequence[Index]) -> Any:
    """The term with its axes in the order of `whole`, and extent 1 for those it lacks."""
    moved = permute(ctx, term.operand, [term.indices.index(i) for i in whole if i in term.indices])
    held = iter(ctx.shape(moved))
    return ctx.reshape(moved, [next(held) if i in term.indices else 1 for i in whole])
