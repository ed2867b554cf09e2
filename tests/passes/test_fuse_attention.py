"""fuse-attention: every spelling of attention becomes one operator and computes the same; what is none stays, with the reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from optc.compiler import ir

from .exporters import Feeds, Writer, assert_same, count, run

D, N, H = 8, 2, 4
LOWEST = float(np.finfo(np.float32).min)


def heads(w: Writer, x: str, perm: tuple[int, ...] = (0, 2, 1, 3), computed: bool = False, n: int = N) -> str:
    shape: Any = np.array([0, 0, n, H])
    if computed:
        shape = w.Concat(w.extent(x, 0), w.extent(x, 1), np.array([n]), np.array([H]), axis=0)
    return w.Transpose(w.Reshape(x, shape), perm=perm)  # type: ignore[no-any-return]


def merge(w: Writer, y: str, computed: bool = False, n: int = N) -> str:
    turned = w.Transpose(y, perm=[0, 2, 1, 3])
    shape: Any = np.array([0, 0, n * H])
    if computed:
        shape = w.Concat(w.extent(turned, 0), w.extent(turned, 1), np.array([n * H]), axis=0)
    return w.Reshape(turned, shape)  # type: ignore[no-any-return]


def linear(w: Writer, x: str, into: int = D) -> str:
    return w.Add(w.MatMul(x, w.weight(D, into)), w.weight(into))  # type: ignore[no-any-return]


SCALES = ("scores / 2", "scores * 0.5", "q", "q before the split", "k", "both by the root", "computed from the width", "none")


def scaled(w: Writer, scale: str, q: str, kt: str) -> str:
    half, root = np.float32(0.5), np.float32(np.sqrt(0.5))
    if scale == "q":
        q = w.Mul(q, half)
    elif scale == "k":
        kt = w.Div(kt, np.float32(2))
    elif scale == "both by the root":
        q, kt = w.Mul(q, root), w.Mul(root, kt)
    elif scale == "computed from the width":  # torch.onnx of scaled_dot_product_attention
        width = w.Cast(w.Slice(w.Shape(q), np.array([-1]), np.array([2**62])), to=1)
        factor = w.Sqrt(w.Div(np.array([1], np.float32), w.Sqrt(width)))
        q, kt = w.Mul(q, factor), w.Mul(kt, factor)
    product = w.MatMul(q, kt)
    if scale == "scores / 2":
        return w.Div(product, np.float32(2))  # type: ignore[no-any-return]
    return w.Mul(product, half) if scale == "scores * 0.5" else product  # type: ignore[no-any-return]


@pytest.mark.parametrize("computed", [False, True])
@pytest.mark.parametrize("keys", ["turned once", "turned twice"])
@pytest.mark.parametrize("scale", SCALES)
def test_self_attention(scale: str, keys: str, computed: bool) -> None:
    w = Writer()
    x = w.fed("x", ["B", "S", D])
    q, k, v = linear(w, x), linear(w, x), linear(w, x)
    if scale == "q before the split":
        q = w.Mul(q, np.float32(0.5))
    q, v = heads(w, q, computed=computed), heads(w, v, computed=computed)
    kt = heads(w, k, (0, 2, 3, 1), computed) if keys == "turned once" else w.Transpose(heads(w, k), perm=[0, 1, 3, 2])
    y = merge(w, w.MatMul(w.Softmax(scaled(w, scale, q, kt), axis=-1), v), computed)
    w.given(linear(w, y), "y", ["B", "S", D])
    proto = w.proto()
    edit = run(proto, "fuse-attention")
    assert [n.op_type for n in edit.graph] == [*["MatMul", "Add"] * 3, "Attention", "MatMul", "Add"]
    attention = next(n for n in edit.graph if n.op_type == "Attention")
    assert ir.attribute(attention, "q_num_heads") == N
    assert ("scale" in attention.attributes) == (scale == "none")
    assert_same(proto, edit.model, [{"x": floats(2, 5, D)}, {"x": floats(1, 1, D)}])


def floats(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("pick", ["Gather", "Slice and Squeeze", "Split and Squeeze"])
@pytest.mark.parametrize("first", ["picked from [3, B, N, S, H]", "picked from [B, S, 3, N, H]"])
def test_queries_keys_and_values_in_one_product(pick: str, first: str) -> None:
    w = Writer()
    x = w.fed("x", ["B", "S", D])
    five = w.Reshape(linear(w, x, 3 * D), np.array([0, -1, 3, N, H]))
    axis = 2
    if first == "picked from [3, B, N, S, H]":
        five, axis = w.Transpose(five, perm=[2, 0, 3, 1, 4]), 0
    if pick == "Gather":
        q, k, v = (w.Gather(five, np.array(i), axis=axis) for i in range(3))
    elif pick == "Slice and Squeeze":
        slices = [w.Slice(five, np.array([i]), np.array([i + 1]), np.array([axis])) for i in range(3)]
        q, k, v = (w.Squeeze(s, np.array([axis])) for s in slices)
    else:
        q, k, v = (w.Squeeze(s, np.array([axis])) for s in w.Split(five, np.array([1, 1, 1]), outputs=3, axis=axis))
    if axis == 2:
        q, k, v = (w.Transpose(p, perm=[0, 2, 1, 3]) for p in (q, k, v))
    scores = w.MatMul(w.Mul(q, np.float32(0.5)), w.Transpose(k, perm=[0, 1, 3, 2]))
    w.given(merge(w, w.MatMul(w.Softmax(scores), v)), "y", ["B", "S", D])
    proto = w.proto()
    edit = run(proto, "fuse-attention")
    assert [n.op_type for n in edit.graph] == ["MatMul", "Add", "Split", "Attention"]
    assert_same(proto, edit.model, [{"x": floats(2, 5, D)}])


def simple(w: Writer, mask: Any, s: Any = "S", guard: bool = False) -> Any:
    """Attention over inputs that are split already; `mask` makes masked scores of scores."""
    q, k, v = (w.fed(name, ["B", N, s, H]) for name in "qkv")
    weights = w.Softmax(mask(w.Div(w.MatMul(q, w.Transpose(k, perm=[0, 1, 3, 2])), np.float32(2))), axis=-1)
    if guard:
        weights = w.Where(w.IsNaN(weights), np.float32(0), weights)
    w.given(w.MatMul(weights, v), "y", ["B", N, s, H])
    return w.proto()


def feeds(s: int = 5, b: int = 2, **others: Any) -> Feeds:
    return {**{name: floats(b, N, s, H, seed=i) for i, name in enumerate("qkv")}, **others}


SEEN = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
NONE = np.array([[0, 0, 0, 0, 0], [1, 1, 1, 1, 0]])


@pytest.mark.parametrize("seen", [SEEN, NONE])
@pytest.mark.parametrize("fill", [LOWEST, -1e9, -10000.0])
@pytest.mark.parametrize("kind", ["added", "chosen", "chosen the other way round"])
def test_padding_that_an_input_marks(kind: str, fill: float, seen: np.ndarray[Any, Any]) -> None:
    """Also where all keys are hidden: an added mask leaves the scores, one that replaces them a mean."""
    w = Writer()
    marks = w.Unsqueeze(w.fed("marks", ["B", "S"], np.int64), np.array([1, 2]))
    if kind == "added":  # BERT
        hidden = w.Mul(w.Sub(np.float32(1), w.Cast(marks, to=1)), np.float32(fill))
        proto = simple(w, lambda scores: w.Add(scores, hidden))
    elif kind == "chosen":
        proto = simple(w, lambda scores: w.Where(w.Cast(marks, to=9), scores, np.float32(fill)))
    else:  # masked_fill
        proto = simple(w, lambda scores: w.Where(w.Equal(marks, np.array(0)), np.float32(fill), scores))
    edit = run(proto, "fuse-attention")
    assert count(edit.model, "Attention") == 1
    assert count(edit.model, "Softmax") == 0
    assert_same(proto, edit.model, [feeds(marks=seen)])


def test_all_layers_share_one_mask() -> None:
    w = Writer()
    marks = w.Cast(w.Unsqueeze(w.fed("marks", ["B", "S"], np.int64), np.array([1, 2])), to=1)
    hidden = w.Mul(w.Sub(np.float32(1), marks), np.float32(LOWEST))
    x = w.fed("x", ["B", "S", D])
    for _ in range(3):
        q, k, v = heads(w, linear(w, x)), heads(w, linear(w, x), (0, 2, 3, 1)), heads(w, linear(w, x))
        x = linear(w, merge(w, w.MatMul(w.Softmax(w.Add(w.MatMul(q, k), hidden)), v)))
    w.given(x, "y", ["B", "S", D])
    proto = w.proto()
    edit = run(proto, "fuse-attention")
    assert count(edit.model, "Attention") == 3
    assert count(edit.model, "Expand") == 1
    assert_same(proto, edit.model, [{"x": floats(2, 5, D), "marks": SEEN}])


@pytest.mark.parametrize("guard", [False, True])
def test_rows_that_minus_infinity_hides_are_nan_in_softmax_and_zero_in_attention(guard: bool) -> None:
    w = Writer()
    marks = w.Unsqueeze(w.fed("marks", ["B", "S"], np.bool_), np.array([1, 2]))
    mask = w.Where(marks, np.float32(0), np.float32(-np.inf))
    proto = simple(w, lambda scores: w.Add(scores, mask), guard=guard)
    edit = run(proto, "fuse-attention")
    if guard:  # PyTorch from 2.7 on
        assert count(edit.model, "Attention") == 1
        assert count(edit.model, "IsNaN") == 0
        assert_same(proto, edit.model, [feeds(marks=SEEN > 0), feeds(marks=NONE > 0)])
    else:
        assert count(edit.model, "Attention") == 0
        assert any("by -inf" in r.reason and r.near for r in edit.refusals)


@pytest.mark.parametrize("kind", ["added", "chosen"])
@pytest.mark.parametrize("fill", [-np.inf, -1e9])
def test_a_triangular_constant_is_causal(fill: float, kind: str) -> None:
    w = Writer()
    below = np.tril(np.ones((1, 1, 5, 5), bool))
    if kind == "added":
        proto = simple(w, lambda scores: w.Add(scores, np.where(below, 0, fill).astype(np.float32)), 5)
    else:
        proto = simple(w, lambda scores: w.Where(below, scores, np.float32(fill)), 5)
    edit = run(proto, "fuse-attention")
    assert [n.op_type for n in edit.graph] == ["Attention"]
    attention = next(n for n in edit.graph if n.op_type == "Attention")
    assert ir.attribute(attention, "is_causal") == 1
    assert len(attention.inputs) == 3
    assert_same(proto, edit.model, [feeds()])


def sliced(w: Writer, q: str, k: str) -> str:
    """GPT-2: a piece of a constant triangle, its last S rows and T columns."""
    s, t = w.extent(q, 2), w.extent(k, 2)
    below = np.tril(np.ones((1, 1, 64, 64), bool))
    rows = w.Slice(below, w.Sub(t, s), t, np.array([2]), np.array([1]))
    return w.Slice(rows, np.array([0]), t, np.array([3]), np.array([1]))  # type: ignore[no-any-return]


def lower(w: Writer, q: str, k: str) -> str:
    """torch.onnx of scaled_dot_product_attention with is_causal."""
    ones = w.Expand(np.array(1, np.float32), w.Concat(w.extent(q, 2), w.extent(k, 2), axis=0))
    return w.Not(w.Equal(w.Trilu(ones, upper=0), np.array(0, np.float32)))  # type: ignore[no-any-return]


def upper(w: Writer, q: str, k: str) -> str:
    """torch.triu(torch.ones(S, T), 1) == 0."""
    ones = w.Expand(np.array(1, np.float32), w.Concat(w.extent(q, 2), w.extent(k, 2), axis=0))
    return w.Equal(w.Trilu(ones, np.array(1), upper=1), np.array(0, np.float32))  # type: ignore[no-any-return]


def compared(w: Writer, q: str, k: str) -> str:
    """Positions of keys beside those of queries, which begin behind the past."""
    s, t = (w.Squeeze(w.extent(x, 2)) for x in (q, k))
    rows = w.Unsqueeze(w.Add(w.Range(np.array(0), s, np.array(1)), w.Sub(t, s)), np.array([1]))
    columns = w.Unsqueeze(w.Range(np.array(0), t, np.array(1)), np.array([0]))
    return w.LessOrEqual(columns, rows)  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", [sliced, lower, upper, compared])
@pytest.mark.parametrize("added", [False, True])
def test_computed_triangles_are_causal(added: bool, kind: Any) -> None:
    w = Writer()
    q, k, v = (w.fed(name, ["B", N, "S", H]) for name in "qkv")
    scores, seen = w.MatMul(q, w.Transpose(k, perm=[0, 1, 3, 2])), kind(w, q, k)
    if added:
        scores = w.Add(scores, w.Where(seen, np.float32(0), np.float32(-np.inf)))
    else:
        scores = w.Where(seen, scores, np.float32(LOWEST))
    w.given(w.MatMul(w.Softmax(scores), v), "y", ["B", N, "S", H])
    proto = w.proto()
    edit = run(proto, "fuse-attention")
    assert [n.op_type for n in edit.graph] == ["Attention"]
    assert ir.attribute(edit.graph[0], "is_causal") == 1
    assert_same(proto, edit.model, [feeds(), feeds(1)])


@pytest.mark.parametrize(("kind", "causal"), [(sliced, True), (compared, True), (lower, False)])
def test_with_a_past_causal_begins_behind_it(kind: Any, causal: bool) -> None:
    """A triangle that begins at the first key, as PyTorch's is_causal, hides also keys of the past: that stays a mask."""
    w = Writer()
    q, k, v = (w.fed(name, ["B", N, "S", H]) for name in "qkv")
    old = [w.fed(f"past_{name}", ["B", N, "P", H]) for name in "kv"]
    keys, values = w.Concat(old[0], k, axis=2), w.Concat(old[1], v, axis=2)
    seen = kind(w, q, keys)
    w.given(keys, "keys", ["B", N, "T", H])
    w.given(values, "values", ["B", N, "T", H])
    scores = w.MatMul(q, w.Transpose(keys, perm=[0, 1, 3, 2]))
    w.given(w.MatMul(w.Softmax(w.Where(seen, scores, np.float32(LOWEST))), values), "y", ["B", N, "S", H])
    proto = w.proto()
    edit = run(proto, "fuse-attention")
    attention = next(n for n in edit.graph if n.op_type == "Attention")
    assert ir.attribute(attention, "is_causal", 0) == causal
    assert_same(proto, edit.model, [feeds(3, past_k=floats(2, N, p, H), past_v=floats(2, N, p, H, seed=1)) for p in (0, 2)])


