"""Metrics of sequences: WER and CER of token numbers or of text, and perplexity.

Negative labels are padding, which does not count. Text is brought to Unicode's normal form C (UAX #15); case and punctuation
are part of it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

import numpy as np

from optc.compiler.diagnostics import UserError
from optc.compiler.measure.metrics.metric import Metric, need
from optc.compiler.numerics import Array


def word_errors(output: Array, labels: Array) -> Array:
    """Edits between output and label, and the label's length: of strings [samples] in words, which white space separates, of
    token numbers [samples, length] in tokens."""
    if labels.dtype.kind in "OU":
        return _edits(*([np.array(text.split(), object) for text in texts] for texts in _texts(output, labels)))
    need(output.ndim == 2 and output.dtype.kind in "iu", "token numbers of shape [samples, length]", output)
    return _edits(_tokens(output), _tokens(labels))


def character_errors(output: Array, labels: Array) -> Array:
    """The same in characters (code points), or in tokens. Scores [samples, steps, classes] are decoded as CTC does greedily: the
    best class of each step, repeats merged, blanks (class 0) dropped (A. Graves et al., ICML 2006, section 3.2)."""
    if labels.dtype.kind in "OU":
        return _edits(*([np.array(list(text), object) for text in texts] for texts in _texts(output, labels)))
    if output.ndim == 3 and output.dtype.kind not in "OUSbiu":
        best = output.argmax(2)
        kept = (best != 0) & (best != np.concatenate([np.zeros_like(best[:, :1]), best[:, :-1]], 1))
        return _edits([row[keep] for row, keep in zip(best, kept, strict=True)], _tokens(labels))
    expected = "token numbers [samples, length] or CTC scores [samples, steps, classes]"
    need(output.ndim == 2 and output.dtype.kind in "iu", expected, output)
    return _edits(_tokens(output), _tokens(labels))


def error_rate(records: Array) -> float:
    """Edits over the length of the labels, both summed over samples (WER and CER: A. Morris et al., Interspeech 2004)."""
    return float(records[:, 0].sum() / records[:, 1].sum()) if records[:, 1].any() else np.nan


def log_likelihoods(logits: Array, labels: Array) -> Array:
    """The negative log-likelihood of a sample's tokens, summed, and their number. Logits [samples, length, tokens] at a place
    speak of the label at the same place."""
    need(logits.ndim == 3 and logits.dtype.kind not in "OUSbiu", "logits of shape [samples, length, tokens]", logits)
    fits = labels.dtype.kind in "iu" and labels.shape == logits.shape[:2]
    need(fits, f"token numbers of shape {list(logits.shape[:2])}", labels, "array of labels")
    scores, counted = logits.astype(np.float64), labels >= 0
    own = np.take_along_axis(scores, np.where(counted, labels, 0).astype(np.int64)[..., None], 2)[..., 0]
    highest = scores.max(2)
    losses = np.log(np.exp(scores - highest[..., None]).sum(2)) + highest - own
    return np.stack([np.where(counted, losses, 0).sum(1), counted.sum(1)], 1).astype(np.float64)


def perplexity(records: Array) -> float:
    """exp of the mean negative log-likelihood of a token (F. Jelinek et al., JASA 62 (1977) S63)."""
    return float(np.exp(records[:, 0].sum() / records[:, 1].sum())) if records[:, 1].any() else np.nan


def _tokens(rows: Array) -> list[Array]:
    need(rows.ndim == 2 and rows.dtype.kind in "iu", "token numbers of shape [samples, length]", rows, "array of labels")
    return [row[row >= 0] for row in rows]


def _texts(output: Array, labels: Array) -> Iterator[list[str]]:
    """The strings of both."""
    if output.dtype.kind not in "OU":
        hint = "give labels as token numbers; or a metric of your own that knows the characters (entry point group optc.metrics)"
        raise UserError(f"the labels are strings, the output is {output.dtype}{list(output.shape)}", hint=hint)
    for array, what in ((output, "output"), (labels, "array of labels")):
        fits = array.size == len(array) and all(isinstance(text, str) for text in array.flat)
        need(fits, "strings of shape [samples]", array, what)
        yield [unicodedata.normalize("NFC", text) for text in array.flat]


def _edits(found: list[Array], wanted: list[Array]) -> Array:
    return np.array([[edit_distance(f, w), len(w)] for f, w in zip(found, wanted, strict=True)], np.float64).reshape(-1, 2)


def edit_distance(a: Array, b: Array) -> int:
    """Insertions, deletions and substitutions that make `b` of `a` (V. Levenshtein, 1966), one row of the table at a time."""
    places = np.arange(len(b) + 1)
    row = places
    for i, token in enumerate(a, 1):
        best = np.minimum(row[1:] + 1, row[:-1] + (b != token))
        row = np.minimum.accumulate(np.concatenate([[i], best]) - places) + places  # insertions run along the row
    return int(row[-1])


WER = Metric("wer", "labels", "lower", word_errors, error_rate, reach=1.0)
CER = Metric("cer", "labels", "lower", character_errors, error_rate, reach=1.0)
PERPLEXITY = Metric("perplexity", "labels", "lower", log_likelihoods, perplexity, labels="tokens", percent="relative")
