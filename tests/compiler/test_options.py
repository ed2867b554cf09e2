"""Options: the fields of a frozen dataclass are its options, in text and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pytest

from optc.compiler import options
from optc.compiler.diagnostics import UserError


@dataclass(frozen=True)
class Sample:
    """One option of each kind."""

    count: int = 1
    max_error: float = 0.5
    fast: bool = False
    mode: Literal["layer", "global"] = "layer"
    name: str = ""
    sizes: tuple[int, ...] = ()
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError("count must not be negative")


def made(text: str) -> Sample:
    (item,) = options.split(text, "pass")
    values, spans = {k: v for k, (v, _) in item.options.items()}, {k: s for k, (_, s) in item.options.items()}
    return options.construct(Sample, values, place="pass 'sample'", source=text, spans=spans)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sample", Sample()),
        ("sample{count=3}", Sample(count=3)),
        ("sample{max-error=0.25 fast=true}", Sample(max_error=0.25, fast=True)),
        ("sample{mode=global}", Sample(mode="global")),
        ('sample{name="a b, c"}', Sample(name="a b, c")),
        ("sample{sizes=1|2|3}", Sample(sizes=(1, 2, 3))),
        ("sample{limit=none}", Sample()),
        ("sample{limit=7}", Sample(limit=7)),
    ],
)
def test_text_and_back(text: str, expected: Sample) -> None:
    assert made(text) == expected
    assert options.spell("sample", made(text)) == text


def test_an_instance_made_in_python_spells_what_differs_from_the_default() -> None:
    assert options.spell("sample", Sample(fast=True)) == "sample{fast=true}"


@pytest.mark.parametrize(
    ("text", "message", "caret"),
    [
        ("sample{count=many}", "expected int, found 'many'", "       ^^^^^^^^^^"),
        ("sample{fast=1}", "expected true or false, found '1'", "       ^^^^^^"),
        ("sample{mode=all}", "expected one of layer, global, found 'all'", "       ^^^^^^^^"),
        ("sample{cuont=1}", "has no option 'cuont'", "       ^^^^^^^"),
        ("sample{count=1 count=2}", "stands twice", "               ^^^^^^^"),
        ("sample{count}", "expected key=value", "       ^^^^^"),
    ],
)
def test_mistakes_have_a_caret(text: str, message: str, caret: str) -> None:
    with pytest.raises(UserError) as caught:
        made(text)
    assert message in str(caught.value)
    assert f"| {caret}\n" in f"{caught.value}\n"


def test_the_nearest_option_is_suggested() -> None:
    with pytest.raises(UserError, match="did you mean 'count'"):
        made("sample{cuont=1}")


def test_a_value_that_the_class_refuses_is_the_users_mistake() -> None:
    with pytest.raises(UserError, match="count must not be negative"):
        made("sample{count=-1}")


@pytest.mark.parametrize("value", ["a b", "x=y", "", "p,q", "{", "}a{"])
def test_odd_texts_survive(value: str) -> None:
    text = options.spell("sample", Sample(name=value, count=2))
    assert made(text).name == value


def test_options_are_described_for_help() -> None:
    described: dict[str, Any] = {name: (kind, default) for name, kind, default in options.describe(Sample)}
    assert described["max-error"] == ("float", "0.5")
    assert described["mode"] == ("layer|global", "layer")
    assert described["fast"] == ("bool", "false")


@dataclass(frozen=True)
class Said:
    """A text."""

    what: str


@pytest.mark.parametrize("text", ['say "hi" {x}', "back\\slash", 'ends with \\"', "", "a=b, c"])
def test_any_text_survives_being_spelled_and_parsed(text: str) -> None:
    (item,) = options.split(options.spell("say", Said(text)), "pass")
    assert options.construct(Said, {k: v for k, (v, _) in item.options.items()}, place="say") == Said(text)
