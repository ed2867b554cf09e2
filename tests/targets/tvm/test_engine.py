"""The engine of a compiled library: right under many threads, whatever memory it is fed, without the compiler."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import optc


@pytest.fixture(scope="module")
def bundle(fashion_cnn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("engine") / "fashion.optc"
    optc.compile(fashion_cnn, path)
    return path


def _image(seed: int, batch: int = 1) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal((batch, 1, 28, 28)).astype(np.float32)


def test_eight_threads_of_a_thousand_calls_each_give_the_results_of_one(bundle: Path) -> None:
    program = optc.load(bundle, threads=2)
    images = [_image(seed) for seed in range(8)]
    expected = [program.run({"x": image})["y"] for image in images]
    wrong: list[tuple[int, int]] = []

    def work(first: int) -> None:
        for call in range(1000):
            which = (first + call) % len(images)
            if not np.array_equal(program.run({"x": images[which]})["y"], expected[which]):
                wrong.append((first, call))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_number_of_threads_changes_no_bit(bundle: Path) -> None:
    image = _image(0, batch=8)
    one, two = (optc.load(bundle, threads=n).run({"x": image})["y"] for n in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_outputs_are_the_callers(bundle: Path) -> None:
    program = optc.load(bundle, threads=1)
    first = program.run({"x": _image(0)})["y"]
    kept = first.copy()
    program.run({"x": _image(1)})
    np.testing.assert_array_equal(first, kept)
    first[:] = 0  # writable


def test_any_memory_can_be_fed(bundle: Path) -> None:
    """Unaligned, read-only, not contiguous, with odd strides where an extent is 1."""
    program = optc.load(bundle, threads=1)
    image = _image(0)
    expected = program.run({"x": image})["y"]
    unaligned = np.zeros(image.nbytes + 4, np.uint8)[4:].view(np.float32).reshape(image.shape)
    unaligned[...] = image
    frozen = image.copy()
    frozen.setflags(write=False)
    strided = np.zeros((1, 3, 28, 56), np.float32)[:, 1:2, :, ::2]
    strided[...] = image
    cut = np.zeros((1, 2, 28, 28), np.float32)[:, :1]
    cut[...] = image
    for feed in (unaligned, frozen, strided, cut):
        np.testing.assert_array_equal(program.run({"x": feed})["y"], expected)


def test_every_batch_runs_through_one_library(bundle: Path) -> None:
    program = optc.load(bundle, threads=2)
    images = np.concatenate([_image(seed) for seed in range(5)])
    each = np.concatenate([program.run({"x": image[None]})["y"] for image in images])
    np.testing.assert_allclose(program.run({"x": images})["y"], each, rtol=1e-5, atol=1e-5)
    assert program.run({"x": images[:0]})["y"].shape == (0, 10)


def test_a_bundle_is_loaded_without_the_compiler(bundle: Path) -> None:
    code = (
        "import sys, optc, numpy as np\n"
        f"optc.load({str(bundle)!r}, threads=1).run({{'x': np.zeros((1, 1, 28, 28), np.float32)}})\n"
        "print([m for m in ('tvm', 'onnx', 'onnx_ir', 'onnxruntime') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
