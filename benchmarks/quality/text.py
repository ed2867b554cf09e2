"""Text to render: words of the project's licence and made-up numbers, set in Pillow's own font."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np
from PIL import ImageFont

_LICENCE = Path(__file__).resolve().parents[2] / "LICENSE"
_CASES = (str.lower, str.lower, str.lower, str.title, str.upper)
EVALUATION, CALIBRATION = 0, 1  # streams of random numbers: samples of one are none of the other


def generator(stream: int, seed: int, index: int) -> np.random.Generator:
    """What one sample is made from; it does not depend on how many are made."""
    return np.random.default_rng([stream, seed, index])


@cache
def words() -> tuple[str, ...]:
    """The distinct words of two letters or more, in order of the alphabet."""
    return tuple(sorted(set(re.findall(r"[a-z]{2,}", _LICENCE.read_text(encoding="utf-8").lower()))))


def word(rng: np.random.Generator) -> str:
    """A word in some case, now and then with a mark; or an amount, a date, a share."""
    kind = rng.random()
    if kind < 0.8:
        mark = rng.choice(["", "", "", "", ",", ".", ":"])
        case = _CASES[rng.integers(len(_CASES))]
        return case(words()[rng.integers(len(words()))]) + str(mark)
    a, b, c = (int(n) for n in rng.integers(0, 1000, 3))
    if kind < 0.88:
        return f"{a},{b:03}.{c % 100:02}"
    if kind < 0.94:
        return f"{1950 + a % 80}-{1 + b % 12:02}-{1 + c % 28:02}"
    return f"{a % 100}%" if kind < 0.97 else f"({a})"


def phrase(rng: np.random.Generator, font: ImageFont.FreeTypeFont, width: float) -> str:
    """As many words as fit in `width` pixels, at least one that does."""
    text = ""
    while True:
        longer = f"{text} {word(rng)}".strip()
        if font.getlength(longer) <= width:
            text = longer
        elif text:
            return text


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font (Aileron). Raises OSError for a Pillow without FreeType."""
    found = ImageFont.load_default(size)
    if not isinstance(found, ImageFont.FreeTypeFont):
        raise OSError("this Pillow was built without FreeType")
    return found
