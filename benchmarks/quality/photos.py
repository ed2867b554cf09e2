"""EfficientNet-Lite0: photos of things, some of which name their class. ImageNet's images, and so its accuracy, cannot be had."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.quality.debian import Debian
from benchmarks.quality.kept import kept
from benchmarks.quality.samples import Samples
from benchmarks.quality.stamps import CLASSES
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
    crops of 70 to 100 % of its sides, half of them mirrored, on a background of one grey where it is transparent."""
    return _made("photos", measured, count, seed, EVALUATION)


def labelled(count: int, seed: int) -> dict[str, Array]:
    """The same of the photos that name their class, with that as label."""
    return _made("labelled", named, count, seed, EVALUATION)


def calibrate(count: int, seed: int) -> dict[str, Array]:
    """The same of photos that neither measures, without labels."""
    return _made("photos", calibrating, count, seed, CALIBRATION)


def measured() -> list[str]:
    """Photos, by their names in the package."""
    held_out = set(calibrating())
    return [name for name in _photos() if name not in held_out]


def named() -> list[str]:
    """Those of which the class is known."""
    return [name for name in _photos() if name in CLASSES]


def calibrating() -> list[str]:
    """Photos that are not measured: every fifth of those without a class."""
    return [name for name in _photos() if name not in CLASSES][::_HELD_OUT]


def _photos() -> list[str]:
    folder = DATA.fetch()
    files = [f for f in DATA.files(folder) if not set(_LEFT_OUT) & set(f.relative_to(folder).parts) and _large(f)]
    return [f.relative_to(folder).as_posix() for f in files]


def _made(kind: str, names: Callable[[], list[str]], count: int, seed: int, stream: int) -> dict[str, Array]:
    held = kept(f"{kind}{stream}", _VERSION, count, seed, lambda: _prepared(names(), count, seed, stream))
    image = np.empty((count, 3, _SIDE, _SIDE), np.float32)
    for photo, row in zip(held["rgb"], image, strict=True):
        row[:] = (photo.transpose(2, 0, 1) / np.float32(255) - _MEAN) / _STD
    return {"image": image, **{name: np.array(array) for name, array in held.items() if name != "rgb"}}


def _prepared(names: list[str], count: int, seed: int, stream: int) -> dict[str, Array]:
    folder = DATA.fetch()
    order = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    shown = [order[i % len(order)] for i in range(count)]
    rgb = np.empty((count, _SIDE, _SIDE, 3), np.uint8)
    for i, name in enumerate(shown):
        rgb[i] = view(folder / name, generator(stream, seed, i), whole=i < len(order))
    prepared = {"rgb": rgb, "slice": np.array([name.split("/")[0] for name in shown])}
    return prepared | ({"label": np.array([CLASSES[n] for n in shown])} if set(shown) <= CLASSES.keys() else {})


def _large(file: Path) -> bool:
    with Image.open(file) as image:
        return min(image.size) >= _LEAST


def view(file: Path, rng: np.random.Generator, whole: bool) -> Array:
    """uint8 224×224×3 of a photo, squared and cropped to 87.5 %, the way EfficientNet-Lite is fed."""
    with Image.open(file) as opened:
        photo = opened.convert("RGBA")
    side = max(photo.size)
    square = Image.new("RGBA", (side, side), "white" if whole else (int(rng.integers(128, 256)),) * 3)
    square.alpha_composite(photo, ((side - photo.width) // 2, (side - photo.height) // 2))
    share = _CROP if whole else _CROP * rng.uniform(0.7, 1.0)
    edge, free = side * share, side * (1 - share)
    left, top = (free / 2, free / 2) if whole else rng.uniform(0, free, 2)
    box = (left, top, left + edge, top + edge)
    image = square.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BICUBIC, box)
    pixels = np.asarray(image)
    return pixels if whole or rng.random() < 0.5 else pixels[:, ::-1]


_VIEWS = "52 photos that name their class, in 16 views each; drawn by photo, the interval is ±.10; published: on 60 photos"
SAMPLES = (
    Samples("efflite0", "top1", labelled, 832, published=0.617, note=_VIEWS),
    Samples(
        "efflite0", "agreement", make, 1000, note="fidelity, since ImageNet's accuracy cannot be had: 302 photos in several views"
    ),
)
