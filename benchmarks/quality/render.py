"""A rendered line of text as a camera sees it: resolution lost, noise added."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.quality import text
from optc.compiler.numerics import Array

HEIGHT = 48  # of the lines that the models read


def line(rng: np.random.Generator, width: int, sizes: tuple[int, int], margin: int = 8) -> tuple[Image.Image, str]:
    """Black words on white, 48×`width` pixels of grey, and what is written; the font's size is one of `sizes`."""
    font = text.font(int(rng.integers(*sizes)))
    words = text.phrase(rng, font, width - 2 * margin)
    image = Image.new("L", (width, HEIGHT), "white")
    ImageDraw.Draw(image).text((margin, HEIGHT / 2), words, fill="black", font=font, anchor="lm")
    return image, words


def ink(image: Image.Image) -> int:
    """Where the ink of a white image ends: the column after its last dark pixel."""
    return int(np.flatnonzero((np.asarray(image) < 255).any(0))[-1]) + 1


def blurred(image: Image.Image, scale: float) -> Image.Image:
    """Shrunk by `scale` and enlarged again, bilinear."""
    small = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(small, Image.Resampling.BILINEAR).resize(image.size, Image.Resampling.BILINEAR)


def noisy(picture: Array, noise: float, rng: np.random.Generator) -> Array:
    """uint8 with normal noise of that deviation, in grey levels of 255, cut at both ends."""
    return np.clip(picture + rng.normal(0, noise, picture.shape), 0, 255).astype(np.uint8)


def text_input(grey: Array) -> Array:
    """[N, H, W] uint8 as PP-OCR's readers of lines take it: float32 N×3×H×W, three equal channels, (x / 255 - .5) / .5."""
    x = (grey.astype(np.float32) / np.float32(255) - np.float32(0.5)) / np.float32(0.5)
    return np.repeat(x[:, None], 3, axis=1)
