"""Contracts: what counts as the same outputs."""

from __future__ import annotations

import numpy as np
import pytest

from optc.compiler.numerics import Comparison, Numerics, compare


def one(a: object, b: object) -> Comparison:
    return compare([{"y": np.asarray(a)}], [{"y": np.asarray(b)}])


def test_equal_outputs_meet_every_contract() -> None:
    assert all(one([1.0, 2.0], [1.0, 2.0]).meets(n) for n in Numerics)


def test_rounding_meets_reassociated_and_not_bitwise() -> None:
    rounded = one(np.float32([1, 2]), np.float32([1, 2.00001]))
    assert rounded.meets(Numerics.REASSOCIATED) and not rounded.meets(Numerics.BITWISE)


def test_the_error_is_relative_to_the_largest_value_over_all_samples() -> None:
    a, b = [{"y": np.float32([100])}, {"y": np.float32([1])}], [{"y": np.float32([100])}, {"y": np.float32([0.5])}]
    assert compare(a, b).error == pytest.approx(0.5 / 100)


def test_integers_beyond_the_precision_of_doubles_are_told_apart() -> None:
    assert not one([2**53], [2**53 + 1]).meets(Numerics.BITWISE)


def test_imaginary_parts_count() -> None:
    assert one([1 + 1j], [1 + 5j]).error > 1


def test_the_worst_output_is_named() -> None:
    a, b = {"p": np.ones(2), "q": np.ones(2)}, {"p": np.ones(2), "q": np.ones(2) * 1.5}
    assert compare([a], [b]).output == "q"


@pytest.mark.parametrize(
    ("a", "b", "problem"),
    [
        ([1.0, np.nan], [1.0, 0.0], "NaN"),
        ([1.0, 0.0], [1.0, np.nan], "NaN"),
        ([1.0, np.inf], [1.0, -np.inf], "infinities"),
        ([1.0, np.inf], [1.0, 3e38], "infinities"),
        ([1.0], [1.0, 2.0], "expected float64[1]"),
        (np.float32([1]), np.float64([1]), "is float64[1]"),
    ],
)
def test_what_no_error_can_express_breaks_every_contract(a: object, b: object, problem: str) -> None:
    found = one(a, b)
    assert problem in found.problem and not any(found.meets(n) for n in Numerics)


def test_nan_and_infinity_in_their_places_are_fine() -> None:
    assert one([np.nan, np.inf, 1.0], [np.nan, np.inf, 1.0]).meets(Numerics.BITWISE)


def test_empty_batches_are_equal() -> None:
    assert one(np.zeros((0, 3)), np.zeros((0, 3))).meets(Numerics.BITWISE)


def test_a_missing_output_is_a_problem() -> None:
    assert compare([{"y": np.ones(1)}], [{}]).problem == "is missing"


def test_the_weaker_contract_wins() -> None:
    assert Numerics.BITWISE.weaker(Numerics.REASSOCIATED) is Numerics.REASSOCIATED
    assert Numerics.LOSSY.weaker(Numerics.BITWISE) is Numerics.LOSSY


@pytest.mark.parametrize(("dtype", "fine", "wrong"), [("float16", 1e-3, 1e-2), ("float32", 1e-5, 1e-3)])
def test_half_precision_is_held_to_its_own_rounding(dtype: str, fine: float, wrong: float) -> None:
    ones = np.ones(2, dtype)
    assert one(ones, (ones + fine).astype(dtype)).meets(Numerics.REASSOCIATED)
    assert not one(ones, (ones + wrong).astype(dtype)).meets(Numerics.REASSOCIATED)


def test_what_is_allowed_is_never_less_than_the_rounding_of_the_output() -> None:
    half = compare([{"y": np.ones(3, np.float16)}], [{"y": np.ones(3, np.float16) + np.float16(0.001)}])
    single = compare([{"y": np.ones(3, np.float32)}], [{"y": np.ones(3, np.float32)}])
    assert half.allowed(1e-4) == 2 * 2.0**-10 and half.allowed(0.5) == 0.5
    assert single.allowed(1e-4) == 1e-4
