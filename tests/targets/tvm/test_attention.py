"""Attention by blocks of keys beside the reference evaluator: any sizes, masks and heads, on either width of vectors."""

from __future__ import annotations

import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

import optc
from optc.targets.tvm import machine
from optc.targets.tvm.compute import attention

OPTIONS = {"native": nullcontext, "avx2": lambda: machine.limited("x86-64-v3")}
DIMS = {"B": 2, "H": 4, "S": 13, "T": 57}


def _width(name: str) -> AbstractContextManager[None]:
    if name == "avx2" and machine.lacking(machine.named("x86-64-v3").features, "x86_64", machine.host()):
        pytest.skip("this processor has no AVX2")
    return OPTIONS[name]()


def _model(kinds: list[str], node: str, result: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 23]> g ({", ".join(kinds)}) => ({result} y) {{ y = {node} }}'
    )


def _expected(node: onnx.NodeProto, feeds: dict[str, Any]) -> Any:
    """In float64; a query that sees no key gives 0. (The reference evaluator spreads a mask of one row wrongly when causal.)"""
    settings_ = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    q, k, v = (feeds[name].astype(np.float64) for name in "qkv")
    flat = q.ndim == 3
    if flat:
        heads, groups = settings_["q_num_heads"], settings_["kv_num_heads"]
        q, k, v = (x.reshape(*x.shape[:2], n, -1).transpose(0, 2, 1, 3) for x, n in ((q, heads), (k, groups), (v, groups)))
    share = q.shape[1] // k.shape[1]
    k, v = np.repeat(k, share, axis=1), np.repeat(v, share, axis=1)
    scores = q @ k.transpose(0, 1, 3, 2) * settings_.get("scale", q.shape[-1] ** -0.5)
    if "m" in feeds:
        scores = np.where(feeds["m"], scores, -np.inf) if feeds["m"].dtype == bool else scores + feeds["m"]
    if settings_.get("is_causal", 0):
        scores = np.where(np.tri(*scores.shape[-2:], dtype=bool), scores, -np.inf)
    high = scores.max(axis=-1, keepdims=True)
    powers = np.exp(scores - np.where(np.isneginf(high), 0, high))
    total = powers.sum(axis=-1, keepdims=True)
    result = powers @ v / np.where(total == 0, 1, total)
    return result.transpose(0, 2, 1, 3).reshape(result.shape[0], result.shape[2], -1) if flat else result


def _check(folder: Path, kinds: list[str], node: str, feeds: dict[str, Any], result: str, tolerance: float = 2e-6) -> Any:
    """Compile, look that the kernel computes it, run, compare; the result."""
    proto = _model(kinds, node, result)
    (folder / "m.onnx").write_bytes(proto.SerializeToString())
    optc.compile(folder / "m.onnx", folder / "m.optc", cache=False)
    program = optc.load(folder / "m.optc")
    assert [kernel["name"] for kernel in program.manifest.program["kernels"]] == ["attention"]
    actual = program.run(feeds)["y"]
    expected = _expected(proto.graph.node[0], feeds)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max(initial=1))
    return actual


@pytest.mark.parametrize("width", OPTIONS)
@pytest.mark.parametrize("causal", [0, 1])
@pytest.mark.parametrize("mask", ["", "bool BHST", "float B1ST", "float ST", "bool 1HST", "float 1T"])
def test_masks(mask: str, causal: int, width: str, tmp_path: Path) -> None:
    """With free dimensions, in one bundle; some rows of a mask hide every key."""
    rng = np.random.default_rng(0)
    kinds = ["float[B, S, 64] q", "float[B, T, 32] k", "float[B, T, 16] v"]
    feeds: dict[str, Any] = {
        name: rng.standard_normal((2, rows, size)).astype(np.float32)
        for name, rows, size in (("q", 13, 64), ("k", 57, 32), ("v", 57, 16))
    }
    if mask:
        dtype, dims = mask.split()
        kinds.append(f"{dtype}[{', '.join('4' if d == 'H' else d for d in dims)}] m")
        shape = [DIMS.get(d, 1) for d in dims]
        feeds["m"] = rng.random(shape) > 0.3 if dtype == "bool" else rng.standard_normal(shape).astype(np.float32)
        if dtype == "bool" and "T" in dims:
            feeds["m"][..., 1, :] = False
    node = f"Attention <is_causal = {causal}, q_num_heads = 4, kv_num_heads = 2> (q, k, v{', m' if mask else ''})"
    with _width(width):
        _check(tmp_path, kinds, node, feeds, "float[B, S, 32]")


