"""PP-LCNet's page orientation: rendered pages, from clean to hardly legible, in four rotations."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from benchmarks.quality import render, text
from benchmarks.quality.kept import kept
from benchmarks.quality.samples import Samples
from optc.compiler.numerics import Array

_VERSION = 1
_SIDE = 224
_FINE = 2  # pages are set at this multiple of their size
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)[:, None, None]
_STD = np.array([0.229, 0.224, 0.225], np.float32)[:, None, None]
ROTATIONS = ("0°", "90°", "180°", "270°")  # clockwise, the model's classes


def make(count: int, seed: int) -> dict[str, Array]:
    """x N×3×224×224 (BGR, ImageNet's mean and deviation), label the class of the rotation, slice its name."""
    return _made(count, seed, text.EVALUATION)


def calibrate(count: int, seed: int) -> dict[str, Array]:
    """Other pages of the same kinds."""
    return _made(count, seed, text.CALIBRATION)


def _made(count: int, seed: int, stream: int) -> dict[str, Array]:
    label = np.arange(count) % len(ROTATIONS)
    held = kept(f"orientation{stream}", _VERSION, count, seed, lambda: {"rgb": _rendered(count, seed, stream)})
    return {"x": model_input(held["rgb"]), "label": label, "slice": np.array(ROTATIONS)[label]}


def model_input(rgb: Array) -> Array:
    """[N, 224, 224, 3] uint8 to float32 N×3×224×224: BGR, /255, minus ImageNet's mean, over its deviation."""
    x = np.empty((len(rgb), 3, *rgb.shape[1:3]), np.float32)
    for page, row in zip(rgb, x, strict=True):  # a page at a time: thousands weigh a gigabyte
        row[:] = (page[..., ::-1].transpose(2, 0, 1) / np.float32(255) - _MEAN) / _STD
    return x


def _rendered(count: int, seed: int, stream: int) -> Array:
    rgb = np.empty((count, _SIDE, _SIDE, 3), np.uint8)
    for i in range(count):
        rgb[i] = np.rot90(page(text.generator(stream, seed, i)), -(i % len(ROTATIONS)))
    return rgb


def page(rng: np.random.Generator) -> Array:
    """The middle of an upright page, uint8 224×224×3: size, weight, spacing and slant of the text, number of lines and columns,
    colours, sharpness and noise vary; the harder half of these is as frequent as the easier one."""
    side, hard = _SIDE * _FINE, rng.random()
    image = Image.new("L", (side, side), 0)
    draw = ImageDraw.Draw(image)
    size = int(rng.uniform(12, 26))
    font, weight, leading = text.font(size), int(rng.random() < 0.2), rng.uniform(1.2, 1.9)
    columns = int(rng.integers(1, 3))
    width = side / columns
    blank = rng.uniform(0, 0.9) if hard > 0.5 else 0.1  # share of lines left out
    for column in range(columns):
        y = rng.uniform(-size, size)
        while y < side:
            if rng.random() >= blank:
                line = text.phrase(rng, font, width * rng.uniform(0.75, 0.95))
                draw.text((column * width + size / 2, y), line, fill=255, font=font, stroke_width=weight)
            y += size * leading
    slant, stretch, skew = rng.uniform(-0.2, 0.2), rng.uniform(0.8, 1.2), rng.uniform(-0.05, 0.05)
    middle = side / 2
    across, down = (stretch, slant, middle * (1 - stretch - slant)), (skew, 1.0, -middle * skew)
    image = image.transform(image.size, Image.Transform.AFFINE, (*across, *down), Image.Resampling.BILINEAR).reduce(_FINE)
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 2.5) * hard))
    paper, contrast = rng.uniform(170, 255, 3), rng.uniform(0.3, 1.0) if hard > 0.5 else 1.0
    ink = paper * (1 - contrast * rng.uniform(0.8, 1.0, 3))
    share = np.asarray(image, np.float32)[..., None] / 255
    picture = paper * (1 - share) + ink * share
    return render.noisy(255 - picture if rng.random() < 0.1 else picture, 60 * hard * rng.random(), rng)


SAMPLES = Samples(
    "lcnet_orientation",
    "top1",
    make,
    2400,
    published=1.0,
    note="published: on 24 clean pages; half of these are blurred, faint or sparse, so that a loss shows",
)
