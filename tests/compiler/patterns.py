"""Data for the Fashion-MNIST CNN that any machine can make: coarse patterns of many classes, labelled by the model itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from optc.compiler import load
from optc.compiler.reference import Reference

MODEL = Path(__file__).resolve().parents[1] / "models" / "fashion_cnn.onnx"


def write(path: Path, samples: int, wrong: int | None = None) -> Path:
    """An .npz of x, float32 [samples, 1, 28, 28], and y, the class; the label of each `wrong`-th sample is another one."""
    coarse = np.random.default_rng(0).random((samples, 1, 4, 4), np.float32)
    x = np.where(coarse > 0.6, coarse, 0).repeat(7, 2).repeat(7, 3)
    y = next(iter(Reference(load.load(MODEL)).run({"x": x}).values())).argmax(1)
    y[::wrong] = (y[::wrong] + (wrong is not None)) % 10
    np.savez(path, x=x, y=y)
    return path
