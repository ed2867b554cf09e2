"""Metrics against the libraries that people know them from: on waves that anyone can make again, with the values they gave.

Expected values are those of scikit-learn 1.9.1, SciPy 1.17.1 and scikit-image 0.26.0 on the arrays of each test.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from optc.compiler.measure import evaluate
from optc.compiler.numerics import Array


def value(name: str, output: Array, truth: Array) -> float:
    metric = evaluate.find(name)
    return metric.of(metric.checked(output, truth))


def wave(*shape: int, step: float = 1.7) -> Array:
    return np.sin(np.arange(math.prod(shape)) * step).reshape(shape)


def classes(*shape: int, n: int) -> Array:
    return np.floor((wave(*shape, step=2.3) + 1) / 2 * n).clip(0, n - 1).astype(np.int64)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("top1", 0.135),  # sklearn.metrics.top_k_accuracy_score, k=1
        ("top5", 0.695),  # k=5
        ("accuracy", 0.135),  # accuracy_score
        ("f1", 0.12573404259275164),  # f1_score, average="macro"
    ],
)
def test_classifiers(name: str, expected: float) -> None:
    assert value(name, wave(200, 7), classes(200, n=7)) == pytest.approx(expected, abs=1e-12)


def test_area_under_the_curve() -> None:
    labels, rounded, logits = classes(200, n=2), wave(200, step=2.0).round(1), 40 * wave(200, step=2.0)
    assert value("auc", rounded, labels) == pytest.approx(0.48934573829531813, abs=1e-12)  # roc_auc_score, with ties
    assert value("auc", np.stack([-logits, logits], 1), labels) == pytest.approx(0.49029611844737897, abs=1e-12)
    one = 1 / (1 + np.exp(-logits))
    probabilities = np.stack([1 - one, one], 1).astype(np.float32)  # the small ones are no ties, though 1 - p is 1
    assert value("auc", probabilities, labels) == pytest.approx(0.5204581832733094, abs=1e-12)


def test_correlations() -> None:
    x, y = wave(200, step=2.0).round(1), wave(200, step=2.1)
    assert value("pearson", x, y) == pytest.approx(0.041715402272236655, abs=1e-12)  # scipy.stats.pearsonr
    assert value("spearman", x, y.round(1)) == pytest.approx(0.09699700934173132, abs=1e-12)  # spearmanr, with ties
    for scale in (1e200, 1e-200):  # whose squares no float64 holds
        assert value("pearson", x * scale, y) == pytest.approx(0.041715402272236655, abs=1e-12)
    assert value("pearson", x, x) == 1


@pytest.mark.parametrize("constant", [0.1, 1 / 3, 1e10 + 0.1])
def test_a_constant_correlates_with_nothing(constant: float) -> None:
    """As SciPy says; the mean of equal numbers is not always that number."""
    for name in ("pearson", "spearman"):
        assert math.isnan(value(name, np.full(7, constant), np.arange(7.0)))


def test_perplexity() -> None:
    # exp of sklearn.metrics.log_loss of the softmax
    assert value("perplexity", 5 * wave(6, 9, 11), classes(6, 9, n=11)) == pytest.approx(373.7036175318506, rel=1e-12)


def test_peak_signal_to_noise_ratio() -> None:
    image, other = wave(2, 3, 24, 31) / 2 + 0.5, wave(2, 3, 24, 31, step=1.9) / 2 + 0.5
    # skimage.metrics.peak_signal_noise_ratio, data_range=1
    assert value("psnr", other, image) == pytest.approx(6.023332405460495, abs=1e-12)


def test_intersection_over_union() -> None:
    scores, labels = wave(3, 5, 8, 9), classes(3, 8, 9, n=5)
    # sklearn.metrics.jaccard_score of all places, average="macro"
    assert value("iou", scores, labels) == pytest.approx(0.06210726863952145, abs=1e-12)
    assert value("iou", scores.argmax(1), labels) == pytest.approx(0.06210726863952145, abs=1e-12)
    # without the places whose label is 4, which is still an answer
    assert value("iou", scores, np.where(labels == 4, -1, labels)) == pytest.approx(0.04140888389424499, abs=1e-12)
    mask = wave(3, 8, 9) / 2 + 0.5
    # jaccard_score of mask > 0.5
    assert value("iou", mask, classes(3, 8, 9, n=2)) == pytest.approx(0.32515337423312884, abs=1e-12)


def test_structural_similarity() -> None:
    y, x = np.mgrid[:24, :31]
    image = np.array([[(np.sin(x / (3 + k)) * np.cos(y / (4 + i)) + 1) / 2 for k in range(3)] for i in range(2)])
    noisy = np.clip(image + 0.1 * np.sin(np.arange(image.size) * 1.7).reshape(image.shape), 0, 1)
    # skimage.metrics.structural_similarity, gaussian_weights=True, use_sample_covariance=False, channel_axis=0, data_range=1
    records = evaluate.find("ssim").checked(noisy, image)
    assert records[:, 0] == pytest.approx([0.8502116461487522, 0.819595138032903], abs=1e-9)
    # data_range=255 of the images in bytes; then without channels
    stored, found = ((a * 255).round().astype(np.uint8) for a in (image, noisy))
    records = evaluate.find("ssim").checked(found, stored)
    assert records[:, 0] == pytest.approx([0.8500591095398685, 0.8197977880486311], abs=1e-9)
    records = evaluate.find("ssim").checked(found[:, 0].astype(np.float32), stored[:, 0])  # a model gives floats
    assert records[:, 0] == pytest.approx([0.8777803089266052, 0.8563236359995731], abs=1e-9)
