"""EfficientNet-Lite0: agreement with the source on photos of things. ImageNet's images, and so its accuracy, cannot be had."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.quality.debian import Debian
from benchmarks.quality.kept import kept
from benchmarks.quality.samples import Samples
from benchmarks.quality.text import CALIBRATION, EVALUATION, generator
from optc.compiler.numerics import Array

DATA = Debian(
    "tuxpaint-stamps-default",
    "usr/share/tuxpaint/stamps",
    ".png",
    "3599e520b35fb603381e2f5807849cffaf9999c2b54b7a14c0daeab6c05876b2",
    "GPL-2",
)
_VERSION = 1
_SIDE, _CROP = 224, 0.875
_LEFT_OUT = ("symbols", "cartoon")  # folders of drawings
_LEAST = 64  # pixels of the shorter side
_HELD_OUT = 5  # every fifth photo calibrates
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)[:, None, None]
_STD = np.array([0.229, 0.224, 0.225], np.float32)[:, None, None]


def make(count: int, seed: int) -> dict[str, Array]:
    """image N×3×224×224 (RGB, ImageNet's mean and deviation), slice the photo's folder. Each photo is taken whole first, then in
    crops of 70 to 100 % of its sides, half of them mirrored, on a background of one colour where it is transparent."""
    return _made(count, seed, EVALUATION)


def calibrate(count: int, seed: int) -> dict[str, Array]:
    """The same of other photos."""
    return _made(count, seed, CALIBRATION)


def _made(count: int, seed: int, stream: int) -> dict[str, Array]:
    held = kept(f"photos{stream}", _VERSION, count, seed, lambda: _prepared(count, seed, stream))
    image = np.empty((count, 3, _SIDE, _SIDE), np.float32)
    for photo, row in zip(held["rgb"], image, strict=True):
        row[:] = (photo.transpose(2, 0, 1) / np.float32(255) - _MEAN) / _STD
    return {"image": image, "slice": np.array(held["slice"])}


def _prepared(count: int, seed: int, stream: int) -> dict[str, Array]:
    folder, files = DATA.fetch(), chosen(stream)
    files = [files[i] for i in np.random.default_rng(seed).permutation(len(files))]
    rgb = np.empty((count, _SIDE, _SIDE, 3), np.uint8)
    for i in range(count):
        rgb[i] = view(files[i % len(files)], generator(stream, seed, i), whole=i < len(files))
    kinds = [files[i % len(files)].relative_to(folder).parts[0] for i in range(count)]
    return {"rgb": rgb, "slice": np.array(kinds)}


def chosen(stream: int) -> list[Path]:
    """The photos that are measured, or that calibrate."""
    folder = DATA.fetch()
    found = [f for f in DATA.files(folder) if not set(_LEFT_OUT) & set(f.relative_to(folder).parts) and _large(f)]
    return [f for n, f in enumerate(found) if (n % _HELD_OUT == 0) == (stream == CALIBRATION)]


def _large(file: Path) -> bool:
    with Image.open(file) as image:
        return min(image.size) >= _LEAST


def view(file: Path, rng: np.random.Generator, whole: bool) -> Array:
    """uint8 224×224×3 of a photo, squared and cropped to 87.5 %, the way EfficientNet-Lite is fed."""
    with Image.open(file) as opened:
        photo = opened.convert("RGBA")
    side = max(photo.size)
    square = Image.new("RGBA", (side, side), "white" if whole else tuple(int(n) for n in rng.integers(96, 256, 3)))
    square.alpha_composite(photo, ((side - photo.width) // 2, (side - photo.height) // 2))
    share = _CROP if whole else _CROP * rng.uniform(0.7, 1.0)
    edge, free = side * share, side * (1 - share)
    left, top = (free / 2, free / 2) if whole else rng.uniform(0, free, 2)
    box = (left, top, left + edge, top + edge)
    image = square.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BICUBIC, box)
    pixels = np.asarray(image)
    return pixels if whole or rng.random() < 0.5 else pixels[:, ::-1]


SAMPLES = Samples(
    "efflite0",
    "agreement",
    make,
    1000,
    note="fidelity: ImageNet accuracy cannot be had; 292 photos, shown again in other crops",
)
