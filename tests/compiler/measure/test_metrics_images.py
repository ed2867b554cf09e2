"""IoU and SSIM: which outputs and labels fit, what does not count, and that batches may be joined."""

from __future__ import annotations

import math

import numpy as np
import pytest

from optc.compiler.diagnostics import UserError
from optc.compiler.measure import evaluate
from optc.compiler.numerics import Array

LABELS = np.array([[[0, 0], [1, 1]], [[0, 2], [2, 2]]])
FOUND = np.array([[[0, 1], [1, 1]], [[0, 2], [2, 0]]])
IOU = np.mean([2 / 4, 2 / 3, 2 / 3])  # of classes 0, 1, 2 over both samples


def value(name: str, output: Array, truth: Array) -> float:
    metric = evaluate.find(name)
    return metric.of(metric.checked(output, truth))


def scores(found: Array, classes: int = 3) -> Array:
    return np.moveaxis(np.eye(classes, dtype=np.float32)[found], -1, 1)


def test_iou_of_scores_of_numbers_and_of_numbers_with_an_axis() -> None:
    for output in (scores(FOUND), scores(FOUND, 7), FOUND, FOUND[:, None], FOUND.astype(np.uint8)):
        assert value("iou", output, LABELS) == pytest.approx(IOU)
    assert value("iou", LABELS, LABELS) == 1


def test_of_a_mask_only_the_mask_counts() -> None:
    labels, chance = np.array([[[0, 0, 1, 1]]]), np.array([[[0.4, 0.6, 0.7, 0.2]]], np.float32)
    for output in (chance, chance[:, None], chance > 0.5, (chance > 0.5)[:, None]):
        assert value("iou", output, labels) == pytest.approx(1 / 3)
        assert value("iou", output, labels == 1) == pytest.approx(1 / 3)
    assert math.isnan(value("iou", np.zeros((1, 1, 4)), np.zeros((1, 1, 4), int)))  # nothing is found, nothing is there


def test_where_labels_are_negative_any_answer_is_right() -> None:
    labels = np.where(FOUND == LABELS, LABELS, -1)
    assert value("iou", scores(FOUND), labels) == value("iou", FOUND, labels) == 1


def test_a_place_with_nan_is_of_no_class() -> None:
    broken = scores(LABELS)
    broken[0, 1, 0, 0] = math.nan
    assert value("iou", broken, LABELS) == pytest.approx((2 / 3 + 1 + 1) / 3)
    mask = np.array([[[1.0, math.nan, 0.0]]])
    assert value("iou", mask, np.array([[[1, 1, 0]]])) == 0.5


def test_a_batch_that_tells_of_fewer_classes_lacks_columns_at_the_right() -> None:
    metric = evaluate.find("iou")
    parts = [metric.checked(FOUND[i : i + 1], LABELS[i : i + 1]) for i in range(2)]
    assert [p.shape[1] for p in parts] == [4, 6]
    assert metric.of(np.concatenate([np.pad(parts[0], ((0, 0), (0, 2))), parts[1]])) == pytest.approx(IOU)


def test_iou_of_volumes() -> None:
    labels = np.arange(16).reshape(2, 2, 2, 2) % 3
    assert value("iou", scores(labels), labels) == 1


def test_images_that_are_the_same_are_similar_and_one_with_nan_is_not() -> None:
    image = np.random.default_rng(0).random((2, 3, 11, 12))
    assert value("ssim", image, image) == pytest.approx(1, abs=1e-12)
    assert value("ssim", 1 - image, image) < 0
    image[0, 0, 0, 0] = math.nan
    assert math.isnan(value("ssim", image, np.zeros_like(image)))


@pytest.mark.parametrize(
    ("name", "output", "labels", "words"),
    [
        ("iou", scores(FOUND), LABELS.astype(float), "class numbers of every place"),
        ("iou", scores(FOUND), LABELS[:, :1], "scores [samples, classes, ...]"),
        ("iou", scores(FOUND), np.zeros(2, int), "class numbers of every place"),
        ("iou", FOUND.astype("U"), LABELS, "class numbers or a mask"),
        ("iou", scores(FOUND), LABELS + 253, "labels below 3"),
        ("iou", FOUND / 2, LABELS, "labels below 2"),
        ("iou", FOUND + 2**20, LABELS, "class numbers below 65536"),
        ("ssim", np.zeros((2, 32, 32, 3)), np.zeros((2, 32, 32, 3)), "last two axes are 11 or more"),
        ("ssim", np.zeros((2, 32)), np.zeros((2, 32)), "images"),
        ("ssim", np.zeros((2, 3, 32, 32)), np.zeros((2, 32, 32)), "labels like the output"),
    ],
)
def test_what_does_not_fit_is_said(name: str, output: Array, labels: Array, words: str) -> None:
    with pytest.raises(UserError) as caught:
        evaluate.find(name).records(output, labels)
    assert words in caught.value.message