@given(st.data())
@settings(max_examples=8, deadline=None)
def test_any_sizes(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Odd, prime and single extents of [B, N, S, H], several blocks of keys and queries among them."""
    batch, groups, share = data.draw(st.integers(1, 2)), data.draw(st.integers(1, 2)), data.draw(st.integers(1, 3))
    queries, keys = data.draw(st.integers(1, 70)), data.draw(st.sampled_from([1, 2, 47, 48, 97, 127, 128, 129, 257, 300]))
    depth, size = data.draw(st.sampled_from([4, 20, 32, 64])), data.draw(st.sampled_from([4, 8, 24, 96]))
    width = data.draw(st.sampled_from(sorted(OPTIONS)))
    shapes = {"q": (batch, groups * share, queries, depth), "k": (batch, groups, keys, depth), "v": (batch, groups, keys, size)}
    rng = np.random.default_rng(1)
    feeds = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    kinds = [f"float[{', '.join(map(str, shape))}] {name}" for name, shape in shapes.items()]
    with _width(width):
        result = f"float[{batch}, {groups * share}, {queries}, {size}]"
        _check(tmp_path_factory.mktemp("sizes"), kinds, "Attention <scale = 0.4> (q, k, v)", feeds, result)


def test_large_scores_and_what_is_no_number(tmp_path: Path) -> None:
    """Scores whose powers overflow, in a later block than smaller ones; a NaN stays in its own row."""
    rng = np.random.default_rng(2)
    feeds = {name: rng.standard_normal((1, 1, rows, 16)).astype(np.float32) for name, rows in (("q", 5), ("k", 300), ("v", 300))}
    feeds["k"][0, 0, 200] *= 100
    feeds["q"][0, 0, 3, 0] = np.nan
    kinds = ["float[1, 1, 5, 16] q", "float[1, 1, 300, 16] k", "float[1, 1, 300, 16] v"]
    proto = _model(kinds, "Attention (q, k, v)", "float[1, 1, 5, 16]")
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    optc.compile(tmp_path / "m.onnx", tmp_path / "m.optc", cache=False)
    actual, expected = optc.load(tmp_path / "m.optc").run(feeds)["y"], ReferenceEvaluator(proto).run(None, feeds)[0]
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)
    assert np.isnan(actual[0, 0, 3]).all() and np.isfinite(np.delete(actual, 3, axis=2)).all()


def test_no_matrix_of_queries_and_keys_is_in_memory(tmp_path: Path) -> None:
    """Of 4,096 queries and keys and 8 heads it would be 537 MB. The bundle serves them, made and checked at small sizes."""
    kinds = [f"float[1, S, 128] {name}" for name in "qkv"]
    node = "Attention <q_num_heads = 8, kv_num_heads = 8> (q, k, v)"
    (tmp_path / "m.onnx").write_bytes(_model(kinds, node, "float[1, S, 128]").SerializeToString())
    optc.compile(tmp_path / "m.onnx", tmp_path / "m.optc", cache=False)
    code = f"""import numpy, optc, re
program, x = optc.load({str(tmp_path / "m.optc")!r}), numpy.ones((1, 4096, 128), numpy.float32)
assert numpy.allclose(program.run(dict(q=x, k=x, v=x))["y"], 1, atol=1e-5)
print(int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) // 1024)"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert int(done.stdout) < 400


def test_a_wrong_factor_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention._Block, "_hide", lambda *_: None)
    rng = np.random.default_rng(3)
    feeds = {name: rng.standard_normal((1, 1, 57, 16)).astype(np.float32) for name in "qkv"}
    kinds = [f"float[1, 1, 57, 16] {name}" for name in "qkv"]
    with pytest.raises((AssertionError, optc.OptcError)):
        _check(tmp_path, kinds, "Attention (q, k, v)", feeds, "float[1, 1, 57, 16]")
