"""Attention, RMSNormalization and RotaryEmbedding by our own decomposition: the same results in fewer operators than ONNX's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from optc.compiler import contrib, ir
from optc.compiler.edit import Editor
from optc.passes.lowering.inline_functions import InlineFunctions

from .exporters import Writer, assert_same, run

N, H = 4, 4
Array = np.ndarray[Any, Any]


def floats(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(np.float32)


def attention(feeds: dict[str, Array | None], outputs: int = 1, constants: tuple[str, ...] = (), **attributes: Any) -> Editor:
    """One Attention over free batches and lengths: replaced, and compared with onnxruntime's own kernel."""
    w = Writer()
    free = {0: "B", 2 if feeds["q"] is not None and feeds["q"].ndim == 4 else 1: "S"}
    names = []
    for name, array in feeds.items():
        if array is None:
            names.append(None)
        elif name in constants:
            names.append(w.held(array))
        else:
            dims = [free.get(i, d) if name in "qkv" else d for i, d in enumerate(array.shape)]
            names.append(w.fed(name, dims, array.dtype))
    y = w.Attention(*names, outputs=outputs, **attributes)
    for i, value in enumerate((y,) if outputs == 1 else y):
        w.given(value, f"y{i}", None)
    proto = w.proto()
    edit = run(proto, "inline-functions{operators=Attention}")
    assert not [n for n in edit.graph if n.op_type in ("Attention", "If", "Mod")]
    assert_same(proto, edit.model, [{k: v for k, v in feeds.items() if v is not None and k not in constants}])
    return edit


def operands(flat: bool, groups: int, s: int = 3, t: int = 3) -> dict[str, Array | None]:
    if flat:
        return {"q": floats(2, s, N * H), "k": floats(2, t, groups * H, seed=1), "v": floats(2, t, groups * H, seed=2)}
    return {"q": floats(2, N, s, H), "k": floats(2, groups, t, H, seed=1), "v": floats(2, groups, t, H, seed=2)}