def test_a_band_is_a_mask_and_not_causal() -> None:
    w = Writer()
    band = np.tril(np.ones((1, 1, 5, 5), bool)) & ~np.tril(np.ones((1, 1, 5, 5), bool), -3)
    proto = simple(w, lambda scores: w.Add(scores, np.where(band, 0, -np.inf).astype(np.float32)), 5)
    edit = run(proto, "fuse-attention")
    attention = next(n for n in edit.graph if n.op_type == "Attention")
    assert "is_causal" not in attention.attributes
    assert_same(proto, edit.model, [feeds()])


def test_a_soft_cap_and_a_bias_for_each_head() -> None:
    w = Writer()
    bias = w.fed("bias", [1, N, "S", "S"])
    proto = simple(w, lambda s: w.Add(w.Mul(w.Tanh(w.Div(s, np.float32(0.5))), np.float32(0.5)), bias))
    edit = run(proto, "fuse-attention")
    attention = next(n for n in edit.graph if n.op_type == "Attention")
    assert ir.attribute(attention, "softcap") == 0.5
    assert "scale" not in attention.attributes
    assert_same(proto, edit.model, [feeds(bias=floats(1, N, 5, 5))])


def repeated(w: Writer, k: str, times: int, kind: str) -> str:
    """[B, G, T, H] -> [B, G·times, T, H]."""
    one = w.Unsqueeze(k, np.array([2]))
    if kind == "Tile":
        wide = w.Tile(one, np.array([1, 1, times, 1, 1]))
    else:
        shape = w.Concat(w.extent(k, 0), w.extent(k, 1), np.array([times]), w.extent(k, 2), w.extent(k, 3), axis=0)
        wide = w.Expand(one, shape)
    shape = w.Concat(w.extent(k, 0), w.Mul(w.extent(k, 1), np.array([times])), w.extent(k, 2), w.extent(k, 3), axis=0)
    return w.Reshape(wide, shape)  # type: ignore[no-any-return]


