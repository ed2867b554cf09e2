"""Dimensions: arithmetic in one normal form, so that equal texts are equal numbers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optc.compiler.dimension_text import parse
from optc.compiler.symbolic import Dim, broadcast, evaluate, floordiv, maximum, minimum, name, names, never_one, nonnegative, text

N, H = name("N"), name("H")
Sizes = dict[str, int]
Pair = tuple[Dim, Callable[[Sizes], int]]


def _combine(pair: tuple[str, Pair, Pair, int]) -> Pair:
    kind, (a, f), (b, g), k = pair
    if kind == "+":
        return a + b, lambda s: f(s) + g(s)
    if kind == "-":
        return a - b, lambda s: f(s) - g(s)
    if kind == "*":
        return a * b, lambda s: f(s) * g(s)
    if kind == "//":
        return floordiv(a, k), lambda s: f(s) // k
    if kind == "/":
        return floordiv(a, b), lambda s: f(s) // g(s)
    if kind == "max":
        return maximum(a, b), lambda s: max(f(s), g(s))
    return minimum(a, b), lambda s: min(f(s), g(s))


def _leaf(dim: Dim) -> Pair:
    return dim, lambda s: evaluate(dim, s)


LEAVES = st.sampled_from([_leaf(d) for d in (N, H, name("a b"), 0, 1, 2, 7)])
EXPRESSIONS: st.SearchStrategy[Pair] = st.recursive(
    LEAVES,
    lambda inner: st.tuples(st.sampled_from(("+", "-", "*", "//", "/", "max", "min")), inner, inner, st.integers(1, 6)).map(
        _combine
    ),
    max_leaves=8,
)


@settings(max_examples=1500, derandomize=True, deadline=None)
@given(pair=EXPRESSIONS, n=st.integers(0, 9), h=st.integers(0, 40), ab=st.integers(0, 5))
def test_the_normal_form_keeps_the_number_and_reads_back(pair: Pair, n: int, h: int, ab: int) -> None:
    dim, number = pair
    sizes = {"N": n, "H": h, "a b": ab}
    try:
        expected = number(sizes)
    except ZeroDivisionError:
        return
    assert evaluate(dim, sizes) == expected
    assert not nonnegative(dim) or expected >= 0
    assert not never_one(dim) or expected != 1
    assert isinstance(dim, int) or parse(str(text(dim))) == dim


def test_a_chain_of_strided_convolutions_stays_short() -> None:
    size: Dim = H
    for _ in range(5):
        size = (size + 2 - 3) // 2 + 1
    assert str(size) == "(H + 31)//32"


@pytest.mark.parametrize(
    ("dim", "expected"),
    [
        (N * 256 // N, "256"),
        ((4 * H + 2) // 6, "(2*H + 1)//3"),
        (H - 1 + 1, "H"),
        (2 * (H // 2), "2*(H//2)"),
        (maximum(H - 1, 0), "max(0, H - 1)"),
        (maximum(H + 1, 1), "H + 1"),
        (name("a-b") + 1, "`a-b` + 1"),
        ((N * H + 2 * N) // (H + 2), "N"),
        ((N * N - H * H) // (N - H), "H + N"),
        (12 * N * H // (8 * N), "(3*H)//2"),
        ((H + 31) // 32 * 32 // 8, "4*((H + 31)//32)"),
        (H - 32 * (H // 32), "H - 32*(H//32)"),
        (-H // 32, "-(H + 31)//32"),
        (-(H // 2) // 4, "-(H + 6)//8"),
        (maximum((H + 31) // 32 * 32 - H, 0), "32*((H + 31)//32) - H"),
        (minimum(H // 2, H), "H//2"),
        (maximum(maximum(N, 2) + 1, 3), "max(2, N) + 1"),
    ],
)
def test_normal_forms(dim: Dim, expected: str) -> None:
    assert str(dim) == expected


@pytest.mark.parametrize("odd", ["batch-size", "a b", "N +", "(N", "2N", "/layer/out_d0", "N + 0", "N//0"])
def test_what_is_no_expression_is_a_name(odd: str) -> None:
    assert parse(odd) == name(odd)
    assert text(parse(odd)) == odd


def test_a_dimension_that_an_exporter_named_as_a_sum_is_that_sum() -> None:
    assert parse("past + 1") - 1 == name("past")
    assert names(parse("past + 1")) == {"past"}


def test_broadcasting() -> None:
    assert broadcast(1, N) == N
    assert broadcast(N, 4) == 4
    assert broadcast(N, N) == N
    assert broadcast(N, minimum(N, 512)) == N
    assert broadcast(N, H) is None
    assert broadcast(N, N - 1) is None  # 1 and 0 broadcast to 0
    assert broadcast(N, 2 * H) == 2 * H  # what is even is not 1
    assert broadcast(H + 2, N) == H + 2
    assert broadcast(N, 2 * H + 1) is None
