"""PP-OCR's recognition: rendered lines of text at three grades of noise and resolution, judged by the character error rate."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
import onnx

from benchmarks import zoo
from benchmarks.quality import render, text
from benchmarks.quality.kept import kept
from benchmarks.quality.samples import Samples
from optc.compiler.numerics import Array

_VERSION = 1
_WIDTH = 320
_LONGEST = 64  # characters; of the narrowest, no more fit
_SIZES = (28, 34)  # of the font; chosen so that the grades are about as hard as those of the published figures
_GRADES = ((30, 0.5), (45, 0.45), (60, 0.4))  # noise in grey levels, resolution


def make(count: int, seed: int) -> dict[str, Array]:
    """x N×3×48×320; label N×64, token numbers of the model, -1 after the last; slice `noise N, scale S`."""
    return _made(count, seed, text.EVALUATION)


def calibrate(count: int, seed: int) -> dict[str, Array]:
    """Other lines of the same kinds."""
    return _made(count, seed, text.CALIBRATION)


def _made(count: int, seed: int, stream: int) -> dict[str, Array]:
    held = kept(f"lines{stream}", _VERSION, count, seed, lambda: _rendered(count, seed, stream))
    return {"x": render.text_input(held["grey"]), "label": np.array(held["label"]), "slice": np.array(held["slice"])}


def _rendered(count: int, seed: int, stream: int) -> dict[str, Array]:
    grey = np.empty((count, render.HEIGHT, _WIDTH), np.uint8)
    label = np.full((count, _LONGEST), -1, np.int64)
    numbers = tokens()
    for i in range(count):
        rng, (noise, scale) = text.generator(stream, seed, i), _GRADES[i % len(_GRADES)]
        image, words = render.line(rng, _WIDTH, _SIZES)
        grey[i] = render.noisy(np.asarray(render.blurred(image, scale)), noise, rng)
        label[i, : len(words)] = [numbers[c] for c in words]
    grades = [f"noise {noise}, scale {scale}" for noise, scale in _GRADES]
    return {"grey": grey, "label": label, "slice": np.array([grades[i % len(grades)] for i in range(count)])}


@cache
def tokens() -> Mapping[str, int]:
    """The model's number of each character: those of its metadata after the blank, 0; then the space."""
    model = onnx.load(zoo.fetch("ppocr_rec"))
    (characters,) = (entry.value.split("\n") for entry in model.metadata_props if entry.key == "character")
    return {character: number for number, character in enumerate([*characters, " "], 1)}


SAMPLES = Samples(
    "ppocr_rec",
    "cer",
    make,
    1200,
    published=0.056,
    note="published: the mean of .0008, .018 and .150 on 40 lines of each grade; the font was sized to be as hard",
)
