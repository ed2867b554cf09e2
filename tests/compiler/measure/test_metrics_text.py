"""WER and CER of text: what a word is, what a character is, and what labels must be."""

from __future__ import annotations

import numpy as np
import pytest

from optc.compiler.diagnostics import UserError
from optc.compiler.measure import evaluate
from optc.compiler.numerics import Array


def value(name: str, output: Array, truth: Array) -> float:
    metric = evaluate.find(name)
    return metric.of(metric.checked(output, truth))


def texts(*lines: str, dtype: type = object) -> Array:
    return np.array(lines, dtype)


@pytest.mark.parametrize("dtype", [object, str])
def test_edits_over_the_length_of_the_labels(dtype: type) -> None:
    labels = texts("the cat sat", "on a  mat\n", dtype=dtype)
    output = texts("the bat sat", "on mat", dtype=dtype)
    assert value("wer", output, labels) == pytest.approx(2 / 6)  # one word is another, one is missing
    assert value("cer", output, labels) == pytest.approx((1 + 4) / (11 + 10))  # white space is text too
    assert value("wer", labels, labels) == value("cer", labels[:, None], labels) == 0


def test_characters_are_compared_in_normal_form_c() -> None:
    composed, decomposed = "Z\u00fcrich", "Zu\u0308rich"
    assert value("cer", texts(decomposed), texts(composed)) == value("wer", texts(composed), texts(decomposed)) == 0
    assert value("cer", texts("Zurich"), texts(decomposed)) == pytest.approx(1 / 6)  # one letter of six, not of seven


def test_case_is_part_of_the_text_and_nothing_may_be_found() -> None:
    assert value("wer", texts("A b", ""), texts("a b", "c d")) == pytest.approx(3 / 4)
    assert np.isnan(value("cer", texts("a"), texts("")))  # a rate of no characters is no number


@pytest.mark.parametrize(
    ("name", "output", "labels", "words"),
    [
        ("cer", np.zeros((1, 5, 4), np.float32), texts("ab"), ("labels are strings", "give labels as token numbers")),
        ("wer", np.zeros((1, 5), np.int64), texts("ab"), ("labels are strings", "token numbers")),
        ("wer", texts("ab"), np.zeros((1, 5), np.int64), ("token numbers of shape",)),
        ("cer", np.array([["a", "b"]], object), texts("ab"), ("strings of shape [samples]",)),
        ("cer", np.array([b"ab"], object), texts("ab"), ("strings of shape [samples]",)),
    ],
)
def test_what_does_not_fit_is_said(name: str, output: Array, labels: Array, words: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as caught:
        evaluate.find(name).records(output, labels)
    assert all(w in str(caught.value) for w in words)
