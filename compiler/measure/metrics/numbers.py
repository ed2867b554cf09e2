"""Metrics of numbers: correlation of one number a sample with its label, and PSNR of whole arrays."""

from __future__ import annotations

import math

import numpy as np

from optc.compiler.measure.metrics.classes import midranks
from optc.compiler.measure.metrics.metric import Metric, need
from optc.compiler.numerics import Array


def pairs(output: Array, labels: Array) -> Array:
    """The number that the model gives and the label of each sample."""
    single = output.size == len(output) and output.dtype.kind not in "OUS"
    need(single, "one number a sample, [samples] or [samples, 1]", output)
    fits = labels.size == len(labels) and labels.dtype.kind in "iuf"
    need(fits, "numbers of shape [samples]", labels, "array of labels")
    return np.stack([output.reshape(-1), labels.reshape(-1)], 1).astype(np.float64)


def pearson(records: Array) -> float:
    """Covariance over the product of standard deviations (K. Pearson, Proc. R. Soc. 58 (1895) 240); NaN for a constant."""
    if (records == records[0]).all(0).any() or not np.isfinite(records).all():
        return math.nan
    centred = records - records.mean(0)
    x, y = (centred / np.abs(centred).max(0)).T  # else squares of large or small numbers would leave the range of floats
    return min(1.0, max(-1.0, float(x @ y) / math.sqrt(float(x @ x) * float(y @ y))))


def spearman(records: Array) -> float:
    """Pearson's correlation of the ranks, equal values sharing theirs (C. Spearman, Am. J. Psychol. 15 (1904) 72)."""
    if np.isnan(records).any():
        return math.nan
    return pearson(np.stack([midranks(records[:, 0]), midranks(records[:, 1])], 1))


def squared_errors(output: Array, labels: Array) -> Array:
    """Mean squared error of each sample over the square of the peak: 255 where labels are integers, 1 where they are floats."""
    fits = output.shape == labels.shape and labels.dtype.kind in "iuf"
    need(fits, f"labels like the output, {list(output.shape)}", labels, "array of labels")
    peak = 255.0 if labels.dtype.kind in "iu" else 1.0
    difference = (output.astype(np.float64) - labels.astype(np.float64)).reshape(len(output), -1) / peak
    return np.asarray((difference**2).mean(1, keepdims=True))


def psnr(records: Array) -> float:
    """Peak signal-to-noise ratio in dB of all samples together, -10 log10(MSE / peak^2) (ITU-T J.340); infinite without error."""
    error = float(np.mean(records))
    return -10 * math.log10(error) if error else math.inf


PEARSON = Metric("pearson", "labels", "higher", pairs, pearson)
SPEARMAN = Metric("spearman", "labels", "higher", pairs, spearman)
PSNR = Metric("psnr", "labels", "higher", squared_errors, psnr, percent="relative")
