"""PP-OCR's text detection: fidelity on rendered pages. What its boxes are depends on the program around it."""

from __future__ import annotations

import numpy as np

from benchmarks import pages
from benchmarks.quality.kept import kept
from benchmarks.quality.orientation import model_input
from benchmarks.quality.render import noisy
from benchmarks.quality.samples import Samples
from benchmarks.quality.text import CALIBRATION, EVALUATION, generator
from optc.compiler.numerics import Array

_VERSION = 1
_SIDE = 480


def make(count: int, seed: int) -> dict[str, Array]:
    """x N×3×480×480 (BGR, ImageNet's mean and deviation): the upper part of pages, with noise."""
    return _made(count, seed, EVALUATION)


def calibrate(count: int, seed: int) -> dict[str, Array]:
    """Other pages of the same kind."""
    return _made(count, seed, CALIBRATION)


def _made(count: int, seed: int, stream: int) -> dict[str, Array]:
    held = kept(f"detection{stream}", _VERSION, count, seed, lambda: {"rgb": _rendered(count, seed, stream)})
    return {"x": model_input(held["rgb"])}


def _rendered(count: int, seed: int, stream: int) -> Array:
    rgb = np.empty((count, _SIDE, _SIDE, 3), np.uint8)
    for i in range(count):
        rng = generator(stream, seed, i)
        page = np.asarray(pages.page(int(rng.integers(2**31)), _SIDE, _SIDE))
        rgb[i] = noisy(page, 20 * rng.random(), rng)
    return rgb


SAMPLES = Samples("ppocr_det", "relative-l2", make, 100, note="fidelity only")
