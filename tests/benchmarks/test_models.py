"""The table of models: dimensions get their sizes, and its lines hold what was measured."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from benchmarks import models
from benchmarks.recipes import RECIPES


def test_a_free_leading_dimension_is_the_batch() -> None:
    assert models.bind({"x": ("N", 3, 48, "W")}, 8, {}) == {"x": (8, 3, 48, 320)}
    assert models.bind({"a": ("rows", 4), "b": ("rows", "rows")}, 2, {}) == {"a": (2, 4), "b": (2, 2)}


def test_a_size_that_is_given_wins() -> None:
    assert models.bind({"x": ("N", "S")}, 1, {"S": 7}) == {"x": (1, 7)}


def test_a_dimension_without_a_size_is_asked_for() -> None:
    with pytest.raises(typer.BadParameter, match="--size height=64"):
        models.bind({"x": ("N", 3, "height", 32)}, 1, {})


def test_a_file_declares_its_own_shapes(fashion_cnn: Path) -> None:
    assert models.declared(fashion_cnn) == RECIPES["fashion_cnn"].inputs


@pytest.mark.slow
def test_each_line_holds_an_error_within_the_contract(fashion_cnn: Path) -> None:
    lines = list(models.rows("fashion_cnn", {}, seconds=0.5))
    assert [line[0] for line in lines] == [f"fashion_cnn, {kind}, {batch}" for kind in ("free", "fixed") for batch in (1, 8)]
    assert all(float(line[1]) <= 1e-4 for line in lines)
