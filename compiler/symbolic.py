"""Arithmetic on dimensions: integers, and expressions over named dimensions in one normal form.

An expression is a polynomial with integer coefficients over atoms: names, `a//b`, `max(a, b)`, `min(a, b)`. Names stand for
sizes, so they are never negative; `//` rounds down, and what divides is not 0. Equal texts mean equal numbers in every run;
`parse(str(e)) == e` (compiler/dimension_text.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import gcd
from typing import Union

Dim = Union[int, "Expr"]

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*\Z")


@dataclass(frozen=True)
class Atom:
    """What a polynomial is over: a name, or a function of other dimensions (`//`, `max`, `min`)."""

    function: str
    name: str = ""
    args: tuple[Dim, ...] = ()

    @cached_property
    def text(self) -> str:
        if self.function == "name":
            return self.name if IDENTIFIER.match(self.name) and self.name not in ("max", "min") else f"`{self.name}`"
        if self.function == "//":
            return "//".join(_factor(a) for a in self.args)
        return f"{self.function}({', '.join(map(str, self.args))})"

    @property
    def nonnegative(self) -> bool:
        known = [nonnegative(a) for a in self.args]
        return any(known) if self.function == "max" else all(known)


Monomial = tuple[Atom, ...]


@dataclass(frozen=True, eq=False)
class Expr:
    """A polynomial that is not a number: (monomial, coefficient) pairs in the order of their text, the constant last."""

    terms: tuple[tuple[Monomial, int], ...]

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Expr) and self._text == other._text)

    def __hash__(self) -> int:
        return hash(self._text)

    def __add__(self, other: Dim) -> Dim:
        if not isinstance(other, int | Expr):
            return NotImplemented
        total = dict(self.terms)
        for monomial, coefficient in _terms(other):
            total[monomial] = total.get(monomial, 0) + coefficient
        return _make(total)

    __radd__ = __add__

    def __neg__(self) -> Dim:
        return Expr(tuple((m, -c) for m, c in self.terms))

    def __sub__(self, other: Dim) -> Dim:
        return self + -other

    def __rsub__(self, other: Dim) -> Dim:
        return -self + other

    def __mul__(self, other: Dim) -> Dim:
        if not isinstance(other, int | Expr):
            return NotImplemented
        total: dict[Monomial, int] = {}
        for m, c in self.terms:
            for n, d in _terms(other):
                product = tuple(sorted(m + n, key=_key))
                total[product] = total.get(product, 0) + c * d
        return _make(total)

    __rmul__ = __mul__

    def __floordiv__(self, other: Dim) -> Dim:
        return floordiv(self, other)

    def __rfloordiv__(self, other: int) -> Dim:
        return floordiv(other, self)

    @cached_property
    def _text(self) -> str:
        out = ""
        for monomial, coefficient in self.terms:
            sign = (" - " if out else "-") if coefficient < 0 else (" + " if out else "")
            size = abs(coefficient)
            if not monomial:
                out += f"{sign}{size}"
                continue
            lonely = size == 1 and len(monomial) == 1
            factors = [a.text if lonely or a.function != "//" else f"({a.text})" for a in monomial]
            out += sign + "*".join(([str(size)] if size != 1 else []) + factors)
        return out

    def __str__(self) -> str:
        return self._text

    __repr__ = __str__


def name(text: str) -> Expr:
    """The dimension of that name."""
    return Expr((((Atom("name", text),), 1),))


@lru_cache(maxsize=1 << 16)
def floordiv(a: Dim, b: Dim) -> Dim:
    """a // b, rounded down. What the two have in common is cancelled."""
    if isinstance(a, int) and isinstance(b, int):
        return a // b if b else _call("//", a, b)
    if isinstance(b, Expr):
        return _divide(a, b)
    if b <= 0:
        return _call("//", a, b)
    whole: dict[Monomial, int] = {}
    rest: dict[Monomial, int] = {}
    for monomial, coefficient in _terms(a):
        quotient, remainder = divmod(coefficient, b)
        if not monomial or not remainder:
            whole[monomial], coefficient = quotient, remainder
        if coefficient:
            rest[monomial] = coefficient
    constant = rest.pop((), 0)
    if not rest:
        return _make(whole)
    divisor = gcd(b, *rest.values())
    inner = _make({m: c // divisor for m, c in rest.items()}) + constant // divisor
    return _make(whole) + _floor(inner, b // divisor)


def _floor(a: Dim, b: int) -> Dim:
    """a // b with what can be taken out taken out; (x//m + c)//b is (x + c·m)//(m·b), and (-x)//b is -((x + b - 1)//b)."""
    if b == 1:
        return a
    atoms = [(m, c) for m, c in _terms(a) if m]
    if atoms[0][1] < 0:
        return -floordiv(-a + (b - 1), b)
    if len(atoms) == 1 and atoms[0][1] == 1 and len(atoms[0][0]) == 1:
        atom = atoms[0][0][0]
        if atom.function == "//" and isinstance(atom.args[1], int) and atom.args[1] > 0:
            return floordiv(atom.args[0] + dict(_terms(a)).get((), 0) * atom.args[1], atom.args[1] * b)
    return _call("//", a, b)


def _divide(a: Dim, b: Expr) -> Dim:
    """The polynomial q where a = q·b; else a // b without the factors that all their terms have."""
    whole = quotient(a, b)
    if whole is not None:
        return whole
    terms = (*_terms(a), *b.terms)
    number, shared = gcd(*(c for _, c in terms)), list(terms[0][0])
    for monomial, _ in terms:
        shared = _common(shared, monomial)
    if number == 1 and not shared:
        return _call("//", a, b)
    common = _make({tuple(shared): number})
    above, below = quotient(a, common), quotient(b, common)
    return _call("//", a, b) if above is None or below is None else floordiv(above, below)


def _common(some: Sequence[Atom], others: Sequence[Atom]) -> list[Atom]:
    left, found = list(others), []
    for atom in some:
        if atom in left:
            left.remove(atom)
            found.append(atom)
    return found


def quotient(a: Dim, b: Dim) -> Dim | None:
    """The polynomial q where a = q·b, by long division; None where there is none."""
    total: Dim = 0
    divisor, factor = max(_terms(b), key=_degree)
    while a != 0:
        monomial, coefficient = max(_terms(a), key=_degree)
        if coefficient % factor or len(_common(divisor, monomial)) < len(divisor):
            return None
        left = list(monomial)
        for atom in divisor:
            left.remove(atom)
        part = _make({tuple(left): coefficient // factor})
        total, a = total + part, a - part * b
    return total


def _degree(term: tuple[Monomial, int]) -> tuple[int, list[str]]:
    """An order of monomials that products keep."""
    return len(term[0]), [a.text for a in term[0]]


@lru_cache(maxsize=1 << 16)
def maximum(a: Dim, b: Dim) -> Dim:
    return a if nonnegative(a - b) else b if nonnegative(b - a) else _call("max", *sorted((a, b), key=str))


@lru_cache(maxsize=1 << 16)
def minimum(a: Dim, b: Dim) -> Dim:
    return b if nonnegative(a - b) else a if nonnegative(b - a) else _call("min", *sorted((a, b), key=str))


DEEP = 4
"""How many roundings and choices in one expression are looked through."""


@lru_cache(maxsize=1 << 16)
def nonnegative(dim: Dim, depth: int = DEEP) -> bool:
    """Whether it is surely not negative (False: it may be)."""
    terms = _terms(dim)
    if all(c >= 0 and all(a.nonnegative for a in m) for m, c in terms):
        return True
    if not depth:
        return False
    for monomial, c in terms:
        if len(monomial) != 1 or monomial[0].function == "name":
            continue
        (atom,) = monomial
        a, b = atom.args
        rest = dim - _make({monomial: c})
        if atom.function != "//":  # it is one of the two, and no more (or no less) than each
            bounds = (nonnegative(rest + c * x, depth - 1) for x in (a, b))
            if any(bounds) if (c > 0) == (atom.function == "max") else all(bounds):
                return True
        elif isinstance(b, int) and b > 0:  # a/b - (b-1)/b <= a//b <= a/b; an integer above -1 is not negative
            least = b * rest + c * (a if c < 0 else a - (b - 1))
            if nonnegative(least + (b - 1), depth - 1):
                return True
    return False


def never_one(dim: Dim) -> bool:
    """Whether it is surely not 1 (False: it may be): it has a factor, or is more."""
    return gcd(*(c for _, c in _terms(dim))) != 1 or nonnegative(dim - 2)


@lru_cache(maxsize=1 << 16)
def broadcast(a: Dim, b: Dim) -> Dim | None:
    """The dimension that two dimensions broadcast to in a run that succeeds; None where it cannot be said."""
    if a == b or b == 1:
        return a
    if a == 1 or (isinstance(b, int) and not isinstance(a, int)):
        return b  # the symbol is then 1 or equal
    if isinstance(a, int) or never_one(a):
        return a
    if never_one(b):
        return b
    if _at_most(a, b):
        return b
    return a if _at_most(b, a) else None


def _at_most(a: Dim, b: Dim) -> bool:
    """Whether a is min(b, c) for a positive number c: then a is b or a broadcast fails."""
    if isinstance(a, int) or len(a.terms) != 1 or a.terms[0][1] != 1 or len(a.terms[0][0]) != 1:
        return False
    atom = a.terms[0][0][0]
    return atom.function == "min" and b in atom.args and all(x == b or (isinstance(x, int) and x > 0) for x in atom.args)


def evaluate(dim: Dim, sizes: Mapping[str, int]) -> int:
    """The number for given sizes of the names in it. KeyError: a name without a size."""
    return sum(c * _product(_atom(a, sizes) for a in m) for m, c in _terms(dim))


def _atom(atom: Atom, sizes: Mapping[str, int]) -> int:
    if atom.function == "name":
        return sizes[atom.name]
    a, b = (evaluate(x, sizes) for x in atom.args)
    return a // b if atom.function == "//" else max(a, b) if atom.function == "max" else min(a, b)


def _product(factors: object) -> int:
    result = 1
    for f in factors:  # type: ignore[attr-defined]
        result *= f
    return result


def names(dim: Dim) -> set[str]:
    """The names in a dimension."""
    atoms = [a for m, _ in _terms(dim) for a in m]
    return {a.name for a in atoms if a.function == "name"}.union(*(names(x) for a in atoms for x in a.args))


def text(dim: Dim) -> int | str:
    """What a shape holds: the number, the bare name, or the text of the expression. Inverse of `parse`."""
    if isinstance(dim, int):
        return dim
    (monomial, coefficient), *more = dim.terms
    bare = not more and coefficient == 1 and len(monomial) == 1 and monomial[0].function == "name"
    return monomial[0].name if bare else str(dim)


def _terms(dim: Dim) -> tuple[tuple[Monomial, int], ...]:
    return dim.terms if isinstance(dim, Expr) else (((), int(dim)),) if dim else ()


def _make(terms: Mapping[Monomial, int]) -> Dim:
    kept = {m: c for m, c in terms.items() if c}
    if not kept:
        return 0
    if set(kept) == {()}:
        return kept[()]
    return Expr(tuple(sorted(kept.items(), key=lambda t: (not t[0], [a.text for a in t[0]]))))


def _call(function: str, a: Dim, b: Dim) -> Expr:
    return Expr((((Atom(function, args=(a, b)),), 1),))


def _key(atom: Atom) -> str:
    return atom.text


def _factor(dim: Dim) -> str:
    if isinstance(dim, int):
        return str(dim) if dim >= 0 else f"({dim})"
    (monomial, coefficient), *more = dim.terms
    simple = not more and coefficient == 1 and len(monomial) == 1 and monomial[0].function != "//"
    return str(dim) if simple else f"({dim})"
