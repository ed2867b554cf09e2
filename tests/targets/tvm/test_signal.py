"""Fourier transforms and windows beside onnxruntime, several sizes from one library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optc.compiler.diagnostics import UserError
from tests.targets.tvm.test_lower import Compiled


def floats(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("settings", ["", "inverse = 1", "onesided = 1"])
def test_transforms_of_any_length(settings: str, parts: int, tmp_path: Path) -> None:
    """The axis has a symbolic length: its roots are a table that is computed at run time."""
    if settings == "onesided = 1" and parts == 2:
        pytest.skip("a onesided transform is of real numbers")
    graph = f"g (float[N, L, {parts}] x) => (float[N, K, 2] y) {{ y = DFT <{settings or 'axis = 1'}> (x) }}"
    model = Compiled(graph, tmp_path)
    for length in (1, 8, 15, 50):
        model.check(1e-5, x=floats(2, length, parts))


@pytest.mark.parametrize("length", [5, 12, 20])
@pytest.mark.parametrize("settings", ["axis = 2", "inverse = 1, axis = 1", "onesided = 1, axis = -2"])
def test_transforms_of_a_constant_length_cut_or_pad(settings: str, length: int, tmp_path: Path) -> None:
    graph = f"g (float[N, 12, 9, 1] x) => (float[N, A, B, 2] y) {{ y = DFT <{settings}> (x, n) }}"
    Compiled(graph, tmp_path, n=np.array(length)).check(1e-5, x=floats(3, 12, 9, 1))


def test_the_inverse_of_a_real_spectrum_is_the_signal(tmp_path: Path) -> None:
    graph = """g (float[N, 10, 1] x) => (float[N, 10, 1] y) {
        s = DFT <onesided = 1> (x, , axis)
        y = DFT <onesided = 1, inverse = 1> (s, n, axis)
    }"""
    x = floats(2, 10, 1)
    model = Compiled(graph.replace("(x, , axis)", "(x, n, axis)"), tmp_path, 20, axis=np.array(1), n=np.array(10))
    np.testing.assert_allclose(model.engine.run({"x": x})["y"], x, atol=1e-5)


@pytest.mark.parametrize("half", [0, 1])
@pytest.mark.parametrize("given", ["step, window", "step, window, size", "step, '', size"])
def test_short_time_transforms(given: str, half: int, tmp_path: Path) -> None:
    held = given.replace("''", "")
    graph = f"g (float[N, L, 1] x) => (float[N, F, K, 2] y) {{ y = STFT <onesided = {half}> (x, {held}) }}"
    constants = {"step": np.array(5), "window": np.hanning(16).astype(np.float32), "size": np.array(16)}
    names = [name for name in constants if name in given]
    model = Compiled(graph, tmp_path, **{name: constants[name] for name in names})
    for length in (16, 40, 101):
        model.check(1e-5, x=floats(2, length, 1))


@pytest.mark.parametrize("periodic", [0, 1])
@pytest.mark.parametrize("name", ["HannWindow", "HammingWindow", "BlackmanWindow"])
def test_windows_of_a_symbolic_size(name: str, periodic: int, tmp_path: Path) -> None:
    graph = f"""g (float[N, L] x) => (float[L] y) {{
        shape = Shape <start = 1> (x)
        one = Constant <value_ints = [0]> ()
        size = Squeeze(shape, one)
        y = {name} <periodic = {periodic}> (size)
    }}"""
    model = Compiled(graph, tmp_path)
    for length in (8, 25):
        model.check(2e-6, x=floats(1, length))


def test_a_step_that_is_computed_is_refused(tmp_path: Path) -> None:
    graph = "g (float[1, 64, 1] x, int64 s) => (float[1, F, 9, 2] y) { y = STFT <onesided = 1> (x, s, w) }"
    with pytest.raises(UserError, match="frame_step is computed at run time"):
        Compiled(graph, tmp_path, w=np.ones(16, np.float32))


def test_mel_weights_of_fed_numbers(tmp_path: Path) -> None:
    graph = """g (int64 bands, int64 length, int64 rate, float low, float high) => (float[F, B] y) {
        y = MelWeightMatrix(bands, length, rate, low, high)
    }"""
    model = Compiled(graph, tmp_path)
    for bands, length, rate, low, high in ((8, 16, 8192, 0, 4096), (40, 512, 16000, 20, 7600), (3, 10, 100, 0, 50)):
        numbers = {"bands": np.int64(bands), "length": np.int64(length), "rate": np.int64(rate)}
        model.check(1e-6, **numbers, low=np.float32(low), high=np.float32(high))
