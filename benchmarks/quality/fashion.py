"""Fashion-MNIST (H. Xiao et al., arXiv:1708.07747): the 10,000 test images; the 60,000 it was trained on calibrate."""

from __future__ import annotations

import gzip

import numpy as np

from benchmarks.quality.debian import Debian
from benchmarks.quality.samples import Samples
from optc.compiler.diagnostics import UserError
from optc.compiler.numerics import Array

DATA = Debian(
    "dataset-fashion-mnist",
    "usr/share/datasets/fashion-mnist",
    "-ubyte.gz",
    "3c4c8e577a593d6b47df7239a7d3aa5294fcf9e21bf3957dd6e15f3033aa8285",
    "MIT",
)
CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")


def make(count: int, seed: int) -> dict[str, Array]:
    """x N×1×28×28 in 0..1, label, slice the name of the class; the seed draws fewer than 10,000. Raises UserError for more."""
    return _drawn("t10k", count, seed)


def calibrate(count: int, seed: int) -> dict[str, Array]:
    """The same of the images that the model was trained on."""
    return _drawn("train", count, seed)


def _drawn(part: str, count: int, seed: int) -> dict[str, Array]:
    folder = DATA.fetch()
    images, labels = (
        np.frombuffer(gzip.decompress((folder / f"{part}-{name}-ubyte.gz").read_bytes()), np.uint8, offset=offset)
        for name, offset in (("images-idx3", 16), ("labels-idx1", 8))
    )
    if count > len(labels):
        raise UserError(f"there are {len(labels)} images, not {count}", place="fashion_cnn", hint=f"--count {len(labels)}")
    rows = np.sort(np.random.default_rng(seed).choice(len(labels), count, replace=False))
    label = labels[rows].astype(np.int64)
    x = images.reshape(-1, 1, 28, 28)[rows].astype(np.float32) / np.float32(255)
    return {"x": x, "label": label, "slice": np.array(CLASSES)[label]}


SAMPLES = Samples("fashion_cnn", "top1", make, 10_000, published=0.8803)
