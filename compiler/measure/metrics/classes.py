"""Metrics of classifiers: scores [samples, classes] (or class numbers [samples]) against class numbers [samples].

An output with NaN is a wrong answer in each of them.
"""

from __future__ import annotations

import math

import numpy as np

from optc.compiler.measure.metrics.metric import Metric, need
from optc.compiler.numerics import Array


def _top(k: int, scores: Array, labels: Array) -> Array:
    """1 where fewer than k classes score above the label's own; among equal scores the lower class number goes first."""
    need(scores.ndim == 2 and scores.dtype.kind not in "OUSb", "scores of shape [samples, classes]", scores)
    need(scores.shape[1] > k, f"more than {k} classes", scores)
    _class_numbers(labels)
    scores, own = scores.astype(np.float64), labels.astype(np.int64)[:, None]
    mine = np.take_along_axis(scores, own, 1)
    before = (scores > mine) | ((scores == mine) & (np.arange(scores.shape[1]) < own))
    return np.asarray(((before.sum(1) < k) & ~np.isnan(scores).any(1)).astype(np.float64)[:, None])


def top1(scores: Array, labels: Array) -> Array:
    """Top-1 accuracy: the share of samples whose label has the highest score (Russakovsky et al., IJCV 115 (2015), section 4)."""
    return _top(1, scores, labels)


def top5(scores: Array, labels: Array) -> Array:
    """Top-5 accuracy: the share of samples whose label is among the five highest scores (same source as top-1)."""
    return _top(5, scores, labels)


def accuracy(output: Array, labels: Array) -> Array:
    """The share of samples whose predicted class (the highest score, or the number itself) is the label."""
    _class_numbers(labels)
    return np.asarray((_predicted(output) == labels).astype(np.float64)[:, None])


def predictions(output: Array, labels: Array) -> Array:
    """The predicted class and the label of each sample."""
    _class_numbers(labels)
    return np.stack([_predicted(output), labels], 1).astype(np.float64)


def macro_f1(records: Array) -> float:
    """Unweighted mean over classes of 2 TP / (2 TP + FP + FN) (C. J. van Rijsbergen, Information Retrieval, 1979, chapter 7).

    Classes are those that occur among labels or predictions.
    """
    predicted, label = (records.astype(np.int64) + 1).T  # -1, no prediction, is counted for no class
    size = int(records.max()) + 2
    right = np.bincount(label[predicted == label], minlength=size)[1:]
    total = (np.bincount(predicted, minlength=size) + np.bincount(label, minlength=size))[1:]
    return float(np.mean(2 * right[total > 0] / total[total > 0]))


def binary_scores(output: Array, labels: Array) -> Array:
    """The label of each sample, 0 or 1, and its score of class 1, or its scores of both classes."""
    two = output.ndim == 2 and output.shape[1] == 2
    one = output.ndim == 1 or (output.ndim == 2 and output.shape[1] == 1)
    need(
        (two or one) and output.dtype.kind not in "OUS", "scores of two classes, [samples, 2], [samples, 1] or [samples]", output
    )
    need(labels.ndim == 1 and bool(np.isin(labels, (0, 1)).all()), "labels 0 and 1 of shape [samples]", labels, "array of labels")
    return np.concatenate([labels[:, None], output.reshape(len(output), -1)], 1, dtype=np.float64)


def area(records: Array) -> float:
    """Area under the ROC curve: the share of pairs of a 1 and a 0 in which the 1 scores higher, ties counted half
    (J. Hanley, B. McNeil, Radiology 143 (1982) 29-36). NaN where one class is missing.

    Probabilities of both classes are ordered by that of class 1, other scores by their difference, as their softmax would be."""
    positive, scores = records[:, 0] == 1, _score(records[:, 1:])
    ones = int(positive.sum())
    pairs = ones * (len(records) - ones)
    if not pairs or np.isnan(scores).any():
        return math.nan
    return float((midranks(scores)[positive].sum() - ones * (ones + 1) / 2) / pairs)


def _score(columns: Array) -> Array:
    if columns.shape[1] == 1:
        return columns[:, 0]
    if (columns >= 0).all() and (np.abs(columns.sum(1) - 1) < 1e-3).all():
        return columns[:, 1]  # less p of class 0 the small ones would be rounded to -1, and be ties
    with np.errstate(invalid="ignore"):
        return np.asarray(columns[:, 1] - columns[:, 0])


def midranks(values: Array) -> Array:
    """Ranks from 1; equal values share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[place])


def _predicted(output: Array) -> Array:
    """[samples] class numbers, -1 where scores hold NaN."""
    if output.ndim == 1 and output.dtype.kind in "iu":
        return output.astype(np.int64)
    fits = output.ndim == 2 and output.shape[1] > 1 and output.dtype.kind not in "OUSb"
    need(fits, "scores of shape [samples, classes] or class numbers of shape [samples]", output)
    scores = output.astype(np.float64)
    return np.where(np.isnan(scores).any(1), -1, scores.argmax(1))


def _class_numbers(labels: Array) -> None:
    need(labels.ndim == 1 and labels.dtype.kind in "iub", "class numbers of shape [samples]", labels, "array of labels")


TOP1 = Metric("top1", "labels", "higher", top1, labels="classes", binary=True)
TOP5 = Metric("top5", "labels", "higher", top5, labels="classes", binary=True)
ACCURACY = Metric("accuracy", "labels", "higher", accuracy, labels="classes", binary=True)
F1 = Metric("f1", "labels", "higher", predictions, macro_f1, labels="classes", reach=1.0)
AUC = Metric("auc", "labels", "higher", binary_scores, area, reach=1.0)
