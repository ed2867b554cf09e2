"""PP-OCR's text direction: rendered lines, upright and upside down."""

from __future__ import annotations

import numpy as np

from benchmarks.quality import render, text
from benchmarks.quality.kept import kept
from benchmarks.quality.samples import Samples
from optc.compiler.numerics import Array

_VERSION = 1
_WIDTH = 192
_SIZES = (22, 40)
_MARGIN = 8
_ANGLES = ("0°", "180°")  # the model's classes


def make(count: int, seed: int) -> dict[str, Array]:
    """x N×3×48×192, the line at the left and zeros beside it; label 0 for upright, 1 for upside down; slice the angle."""
    return _made(count, seed, text.EVALUATION)


def calibrate(count: int, seed: int) -> dict[str, Array]:
    """Other lines of the same kinds."""
    return _made(count, seed, text.CALIBRATION)


def _made(count: int, seed: int, stream: int) -> dict[str, Array]:
    label = np.arange(count) % 2
    held = kept(f"directions{stream}", _VERSION, count, seed, lambda: _rendered(count, seed, stream))
    x = render.text_input(held["grey"])
    for row, width in zip(x, held["width"], strict=True):
        row[..., width:] = 0  # the way PP-OCR fills a batch, after normalisation
    return {"x": x, "label": label, "slice": np.array(_ANGLES)[label]}


def _rendered(count: int, seed: int, stream: int) -> dict[str, Array]:
    grey, width = np.full((count, render.HEIGHT, _WIDTH), 128, np.uint8), np.empty(count, np.int64)
    for i in range(count):
        rng = text.generator(stream, seed, i)
        image, _ = render.line(rng, _WIDTH, _SIZES)
        image = image.crop((0, 0, min(render.ink(image) + _MARGIN, _WIDTH), render.HEIGHT))
        picture = render.noisy(np.asarray(render.blurred(image, rng.uniform(0.4, 1))), rng.uniform(0, 40), rng)
        width[i] = picture.shape[1]
        grey[i, :, : width[i]] = picture[::-1, ::-1] if i % 2 else picture
    return {"grey": grey, "width": width}


SAMPLES = Samples("ppocr_cls", "top1", make, 3000, published=0.925, note="published: on 40 lines")
