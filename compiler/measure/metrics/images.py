"""Metrics of images: how much of their error is seen."""

from __future__ import annotations

import numpy as np

from optc.compiler.measure.metrics.metric import Metric, need
from optc.compiler.numerics import Array

WINDOW, SIGMA, K1, K2 = 11, 1.5, 0.01, 0.03  # as published


def similarities(output: Array, labels: Array) -> Array:
    """Structural similarity of each sample: the mean over places and channels of
    (2 m n + c) (2 cov + d) / ((m^2 + n^2 + c) (var + var' + d)) in a Gaussian window of 11 by 11, sigma 1.5, that lies wholly
    inside the image; c = (0.01 L)^2, d = (0.03 L)^2 (Z. Wang et al., IEEE Trans. Image Process. 13 (2004) 600-612).

    Images are [samples, channels, height, width] or [samples, height, width]. The range L is 255 where labels are integers and 1
    where they are floats.
    """
    need(output.ndim in (3, 4) and output.dtype.kind not in "OUSb", "images, [samples, channels, height, width]", output)
    need(min(output.shape[-2:]) >= WINDOW, f"images whose last two axes are {WINDOW} or more", output)
    fits = output.shape == labels.shape and labels.dtype.kind in "iuf"
    need(fits, f"labels like the output, {list(output.shape)}", labels, "array of labels")
    peak = 255.0 if labels.dtype.kind in "iu" else 1.0
    values = [_similarity(x.astype(np.float64) / peak, y.astype(np.float64) / peak) for x, y in zip(output, labels, strict=True)]
    return np.array(values, np.float64).reshape(-1, 1)


def _similarity(x: Array, y: Array) -> float:
    """Of one image of range 1; one at a time, since it takes a dozen arrays of the image's size."""
    m, n, c, d = _blurred(x), _blurred(y), K1**2, K2**2
    variance, other, covariance = _blurred(x * x) - m * m, _blurred(y * y) - n * n, _blurred(x * y) - m * n
    return float(np.mean((2 * m * n + c) * (2 * covariance + d) / ((m * m + n * n + c) * (variance + other + d))))


def _blurred(image: Array) -> Array:
    """The weighted mean in the window around each place that has a whole one; the last two axes become smaller."""
    weights = np.exp(-0.5 * ((np.arange(WINDOW) - WINDOW // 2) / SIGMA) ** 2)
    weights /= weights.sum()
    for axis in (-2, -1):
        size = image.shape[axis] - WINDOW + 1
        image = np.sum([w * image.take(range(k, k + size), axis) for k, w in enumerate(weights)], 0)
    return image


SSIM = Metric("ssim", "labels", "higher", similarities)
