"""Pipelines have two spellings, text and TOML, of one object; mistakes are shown with a caret."""

from __future__ import annotations

from pathlib import Path

import pytest

from optc.compiler import registry
from optc.compiler.diagnostics import UserError
from optc.compiler.pipeline import Pipeline
from optc.compiler.recipe import DEFAULT_PASSES, Recipe, parse_shape

TEXTS = [
    "",
    "fuse-affine",
    DEFAULT_PASSES,
    "fold-constants,fuse-affine,quantize-weights{max-error=0.01}",
    "prune-weights{sparsity=0.3 scope=global}",
    "prune-weights{scope=global sparsity=0.3},share-weights{bits=3}",
]


@pytest.mark.parametrize("text", TEXTS)
def test_text_round_trips(text: str) -> None:
    assert str(Pipeline.parse(text)) == text


@pytest.mark.parametrize("name", sorted(registry.names("pass")))
def test_every_pass_round_trips_with_every_option_spelled_out(name: str) -> None:
    made = Pipeline.parse(name)
    recipe = Recipe(pipeline=made)
    assert Recipe.parse(recipe.to_toml()).pipeline == made


def test_spaces_do_not_matter() -> None:
    assert Pipeline.parse(" fuse-affine , share-weights{ bits=3 } ") == Pipeline.parse("fuse-affine,share-weights{bits=3}")


@pytest.mark.parametrize(
    ("text", "message", "caret"),
    [
        ("fuse-affine,,", "expected the name of a pass", "            ^"),
        ("fuse-afine", "unknown pass 'fuse-afine'", "^^^^^^^^^^"),
        ("share-weights{bit=3}", "has no option 'bit'", "              ^^^^^"),
        ("share-weights{bits=three}", "expected int, found 'three'", "              ^^^^^^^^^^"),
        ("share-weights{bits=3 bits=4}", "stands twice", "                     ^^^^^^"),
        ("fuse-affine fuse-gelu", "expected ','", "            ^"),
        ("fuse-affine{", "expected ','", "           ^"),
    ],
)
def test_mistakes_are_shown_with_a_caret(text: str, message: str, caret: str) -> None:
    with pytest.raises(UserError) as caught:
        Pipeline.parse(text)
    shown = str(caught.value)
    assert message in shown and f"  | {text}\n  | {caret}" in shown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("passes = 3", "a recipe has no 'passes'"),
        ("[[pass]]\nname = 'nope'", "unknown pass 'nope'"),
        ("[[pass]]\nname = 'share-weights'\nbits = 'x'", "expected int"),
        ("pass = 'fuse-gelu'", "write passes as [[pass]] tables"),
        ("[target]\nname = 'cpu'\nmcp = 'x'", "has no option 'mcp'"),
        ("[shapes]\nx = '1x-3'", "is no dimension"),
        ("[", "not TOML"),
    ],
)
def test_mistakes_in_recipes(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        Recipe.parse(text)
    assert message in str(caught.value)


def test_recipes_round_trip() -> None:
    recipe = Recipe(Pipeline.parse("share-weights{bits=3}"), shapes={"x": ("N", 3, 48, 192)}, seed=7)
    assert Recipe.parse(recipe.to_toml()) == recipe


def test_shapes_are_sizes_and_names() -> None:
    assert parse_shape("Nx3x48xW", "") == ("N", 3, 48, "W")


def test_a_name_that_two_packages_give_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Entry:
        name, value = "fuse-affine", "elsewhere:Pass"

    monkeypatch.setattr(registry, "entry_points", lambda group: [Entry])
    with pytest.raises(UserError, match="'fuse-affine' is registered twice"):
        registry.names("pass")


@pytest.mark.parametrize("text", ['seed = "abc"', "seed = 1.5", 'target = "cpu"', "shapes = 3", 'pass = ["a"]'])
def test_a_recipe_with_a_value_of_the_wrong_type_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="expected"):
        Recipe.parse(text)


def test_a_recipe_does_not_cut_off_a_fraction() -> None:
    with pytest.raises(UserError, match=r"expected int, found '5.7'"):
        Recipe.parse('[[pass]]\nname = "share-weights"\nbits = 5.7')


def test_names_of_dimensions_may_hold_an_x() -> None:
    recipe = Recipe(shapes={"x": ("extent", 3)})
    assert Recipe.parse(recipe.to_toml()) == recipe


def test_a_recipe_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="not UTF-8"):
        Recipe.read(tmp_path / "r.toml")
