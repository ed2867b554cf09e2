"""Attention as exporters write it: heads, scales, masks, keys of the past, shared keys, rotary positions; parallel products."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from optc.compiler.testing.writer import BOOL, FLOAT, INT64, Known, Writer

MAX = int(np.iinfo(np.int64).max)


def _tokens(k: Known) -> bool:
    return k.rank == 3 and isinstance(k.shape[2], int) and k.shape[2] in (4, 6, 8, 16) and k.shape[1] != 0


def heads(w: Writer, x: Known, count: int) -> Known:
    """[N, S, D] -> [N, heads, S, D / heads]."""
    n, s, d = x.shape
    each = int(d) // count
    if w.chance(0.3) and x.shape[0] != 0:
        batch = w.unsqueeze(_dim_of(w, x, 0), [0])
        length = w.unsqueeze(_dim_of(w, x, 1), [0])
        target = w.concat([batch, length, w.ints(count), w.ints(each)], 0, 4)
        cut = w.like("Reshape", x, target, shape=(n, s, count, each))
    else:
        cut = w.reshape(x, [0, 0, count, each if w.chance(0.5) else -1], (n, s, count, each))
    return w.transpose(cut, [0, 2, 1, 3])


def _dim_of(w: Writer, x: Known, axis: int) -> Known:
    """One number of the shape, as PyTorch asks for it."""
    gathered = w.like("Gather", w.shape_of(x), w.const(np.asarray(axis), INT64), axis=0, shape=())
    return replace(gathered, exact=True)


def rotated(w: Writer, x: Known) -> Known:
    """x cos + rotate_half(x) sin, of [N, heads, S, E] with S known; halves or (oddly) signs the other way round."""
    s, e = int(x.shape[2]), int(x.shape[3])
    angle = np.outer(np.arange(s), 1 / 10 ** (np.arange(e // 2) / e))
    table = np.concatenate([angle, angle], axis=-1)
    cos, sin = (w.const(f(table)) for f in (np.cos, np.sin))
    if w.chance(0.5):
        first, second = w.split(x, -1, [e // 2, e // 2])
    else:
        first, second = w.slice(x, 3, 0, e // 2, e // 2), w.slice(x, 3, e // 2, MAX, e // 2)
    turned = w.concat([w.like("Neg", second), first] if not w.odd else [second, w.like("Neg", first)], -1, e)
    made = w.add(w.mul(x, cos), w.mul(turned, sin))
    return replace(made, bound=2 * x.bound)


def attention(w: Writer) -> None:
    """softmax(q kᵀ / √d + mask) v in many spellings; with a past, with fewer heads of keys, with rotated keys."""
    x = w.pick(fits=_tokens)
    if x is None:
        return
    n, s, d = x.shape
    width, count = int(d), w.choose((1, 2, 2))
    groups = count if not w.chance(0.25) else 1
    each = width // count
    q, k, v = (_projected(w, x, width if i == 0 else groups * each) for i in range(3))
    q, k, v = heads(w, q, count), heads(w, k, groups), heads(w, v, groups)
    q, k, v = (replace(t, bound=min(t.bound, 16.0)) for t in (q, k, v))
    if isinstance(s, int) and each % 2 == 0 and w.chance(0.4):
        q, k = rotated(w, q), rotated(w, k)
    length = s
    past = w.pick(fits=lambda t: t.rank == 4 and t.shape[:2] == (n, groups) and t.shape[3] == each and t.name.startswith("past"))
    if past is not None:
        length = w.dim(f"{past.shape[2]}+{s}", w.least(past.shape[2]) + w.least(s))
        k, v = w.concat([past, k], 2, length), w.concat([past, v], 2, length)
        w.put(k)
    if groups != count:
        k, v = (_repeated(w, t, count) for t in (k, v))
    scale = each**0.5
    if w.chance(0.3):
        q, k = (w.mul(t, w.scalar(scale**-0.5)) for t in (q, k))
    kt = w.transpose(k, [0, 1, 3, 2])
    scores = w.matmul(q, kt)
    if w.chance(0.7):
        scores = w.binary("Div", scores, w.scalar(scale)) if w.chance(0.5) else w.mul(scores, w.scalar(1 / scale))
    scores = replace(scores, bound=16.0)
    scores = _masked(w, scores, x, length)
    weights = w.like("Softmax", scores, axis=-1 if w.chance(0.6) or w.scope.opset < 13 else 3 if not w.odd else 2, bound=1.0)
    mixed = w.transpose(w.matmul(weights, v), [0, 2, 1, 3])
    joined = w.reshape(mixed, w.choose(([0, 0, width], [0, 0, -1])), (n, s, width))
    w.put(replace(_projected(w, joined, width), bound=8.0))


def _projected(w: Writer, x: Known, wide: int) -> Known:
    made = w.matmul(x, w.random(int(x.shape[-1]), wide, scale=0.3))
    return w.add(made, w.random(wide)) if w.chance(0.7) else made


def _repeated(w: Writer, x: Known, count: int) -> Known:
    """Keys of one head for all heads, by Expand or Concat."""
    n, _, s, e = x.shape
    if w.chance(0.5):
        return w.concat([x] * count, 1, count)
    wide = w.like("Expand", w.unsqueeze(x, [2]), w.ints(1, 1, count, 1, 1), shape=(n, 1, count, s, e))
    return w.reshape(wide, [0, count, -1, int(e)], (n, count, s, e))


def _masked(w: Writer, scores: Known, x: Known, length: object) -> Known:
    """A mask of the input, made of it, of a constant triangle, or none."""
    mask = w.pick((BOOL, INT64, FLOAT), fits=lambda k: k.name.startswith("mask") and k.shape == (x.shape[0], length))
    if mask is not None and w.chance(0.8):
        kept = w.unsqueeze(mask, [1, 2]) if w.chance(0.5) else w.unsqueeze(w.unsqueeze(mask, [1]), [2])
        if w.chance(0.4):
            truth = kept if kept.dtype == BOOL else w.cast(kept, BOOL)
            low = w.const(np.asarray(-1e9 if w.chance(0.5) else -30.0))
            name = w.nodes_of("Where", [truth.name, scores.name, low.name])[0]
            return replace(scores, name=name)
        number = w.cast(kept, FLOAT)
        added = w.mul(w.binary("Sub", w.scalar(1.0), number, bound=2.0), w.scalar(-10.0))
        return replace(w.add(scores, added), bound=16.0)
    s = scores.shape[-1]
    if isinstance(s, int) and scores.shape[-2] == s and w.chance(0.5):
        return replace(w.add(scores, w.const(np.triu(np.full((s, s), -10.0), 1))), bound=16.0)
    return scores


def parallel_products(w: Writer) -> None:
    """Two or three MatMuls, Gemms or 1×1 convolutions of one value; joined or split afterwards, or not."""
    x = w.pick(fits=lambda k: k.rank >= 2 and isinstance(k.shape[-1], int) and 2 <= k.shape[-1] <= 32)
    if x is None:
        return
    d, parts = int(x.shape[-1]), []
    for _ in range(w.integer(2, 3)):
        made = w.matmul(x, w.random(d, 4, scale=0.3))
        parts.append(w.add(made, w.random(4)) if w.chance(0.7) else made)
    if w.chance(0.3):
        w.put(w.concat(parts, -1, 4 * len(parts)))
    elif w.chance(0.3) and w.has("Split"):
        one, two = w.split(w.matmul(x, w.random(d, 8, scale=0.3)), -1, [4, 4])
        w.put(w.binary("Mul", one, w.like("Sigmoid", two, bound=1.0), bound=one.bound))
    for part in parts:
        w.put(part)


def embeddings(w: Writer) -> None:
    """Rows of a table by token, and positions by Range over the length."""
    ids = w.pick((INT64,), fits=lambda k: k.name in w.scope.indices and k.rank == 2)
    if ids is None:
        return
    rows = w.like("Gather", w.random(7, 8), ids, shape=(*ids.shape, 8), dtype=FLOAT, bound=2.0)
    if w.chance(0.6) and w.has("Range"):
        length = _dim_of(w, ids, 1)
        (steps,) = w.nodes_of("Range", [w.const(np.asarray(0), INT64).name, length.name, w.const(np.asarray(1), INT64).name])
        at = Known(steps, INT64, (ids.shape[1],), True, 16.0)
        table = w.random(16, 8)
        rows = w.add(rows, w.like("Gather", table, at, shape=(*at.shape, 8), dtype=FLOAT, bound=2.0))
    w.put(Known(rows.name, FLOAT, rows.shape, False, 4.0))


STEPS: tuple[tuple[Callable[[Writer], None], int], ...] = (
    (attention, 4),
    (parallel_products, 2),
    (embeddings, 2),
)
