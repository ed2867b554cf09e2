"""Each metric against values computed by hand, or by its definition written out."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from optc.compiler.diagnostics import UserError
from optc.compiler.measure import evaluate
from optc.compiler.measure.metrics.tokens import edit_distance
from optc.compiler.numerics import Array

RNG = np.random.default_rng(0)
SCORES = np.array([[0.1, 0.7, 0.2], [0.5, 0.5, 0.0], [0.2, 0.3, 0.5], [0.9, 0.05, 0.05]], np.float32)


def value(name: str, output: Array, truth: Array) -> float:
    metric = evaluate.find(name)
    return metric.of(metric.records(output, truth))


@pytest.mark.parametrize(("labels", "expected"), [([1, 0, 2, 0], 1.0), ([1, 1, 2, 0], 0.75), ([0, 1, 0, 1], 0.0)])
def test_top1_and_accuracy(labels: list[int], expected: float) -> None:
    assert value("top1", SCORES, np.array(labels)) == expected  # of equal scores the lower class is the answer
    assert value("accuracy", SCORES, np.array(labels)) == expected
    assert value("accuracy", SCORES.argmax(1), np.array(labels)) == expected


def test_top5_counts_the_five_highest() -> None:
    scores = np.tile(np.arange(8.0), (8, 1))
    assert evaluate.find("top5").records(scores, np.arange(8)).ravel().tolist() == [0, 0, 0, 1, 1, 1, 1, 1]


def test_an_answer_with_nan_is_wrong() -> None:
    broken, labels = SCORES.copy(), np.array([1, 0, 2, 0])
    broken[0, 1] = math.nan
    assert [value(n, broken, labels) for n in ("top1", "accuracy")] == [0.75, 0.75]
    assert value("agreement", broken, SCORES) == 0.75
    assert value("f1", broken, labels) == pytest.approx((1 + 0 + 1) / 3)


def test_macro_f1() -> None:
    predicted, labels = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 0, 0, 1, 2, 1])
    assert value("f1", predicted, labels) == pytest.approx((4 / 5 + 2 / 4 + 2 / 3) / 3)
    assert value("f1", predicted, predicted) == 1


def test_auc_is_the_share_of_ordered_pairs() -> None:
    scores, labels = RNG.integers(0, 6, 60).astype(np.float32), RNG.integers(0, 2, 60)
    pairs = [(a > b) + (a == b) / 2 for a, b in product(scores[labels == 1], scores[labels == 0])]
    assert value("auc", scores, labels) == pytest.approx(np.mean(pairs))
    assert value("auc", scores[:, None], labels) == value("auc", np.stack([-scores, scores], 1), labels)


def test_edit_distance_is_that_of_the_table() -> None:
    for _ in range(50):
        a, b = RNG.integers(0, 3, RNG.integers(0, 8)), RNG.integers(0, 3, RNG.integers(0, 8))
        table = {(i, j): i + j for i in range(len(a) + 1) for j in range(len(b) + 1) if i == 0 or j == 0}
        for i, j in product(range(1, len(a) + 1), range(1, len(b) + 1)):
            table[i, j] = min(table[i - 1, j] + 1, table[i, j - 1] + 1, table[i - 1, j - 1] + (a[i - 1] != b[j - 1]))
        assert edit_distance(a, b) == table[len(a), len(b)]


def test_word_and_character_error_rates() -> None:
    output, labels = np.array([[1, 2, 3, -1], [4, 5, -1, -1]]), np.array([[1, 3, -1], [4, 5, 6]])
    assert value("wer", output, labels) == value("cer", output, labels) == pytest.approx(2 / 5)
    steps = np.eye(4)[[[1, 1, 0, 1, 2, 0], [3, 0, 0, 0, 0, 0]]]  # decodes to 1 1 2 and 3
    assert value("cer", steps.astype(np.float32), np.array([[1, 1, 2], [3, -1, -1]])) == 0


def test_perplexity_of_uniform_and_of_known_logits() -> None:
    labels = np.array([[0, 1, -100], [2, 3, 4]])
    assert value("perplexity", np.zeros((2, 3, 7), np.float32), labels) == pytest.approx(7)
    logits = RNG.normal(0, 1, (2, 3, 7))
    likelihoods = (np.exp(logits) / np.exp(logits).sum(2, keepdims=True))[labels >= 0, labels[labels >= 0]]
    assert value("perplexity", logits, labels) == pytest.approx(np.prod(likelihoods) ** (-1 / 5))


def test_correlations() -> None:
    x, y = np.array([1.0, 2, 3, 4, 5]), np.array([2.0, 1, 4, 3, 50])
    assert value("pearson", x, y) == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert value("spearman", x[:, None], y) == pytest.approx(1 - 6 * 4 / (5 * 24))  # 1 - 6 sum d^2 / (n (n^2 - 1))
    assert value("spearman", np.exp(x), x) == pytest.approx(1)
    ties = np.array([1, 2, 2, 3, 3])
    assert value("spearman", x, ties) == pytest.approx(np.corrcoef(x, [1, 2.5, 2.5, 4.5, 4.5])[0, 1])


def test_psnr() -> None:
    labels = np.zeros((3, 4, 4), np.uint8)
    assert value("psnr", np.full_like(labels, 5), labels) == pytest.approx(20 * math.log10(255 / 5))
    assert value("psnr", labels, labels) == math.inf
    assert value("psnr", np.full((3, 2), 0.1), np.zeros((3, 2))) == pytest.approx(20)


def test_fidelity_to_the_source() -> None:
    source = np.array([[3.0, 4, 0], [0, 0, 2]])
    output = np.array([[3.0, 4, 0.5], [0, 2, 0]])
    assert value("agreement", output, source) == 0.5
    assert value("relative-l2", output, source) == pytest.approx((0.1 + math.sqrt(2)) / 2)
    assert value("worst-l2", output, source) == pytest.approx(math.sqrt(2))
    assert value("cosine", output, source) == pytest.approx((5 / math.hypot(5, 0.5) + 0) / 2)
    perfect = {"agreement": 1, "relative-l2": 0, "worst-l2": 0, "cosine": 1, "kl": 0}
    assert {n: value(n, source, source) for n in perfect} == pytest.approx(perfect, abs=1e-12)
    infinite = np.array([[-np.inf, 1.0, 2.0]])  # a masked score is no difference
    assert value("relative-l2", infinite, infinite) == value("kl", infinite, infinite) == 0


def test_kl_of_distributions_and_of_their_logits_is_the_same() -> None:
    p, q = np.array([[0.5, 0.25, 0.25]]), np.array([[0.25, 0.5, 0.25]])
    expected = 0.5 * math.log(2) - 0.25 * math.log(2)
    assert value("kl", q, p) == pytest.approx(expected)
    assert value("kl", np.log(q) + 3, np.log(p) - 2) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "output", "labels", "words"),
    [
        ("top1", np.zeros((4, 2, 2)), np.zeros(4, int), "[samples, classes]"),
        ("top5", SCORES, np.zeros(4, int), "more than 5 classes"),
        ("top1", SCORES, np.zeros(4), "class numbers"),
        ("auc", SCORES, np.zeros(4, int), "two classes"),
        ("auc", SCORES[:, 0], np.array([0, 1, 2, 0]), "labels 0 and 1"),
        ("wer", SCORES, np.zeros((4, 2), int), "token numbers"),
        ("cer", SCORES, np.zeros((4, 2), int), "CTC"),
        ("perplexity", SCORES, np.zeros(4, int), "logits"),
        ("pearson", SCORES, np.zeros(4), "one number a sample"),
        ("psnr", SCORES, np.zeros(4), "like the output"),
        ("agreement", SCORES[:, 0], SCORES[:, 0], "classes"),
        ("kl", SCORES[:, :1], SCORES[:, :1], "classes"),
    ],
)
def test_a_metric_that_does_not_fit_says_what_it_needs(name: str, output: Array, labels: Array, words: str) -> None:
    with pytest.raises(UserError) as caught:
        evaluate.find(name).records(output, labels)
    assert words in caught.value.message


def test_unknown_metrics_are_errors() -> None:
    with pytest.raises(UserError, match="did you mean 'top1'"):
        evaluate.find("top-1")
