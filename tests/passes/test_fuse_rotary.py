"""fuse-rotary: the spellings of exporters become RotaryEmbedding and compute the same; what is none stays, with the reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from optc.compiler import ir

from .exporters import Feeds, Writer, assert_same, count, run
from .test_fuse_attention import floats, heads, linear, merge

D, N, H = 8, 2, 4
END = np.array([2**62])


def half_turned(w: Writer, x: str, width: int = H, split: bool = False) -> str:
    """[-x2, x1]."""
    if split:
        low, high = w.Split(x, np.array([width // 2] * 2), outputs=2, axis=-1)
    else:
        low = w.Slice(x, np.array([0]), np.array([width // 2]), np.array([3]), np.array([1]))
        high = w.Slice(x, np.array([width // 2]), END, np.array([3]), np.array([1]))
    return w.Concat(w.Neg(high), low, axis=-1)  # type: ignore[no-any-return]


def neighbours_turned(w: Writer, x: str) -> str:
    """GPT-J: [-x1, x0, -x3, x2]."""
    even = w.Slice(x, np.array([0]), END, np.array([3]), np.array([2]))
    odd = w.Slice(x, np.array([1]), END, np.array([3]), np.array([2]))
    pairs = w.Concat(w.Unsqueeze(w.Neg(odd), np.array([-1])), w.Unsqueeze(even, np.array([-1])), axis=-1)
    return w.Reshape(pairs, np.array([0, 0, 0, H]))  # type: ignore[no-any-return]


def computed(w: Writer, at: str, axis: int, scale: float = 1.0) -> tuple[str, str]:
    """LLaMA: cos and sin of positions times frequencies, twice side by side."""
    inverse = np.array([1, 0.1], np.float32).reshape(1, 2, 1)
    frequencies = w.Transpose(w.MatMul(inverse, w.Cast(w.Unsqueeze(at, np.array([1])), to=1)), perm=[0, 2, 1])
    both = w.Concat(frequencies, frequencies, axis=-1)
    cos, sin = (w.Mul(getattr(w, op)(both), np.float32(scale)) for op in ("Cos", "Sin"))
    return w.Unsqueeze(cos, np.array([axis])), w.Unsqueeze(sin, np.array([axis]))


def gathered(w: Writer, at: str, interleaved: bool = False, width: int = H) -> tuple[str, str]:
    angles = np.outer(np.arange(16), 0.5 ** np.arange(width // 2)).astype(np.float32)
    angles = np.repeat(angles, 2, 1) if interleaved else np.concatenate([angles, angles], 1)
    cos, sin = (w.Unsqueeze(w.Gather(f(angles), at), np.array([1])) for f in (np.cos, np.sin))
    return cos, sin


def rotated(w: Writer, x: str, turned: str, cos: str, sin: str) -> str:
    return w.Add(w.Mul(x, cos), w.Mul(turned, sin))  # type: ignore[no-any-return]


def sample(**others: Any) -> Feeds:
    return {"x": floats(2, N, 3, H), "at": np.array([[0, 1, 2], [5, 6, 7]]), **others}


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("scale", [1.0, 1.2])
@pytest.mark.parametrize("rows", ["computed", "gathered"])
def test_halves(rows: str, scale: float, split: bool) -> None:
    w = Writer()
    x, at = w.fed("x", ["B", N, "S", H]), w.fed("at", ["B", "S"], np.int64)
    cos, sin = computed(w, at, 1, scale) if rows == "computed" else gathered(w, at)
    w.given(rotated(w, x, half_turned(w, x, split=split), cos, sin), "y", ["B", N, "S", H])
    proto = w.proto()
    edit = run(proto, "fuse-rotary")
    assert count(edit.model, "RotaryEmbedding") == 1
    assert not {n.op_type for n in edit.graph} & {"Concat", "Slice", "Split", "Neg", "Add"}
    assert_same(proto, edit.model, [sample()])


def test_neighbours() -> None:
    w = Writer()
    x, at = w.fed("x", ["B", N, "S", H]), w.fed("at", ["B", "S"], np.int64)
    w.given(rotated(w, x, neighbours_turned(w, x), *gathered(w, at, True)), "y", ["B", N, "S", H])
    proto = w.proto()
    edit = run(proto, "fuse-rotary")
    assert [n.op_type for n in edit.graph] == ["RotaryEmbedding"]
    assert ir.attribute(edit.graph[0], "interleaved") == 1
    assert_same(proto, edit.model, [sample()])


def test_the_first_elements_of_each_head() -> None:
    """GPT-NeoX and Phi."""
    w = Writer()
    x, at = w.fed("x", ["B", N, "S", 6]), w.fed("at", ["B", "S"], np.int64)
    first = w.Slice(x, np.array([0]), np.array([H]), np.array([3]), np.array([1]))
    rest = w.Slice(x, np.array([H]), END, np.array([3]), np.array([1]))
    y = rotated(w, first, half_turned(w, first), *gathered(w, at))
    w.given(w.Concat(y, rest, axis=-1), "y", ["B", N, "S", 6])
    proto = w.proto()
    edit = run(proto, "fuse-rotary")
    assert [n.op_type for n in edit.graph] == ["RotaryEmbedding"]
    assert ir.attribute(edit.graph[0], "rotary_embedding_dim") == H
    assert_same(proto, edit.model, [sample(x=floats(2, N, 3, 6))])


@pytest.mark.parametrize("axis", [1, 2])
def test_queries_and_keys_of_an_attention(axis: int) -> None:
    """Rotated behind the split into heads, or before the transposition; Attention takes both as they were before the split."""
    w = Writer()
    x, at = w.fed("x", ["B", "S", D]), w.fed("at", ["B", "S"], np.int64)
    cos, sin = computed(w, at, axis)
    sides = []
    for _ in range(2):
        if axis == 1:
            side = heads(w, linear(w, x))
            sides.append(rotated(w, side, half_turned(w, side), cos, sin))
        else:
            side = w.Reshape(linear(w, x), np.array([0, 0, N, H]))
            sides.append(w.Transpose(rotated(w, side, half_turned(w, side), cos, sin), perm=[0, 2, 1, 3]))
    q, k = sides
    scores = w.Mul(w.MatMul(q, w.Transpose(k, perm=[0, 1, 3, 2])), np.float32(0.5))
    w.given(linear(w, merge(w, w.MatMul(w.Softmax(scores), heads(w, linear(w, x))))), "y", ["B", "S", D])
    proto = w.proto()
    edit = run(proto, "fuse-rotary,fuse-attention")
    assert count(edit.model, "RotaryEmbedding") == 2
    assert count(edit.model, "Attention") == 1
    assert not {n.op_type for n in edit.graph} & {"Reshape", "Concat", "Slice"}
    assert count(edit.model, "Cos") == count(edit.model, "Sin") == 1
    assert_same(proto, edit.model, [{"x": floats(2, 3, D), "at": np.array([[0, 1, 2], [5, 6, 7]])}])


REFUSED: dict[str, tuple[Any, str]] = {
    "one row of positions for all": (lambda w, x: computed(w, w.fed("at", [1, "S"], np.int64), 1), "not (B, S)"),
    "another table for the second half": (
        lambda w, x: tuple(w.Unsqueeze(w.Gather(w.weight(9, H), w.fed(n, ["B", "S"], np.int64)), np.array([1])) for n in "ab"),
        "not alike",
    ),
    "angles that are fed": (lambda w, x: (w.fed("c", ["B", 1, "S", H]), w.fed("s", ["B", 1, "S", H])), "not one row"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_rotation_stays_with_the_reason(case: str) -> None:
    angles, reason = REFUSED[case]
    w = Writer()
    x = w.fed("x", ["B", N, "S", H])
    w.given(rotated(w, x, half_turned(w, x), *angles(w, x)), "y", ["B", N, "S", H])
    edit = run(w.proto(), "fuse-rotary")
    assert count(edit.model, "RotaryEmbedding") == 0
    reasons = [r.reason for r in edit.refusals if r.owner == "fuse-rotary" and r.near]
    assert any(reason in r for r in reasons), reasons


def test_an_older_opset_is_told_what_to_do() -> None:
    w = Writer(17)
    x, at = w.fed("x", ["B", N, "S", H]), w.fed("at", ["B", "S"], np.int64)
    w.given(rotated(w, x, half_turned(w, x), *gathered(w, at)), "y", ["B", N, "S", H])
    edit = run(w.proto(), "fuse-rotary")
    assert any("put convert-opset before" in r.reason for r in edit.refusals)