def decoder(groups: int, kind: str = "Expand", seen: bool = True) -> Any:
    """A layer of a decoder: grouped queries, a cache that goes in and out, causal by a mask that is fed."""
    w = Writer()
    x = w.fed("x", ["B", "S", D])
    old = [w.fed(f"past_{name}", ["B", groups, "P", H]) for name in ("key", "value")]
    q = heads(w, linear(w, x))
    k, v = (heads(w, linear(w, x, groups * H), n=groups) for _ in range(2))
    k, v = w.Concat(old[0], k, axis=2), w.Concat(old[1], v, axis=2)
    if seen:
        w.given(k, "present_key", ["B", groups, "T", H])
        w.given(v, "present_value", ["B", groups, "T", H])
    if groups != N:
        k, v = repeated(w, k, N // groups, kind), repeated(w, v, N // groups, kind)
    scores = w.Mul(w.MatMul(q, w.Transpose(k, perm=[0, 1, 3, 2])), np.float32(0.5))
    scores = w.Add(scores, w.fed("mask", ["B", 1, "S", "P + S"]))
    y = merge(w, w.MatMul(w.Softmax(scores), v))
    w.given(linear(w, y), "y", ["B", "S", D])
    return w.proto()


@pytest.mark.parametrize("kind", ["Expand", "Tile"])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_decoder_with_its_cache(groups: int, kind: str) -> None:
    proto = decoder(groups, kind)
    edit = run(proto, "fuse-attention")
    ops = [n.op_type for n in edit.graph]
    assert ops == [*["MatMul", "Add"] * 3, "Attention", "MatMul", "Add"]
    attention = next(n for n in edit.graph if n.op_type == "Attention")
    assert ir.attribute(attention, "kv_num_heads") == groups
    assert [v.name for v in attention.inputs[3:]] == ["mask", "past_key", "past_value"]
    for s, p in ((1, 4), (3, 0), (3, 2)):
        mask = np.where(np.tril(np.ones((s, s + p)), p), 0, -1e9).astype(np.float32)[None, None]
        old = {f"past_{name}": floats(1, groups, p, H, seed=i) for i, name in enumerate(("key", "value"))}
        assert_same(proto, edit.model, [{"x": floats(1, s, D), "mask": mask, **old}])


def test_cross_attention_over_keys_that_are_fed() -> None:
    w = Writer()
    x = w.fed("x", ["B", "S", D])
    q = heads(w, linear(w, x))
    k, v = (w.fed(name, ["B", N, "T", H]) for name in "kv")
    scores = w.MatMul(w.Mul(q, np.float32(0.5)), w.Transpose(k, perm=[0, 1, 3, 2]))
    w.given(merge(w, w.MatMul(w.Softmax(scores), v)), "y", ["B", "S", D])
    proto = w.proto()
    edit = run(proto, "fuse-attention")
    assert count(edit.model, "Attention") == 1
    assert_same(proto, edit.model, [{"x": floats(2, 3, D), "k": floats(2, N, 7, H), "v": floats(2, N, 7, H, seed=1)}])


def test_batch_and_heads_in_one_axis() -> None:
    """BART, Whisper and CLIP as older exporters wrote them."""
    w = Writer()
    x = w.fed("x", ["B", "S", D])
    mask = w.fed("mask", ["B", 1, "S", "S"])
    parts = [w.Mul(linear(w, x), np.float32(0.5)), linear(w, x), linear(w, x)]
    q, k, v = (w.Reshape(heads(w, p, computed=True), w.Concat(w.Mul(w.extent(x, 0), np.array([N])), np.array([-1, H]), axis=0))
               for p in parts)  # fmt: skip
    scores = w.MatMul(q, w.Transpose(k, perm=[0, 2, 1]))
    batch, length = w.extent(x, 0), w.extent(x, 1)
    four = w.Concat(batch, np.array([N]), length, length, axis=0)
    three = w.Concat(w.Mul(batch, np.array([N])), length, length, axis=0)
    weights = w.Softmax(w.Reshape(w.Add(w.Reshape(scores, four), mask), three))
    out = w.Reshape(w.MatMul(weights, v), w.Concat(batch, np.array([N]), length, np.array([H]), axis=0))
    w.given(merge(w, out, computed=True), "y", ["B", "S", D])
    proto = w.proto()
    edit = run(proto, "fuse-attention")
    assert count(edit.model, "Attention") == 1
    assert count(edit.model, "Reshape") == 0
    assert_same(proto, edit.model, [{"x": floats(2, 5, D), "mask": floats(2, 1, 5, 5)}])


REFUSED: dict[str, tuple[Any, str]] = {
    "the weights are seen": (lambda w, s: (w.given(w.Softmax(s), "weights", ["B", N, "S", "S"]), s)[1], "used by"),
    "another axis": (lambda w, s: w.Transpose(w.Softmax(s, axis=1), perm=[0, 1, 2, 3]), "over axis 1"),
    "a scale behind the mask": (lambda w, s: w.Mul(w.Add(s, w.fed("mask", [1, 1, "S", "S"])), np.float32(3)), "behind the mask"),
    "a scale for each head": (lambda w, s: w.Mul(s, w.weight(N, 1, 1)), "constant number"),
    "a negative scale": (lambda w, s: w.Mul(s, np.float32(-1)), "takes none below"),
    "a fill that is no mask": (
        lambda w, s: w.Where(w.fed("m", [1, 1, "S", "S"], np.bool_), s, np.float32(-1)),
        "that is no mask",
    ),
    "a mask that widens": (lambda w, s: w.Add(s, w.fed("mask", [3, N, "S", "S"])), "does not broadcast"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_attention_stays_with_the_reason(case: str) -> None:
    w = Writer()
    change, reason = REFUSED[case]
    edit = run(simple(w, lambda scores: change(w, scores)), "fuse-attention")
    assert count(edit.model, "Attention") == 0
    assert any(reason in r.reason for r in edit.refusals if r.owner == "fuse-attention"), edit.refusals


def test_an_older_opset_is_told_what_to_do() -> None:
    w = Writer(17)
    edit = run(simple(w, lambda scores: scores), "fuse-attention")
    reasons = [r.reason for r in edit.refusals if r.owner == "fuse-attention"]
    assert reasons == ["Attention is in opset 23, the model has 17: put convert-opset before"]
    assert edit.refusals[-1].near
