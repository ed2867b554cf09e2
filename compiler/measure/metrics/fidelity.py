"""Fidelity: how near a result's outputs are to the source model's on the same samples; no labels are needed.

Output and source are [samples, ...] of the same shape and dtype.
"""

from __future__ import annotations

import numpy as np

from optc.compiler.measure.metrics.metric import Metric, need
from optc.compiler.numerics import Array


def agreement(output: Array, source: Array) -> Array:
    """1 where the highest score (along the last axis, at every place) is that of the same class, or all integers are the same."""
    if source.dtype.kind in "iubOUS":
        return np.asarray((output == source).reshape(len(output), -1).all(1, keepdims=True).astype(np.float64))
    need(source.ndim > 1 and source.shape[-1] > 1, "scores of shape [samples, ..., classes], or class numbers", source)
    same = output.argmax(-1) == source.argmax(-1)
    same &= ~np.isnan(output.astype(np.float64)).any(-1) | np.isnan(source.astype(np.float64)).any(-1)
    return np.asarray(same.reshape(len(output), -1).all(1, keepdims=True).astype(np.float64))


def relative_l2(output: Array, source: Array) -> Array:
    """|output - source| / |source| in the Euclidean norm, for each sample; 0 where both are 0."""
    a, b = _flat(output), _flat(source)
    with np.errstate(divide="ignore", invalid="ignore"):  # equal infinities differ by nothing
        difference, scale = np.linalg.norm(np.where(a == b, 0.0, a - b), axis=1), np.linalg.norm(b, axis=1)
        return np.where(difference == 0, 0.0, difference / scale)[:, None]


def cosine(output: Array, source: Array) -> Array:
    """The cosine of the angle between output and source, for each sample; 1 where both are 0."""
    a, b = _flat(output), _flat(source)
    scale = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((a == b).all(1), 1.0, np.where(scale == 0, 0.0, (a * b).sum(1) / scale))[:, None]


def kl(output: Array, source: Array) -> Array:
    """sum p log(p / q) in nats over the last axis (S. Kullback, R. Leibler, Ann. Math. Stat. 22 (1951) 79), the mean over a
    sample's places; p is the source's distribution, q the result's. Where the source's rows are no distributions, both are
    taken for logits."""
    need(source.ndim > 1 and source.shape[-1] > 1 and source.dtype.kind not in "OUSbiu", "scores [samples, ..., classes]", source)
    p, q = source.astype(np.float64), output.astype(np.float64)
    distributions = ((p >= 0).all(-1) & (np.abs(p.sum(-1) - 1) < 1e-3))[..., None]
    with np.errstate(divide="ignore", invalid="ignore"):
        log_p, log_q = (np.where(distributions, np.log(x), _log_softmax(x)) for x in (p, q))
        terms = np.where(log_p == -np.inf, 0.0, np.exp(log_p) * (log_p - log_q))
    return np.asarray(terms.sum(-1).reshape(len(output), -1).mean(1, keepdims=True))


def worst(records: Array) -> float:
    """The largest of all samples."""
    return float(np.max(records))


def _flat(array: Array) -> Array:
    need(array.dtype.kind not in "OUS", "numbers", array)
    return array.reshape(len(array), -1).astype(np.float64)


def _log_softmax(x: Array) -> Array:
    shifted = x - x.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))


AGREEMENT = Metric("agreement", "source", "higher", agreement, binary=True)
RELATIVE_L2 = Metric("relative-l2", "source", "lower", relative_l2)
COSINE = Metric("cosine", "source", "higher", cosine)
KL = Metric("kl", "source", "lower", kl)
WORST_L2 = Metric("worst-l2", "source", "lower", relative_l2, worst, observed=True)