MASKS: dict[str, Any] = {
    "none": lambda s, t: None,
    "added": lambda s, t: floats(2, 1, s, t),
    "minus infinity in a row": lambda s, t: np.where(np.arange(s)[:, None] == 1, -np.inf, floats(s, t)).astype(np.float32),
    "bool": lambda s, t: (np.arange(s * t).reshape(1, 1, s, t) % 3 > 0) & (np.arange(s)[:, None] != 2),
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("past", [None, 0, 2])
@pytest.mark.parametrize("causal", [0, 1])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("flat", [False, True])
def test_attention(flat: bool, groups: int, causal: int, past: int | None, mask: str) -> None:
    old = [floats(2, groups, past, H, seed=i) for i in (3, 4)] if past is not None else [None, None]
    feeds = operands(flat, groups) | {"mask": MASKS[mask](3, 3 + (past or 0)), "old_k": old[0], "old_v": old[1]}
    counts = {"q_num_heads": N, "kv_num_heads": groups} if flat else {}
    attention(feeds, 1 if past is None else 3, is_causal=causal, **counts)


def test_a_scale_and_a_soft_cap() -> None:
    attention(operands(False, N) | {"mask": floats(3, 3)}, scale=0.3, softcap=0.7)


def test_a_constant_mask_needs_no_guard() -> None:
    edit = attention(
        operands(True, N) | {"mask": np.tril(np.ones((3, 3), bool))}, constants=("mask",), q_num_heads=N, kv_num_heads=N
    )
    assert not [n for n in edit.graph if n.op_type == "ReduceMax"]


def test_layers_ask_once_whether_a_fed_mask_hides_all_keys() -> None:
    w = Writer()
    x, mask = w.fed("x", ["B", "S", N * H]), w.fed("mask", ["B", 1, "S", "S"])
    for _ in range(3):
        x = w.Attention(x, x, x, mask, q_num_heads=N, kv_num_heads=N)
    w.given(x, "y", ["B", "S", N * H])
    proto = w.proto()
    edit = run(proto, "inline-functions{operators=Attention}")
    assert sum(n.op_type == "ReduceMax" for n in edit.graph) == 1
    hidden = np.where(np.arange(3)[:, None] == 1, -np.inf, floats(2, 1, 3, 3)).astype(np.float32)
    assert_same(proto, edit.model, [{"x": floats(2, 3, N * H), "mask": hidden}])


def test_without_a_mask_it_is_what_exporters_write() -> None:
    edit = attention(operands(True, N), q_num_heads=N, kv_num_heads=N)
    ops = [n.op_type for n in edit.graph]
    assert sorted(ops) == sorted([*["Reshape", "Transpose"] * 4, "MatMul", "Mul", "Softmax", "MatMul"])


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("part", [None, 2])
@pytest.mark.parametrize("at", [True, False])
@pytest.mark.parametrize("flat", [False, True])
def test_rotary_embedding(flat: bool, at: bool, part: int | None, interleaved: int) -> None:
    w, half = Writer(), (part or H) // 2
    x = floats(2, 3, N * H) if flat else floats(2, N, 3, H)
    tables = [floats(7, half, seed=i) if at else floats(2, 3, half, seed=i) for i in (1, 2)]
    feeds: dict[str, Array] = {"x": x, "c": tables[0], "s": tables[1]}
    if at:
        feeds["at"] = np.array([[0, 1, 2], [4, 5, 6]])
    dims = {"x": ["B", "S", N * H] if flat else ["B", N, "S", H]}
    names = [w.fed(k, dims.get(k, v.shape), v.dtype) for k, v in feeds.items()]
    counts: dict[str, Any] = {"num_heads": N} if flat or part else {}
    w.given(w.RotaryEmbedding(*names, interleaved=interleaved, rotary_embedding_dim=part or 0, **counts), "y", dims["x"])
    proto = w.proto()
    edit = run(proto, "inline-functions")
    assert not [n for n in edit.graph if n.op_type in ("RotaryEmbedding", "Cast", "Shape")]
    assert_same(proto, edit.model, [feeds])


def test_root_mean_square() -> None:
    w = Writer()
    w.given(w.RMSNormalization(w.fed("x", ["B", "S", 8]), w.weight(8), epsilon=1e-3), "y", ["B", "S", 8])
    proto = w.proto()
    edit = run(proto, "inline-functions")
    assert [n.op_type for n in edit.graph] == ["Mul", "ReduceMean", "Add", "Sqrt", "Div", "Mul"]
    assert_same(proto, edit.model, [{"x": floats(2, 3, 8)}])


def test_softplus_keeps_its_small_results() -> None:
    """ONNX defines it as Log(Exp(x) + 1), which is 0 below -17 and has two digits at -10."""
    w = Writer()
    w.given(w.Softplus(w.fed("x", ["N"])), "y", ["N"])
    proto = w.proto()
    edit = run(proto, "inline-functions")
    assert "Log" not in [n.op_type for n in edit.graph]
    for scale in (0.01, 1, 10, 80):
        feeds = [{"x": x} for x in (-scale * np.abs(floats(50)), scale * floats(50))]
        assert_same(proto, edit.model, feeds)


def test_what_it_does_not_know_is_decomposed_as_onnx_defines_it() -> None:
    w = Writer()
    names = [w.fed(k, v.shape) for k, v in operands(False, N).items() if v is not None]
    y = w.Attention(*names, outputs=4, qk_matmul_output_mode=0)
    w.given(y[0], "y", None)
    w.given(y[3], "scores", None)
    edit = run(w.proto(), "")
    attention = next(n for n in edit.graph if n.op_type == "Attention")
    assert set(contrib.STANDARD) == {"Attention", "RMSNormalization", "RotaryEmbedding", "Softplus"}
    edit.owner = InlineFunctions.name
    InlineFunctions().run(edit)
    assert ir.count_nodes(edit.model) > 20
    assert attention.graph is None
