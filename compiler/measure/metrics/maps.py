"""Metrics of segmentation: class scores or class numbers of every place against the class numbers that are true there."""

from __future__ import annotations

import math

import numpy as np

from optc.compiler.measure.metrics.metric import Metric, need
from optc.compiler.numerics import Array

_CLASSES = 1 << 16  # a class number beyond is no class, and records of so many would not fit in memory


def overlaps(output: Array, labels: Array) -> Array:
    """Of each class the intersection and the union of where it is found and where it is true, in places: [samples, 2 classes],
    the two numbers of a class side by side, so that a batch that tells of fewer classes lacks columns at the right.

    Labels [samples, ...] are class numbers, negative where any answer is right. The output is one of scores [samples, classes,
    ...] of which the highest is the answer, class numbers of the labels' shape, or of one class the mask, bool, or probability,
    float, which is compared with 0.5, [samples, ...] or [samples, 1, ...]; only class 1, the mask, is then counted. A place
    with NaN is of no class.
    """
    fits = labels.ndim > 1 and labels.dtype.kind in "iub"
    need(fits, "class numbers of every place, [samples, height, width]", labels, "array of labels")
    found, classes = _found(output, labels)
    mask = classes == 1
    rows = [_counts(f, t, 2 if mask else classes) for f, t in zip(found, labels, strict=True)]
    width = max((row.size for row in rows), default=2)
    joined = np.array([np.pad(row, (0, width - row.size)) for row in rows], np.float64).reshape(len(rows), width)
    return joined[:, 2:] if mask else joined


def mean_iou(records: Array) -> float:
    """Intersection over union of each class, both summed over all samples, and of these the unweighted mean over the classes
    that are found or true anywhere (M. Everingham et al., IJCV 111 (2015) 98-136; M. Cordts et al., CVPR 2016). NaN where there
    is no such class."""
    intersections, unions = records.sum(0).reshape(-1, 2).T
    seen = unions > 0
    return float(np.mean(intersections[seen] / unions[seen])) if seen.any() else math.nan


def _found(output: Array, labels: Array) -> tuple[Array, int]:
    """The class found at each place, in the labels' shape, -1 for none, and how many classes there are: 1 of a mask, 0 where
    only the numbers tell."""
    expected = f"scores [samples, classes, ...], class numbers or a mask of places {list(labels.shape)}"
    places = output[:, 0] if output.ndim == labels.ndim + 1 and output.shape[1] == 1 else output
    kind = places.dtype.kind
    if places.shape == labels.shape and kind in "iu":
        need(not places.size or int(places.max()) < _CLASSES, f"class numbers below {_CLASSES}", output)
        return np.maximum(places.astype(np.int64), -1), 0
    if places.shape == labels.shape and kind not in "OUS":
        scores = places.astype(np.float64)
        return np.where(np.isnan(scores), -1, scores > 0.5), 1
    shape = (*output.shape[:1], *output.shape[2:])
    need(shape == labels.shape and kind not in "OUSb", expected, output)
    best = output.argmax(1)
    return (best if kind in "iu" else np.where(np.isnan(output.astype(np.float64)).any(1), -1, best)), output.shape[1]


def _counts(found: Array, labels: Array, classes: int) -> Array:
    """[2 classes] of one sample; of as many classes as occur where `classes` is 0."""
    true = labels.astype(np.int64)
    found, true = found[true >= 0], true[true >= 0]
    highest = int(true.max(initial=-1))
    limit = classes or _CLASSES
    need(highest < limit, f"labels below {limit}, negative where none counts", labels, "map of labels")
    size = classes or max(highest, int(found.max(initial=-1))) + 1
    both = np.bincount(true[found == true], minlength=size)
    either = np.bincount(found[found >= 0], minlength=size) + np.bincount(true, minlength=size) - both
    return np.stack([both, either], 1).reshape(-1)


IOU = Metric("iou", "labels", "higher", overlaps, mean_iou, labels="maps", reach=1.0)
