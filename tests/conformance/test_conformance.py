"""ONNX's own suite gives the committed results, no better and no worse; and a change would be seen."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx.parser
import pytest

from benchmarks.conformance import page, pool, results
from benchmarks.conformance.cases import Case
from benchmarks.conformance.drive import result
from benchmarks.conformance.oracle import difference

ROOT = Path(__file__).resolve().parents[2]


def suite(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.conformance", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def case(text: str, inputs: list[object], outputs: list[object], rtol: float = 1e-3) -> Case:
    """A node case of a model given as text."""
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17, "ai.onnx.preview" : 1]> {text}')
    given = type("Given", (), {"model": model, "data_sets": [(inputs, outputs)]})
    return Case("test_it", "node", "It", rtol, 0.0, ROOT, given)


# the suite


def test_a_sample_of_the_suite_gives_the_committed_results() -> None:
    done = suite("--engine", "cpu", "--every", "16")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "native" in done.stdout


@pytest.mark.slow
def test_the_whole_suite_gives_the_committed_results() -> None:
    done = suite()
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_changed_result_in_either_direction_and_a_case_without_one_are_seen() -> None:
    held = {"better": "failed: x", "worse": "native", "same": "failed: x", "gone": "native"}
    found = {"better": "native", "worse": "crashed: SIGSEGV", "same": "failed: put otherwise", "new": "native"}
    assert results.changes(held, found, ["better", "worse", "same", "new"]) == [
        "better: native; committed: failed: x",
        "worse: crashed: SIGSEGV; committed: native",
        "new: no result is committed",
        "gone: the suite has no such case",
    ]


def test_results_survive_their_file_and_a_part_is_updated_alone(tmp_path: Path) -> None:
    held = {"a": "native", "b": "failed: no: reason"}
    results.write(tmp_path / "r.txt", held)
    assert results.read(tmp_path / "r.txt") == held
    assert results.merged(held, {"b": "native"}, ["c", "b", "a"]) == {"b": "native", "a": "native"}


# one case


def test_a_case_passes_natively_or_fails_with_the_reason() -> None:
    x = np.arange(-2, 2, dtype=np.float32)
    relu = "g (float[4] x) => (float[4] y) { y = Relu (x) }"
    assert result(case(relu, [x], [np.maximum(x, 0)]), "cpu") == "native"
    assert result(case(relu, [x], [x]), "cpu") == "failed: output 0: wrong values"
    assert (
        result(case(relu, [x], [x.astype(np.float64)]), "onnxruntime-itself")
        == "failed: output 0: dtype float32 instead of float64"
    )
    refused = result(case(relu.replace("Relu", "Rellu"), [x], [x]), "onnxruntime")
    assert refused.startswith("failed: ") and "Rellu" in refused


def test_random_outputs_and_experimental_domains_are_not_counted() -> None:
    ones, half = np.ones(2, np.float32), np.asarray(0.5, np.float32)
    drop = "g (float[2] x, float r, bool t) => (float[2] y) { y = Dropout (x, r, t) }"
    assert result(case(drop, [ones, half, np.asarray(True)], [ones]), "cpu") == "not counted: Dropout in training mode is random"
    assert result(case(drop, [ones, half, np.asarray(False)], [ones]), "onnxruntime-itself") == "native"
    assert "Bernoulli is random" in result(case("g (float[2] x) => (float[2] y) { y = Bernoulli (x) }", [ones], [ones]), "cpu")
    new = "g (float[2] x) => (float[2] y) { y = ai.onnx.preview.New (x) }"
    assert result(case(new, [ones], [ones]), "cpu") == "not counted: the domain ai.onnx.preview is experimental"


@pytest.mark.parametrize(
    ("expected", "actual", "problem"),
    [
        (np.float32([1, np.nan]), np.float32([1.0005, np.nan]), ""),
        (np.float32([1]), np.float32([1.01]), "wrong values"),
        (np.float32([1]), np.float64([1]), "dtype float64 instead of float32"),
        (np.float32([1]), np.float32([[1]]), "shape [1, 1] instead of [1]"),
        (np.asarray(["a"], object), np.asarray(["a"], object), ""),
        (np.asarray(["a"], object), np.asarray(["b"], object), "wrong strings"),
        ([np.ones(1)], [np.ones(1), np.ones(1)], "2 elements instead of 1"),
        ([np.ones(1)], np.ones(1), "a sequence and a tensor"),
        ([np.ones(1)], [np.zeros(1)], "wrong values"),
        (None, None, ""),
        (None, np.ones(1), "present instead of absent"),
        (np.ones(1), None, "absent"),
    ],
)
def test_outputs_are_compared_in_kind_shape_dtype_and_value(expected: object, actual: object, problem: str) -> None:
    assert difference([expected], [actual], 1e-3, 0.0) == (f"output 0: {problem}" if problem else "")


def test_missing_outputs_are_seen() -> None:
    assert difference([np.ones(1)], [], 1e-3, 0.0) == "0 outputs instead of 1"


# the pool


def trouble(index: int) -> str:
    if index == 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    if index == 2:
        time.sleep(60)
    if index == 3:
        os._exit(7)
    return f"done {index}"


def test_cases_that_crash_or_hang_are_results_and_the_run_goes_on() -> None:
    assert dict(pool.run(trouble, range(6), workers=2, limit=2.0)) == {
        0: "done 0",
        1: "crashed: SIGSEGV",
        2: "timed out",
        3: "crashed: exit code 7",
        4: "done 4",
        5: "done 5",
    }


# the page


def test_the_page_counts_every_case_once_and_gives_every_reason() -> None:
    x = np.ones(2, np.float32)
    made = case("g (float[2] x) => (float[2] y) { y = Relu (x) }", [x], [x])
    text = page.page([made], {"cpu": {"test_it": "failed: a <reason>"}})
    assert "| `cpu` | 1 | 0 | 0 | 1 | 0 | 0 | 0 | 0 of 1 (0.0 %) |" in text
    assert "| It | 1 |  |  | 1 |  |  |  |" in text
    assert "- a \\<reason\\> (1): `test_it`" in text
