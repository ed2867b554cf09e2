"""`optc check --metric`: figures of both models on the same samples, and exit codes that a gate can rely on."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

MODEL = '<ir_version: 8, opset_import: ["" : 17]> g (float[N, 4] x) => (float[N, 4] y, float[N] first) <float[4] c = {%s}> '
BODY = "{ y = Mul (x, c) first = ReduceMax <axes = [1], keepdims = 0> (y) }"

N = 2000
LABELS = np.arange(N) % 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source that is right on every sample, one that is wrong on class 3, one that is a little off, and a user's metric."""
    path = tmp_path_factory.mktemp("check")
    for name, c in (("source", "1, 1, 1, 1"), ("ruined", "1, 1, 1, 0"), ("near", "1, 1, 1, 1.001")):
        onnx.save(onnx.parser.parse_model(MODEL % c + BODY), str(path / f"{name}.onnx"))
    scores = np.eye(4, dtype=np.float32)[LABELS] + np.random.default_rng(0).random((N, 4), dtype=np.float32) * 0.5
    np.savez(path / "d.npz", x=scores, label=LABELS)
    np.savez(path / "few.npz", x=scores[:40], label=LABELS[:40])
    np.savez(path / "wrong.npz", x=scores, label=np.where(np.arange(N) == 1999, 4, LABELS))
    info = path / "site" / "mine-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[optc.metrics]\nlargest = mine:LARGEST\n")
    (path / "site" / "mine.py").write_text(
        "from optc.compiler.measure.metrics.metric import Metric\n"
        "LARGEST = Metric('largest', 'source', 'lower', lambda output, source: abs(output).max(1, keepdims=True))\n"
    )
    return path


def check(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "optc.compiler.cli", "check", *shlex.split(command)]
    environment = {**os.environ, "PYTHONPATH": str(folder / "site"), "OPTC_CACHE": str(folder / "cache")}
    return subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False)


def measured(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    return {m["metric"]: m for m in json.loads(done.stdout)["metrics"]}


def test_metrics_of_both_models_with_their_difference(folder: Path) -> None:
    found = measured(
        check(folder, "source.onnx ruined.onnx --data d.npz --labels label --metric top1 --metric f1 --metric agreement --json")
    )
    assert (found["top1"]["source"], found["top1"]["result"]) == (1, 0.75)
    assert found["top1"]["difference"]["low"] < -0.25 < found["top1"]["difference"]["high"] < -0.22
    assert (found["agreement"]["source"], found["agreement"]["result"]) == (1, 0.75)
    assert found["f1"]["result"] < 0.75 and found["f1"]["difference"]["method"] == "bootstrap"


def test_a_bundle_is_measured_like_a_file(folder: Path) -> None:
    compiled = [sys.executable, "-m", "optc.compiler.cli", "compile", "near.onnx", "-o", "near.optc", "--target", "onnxruntime"]
    subprocess.run([*compiled, "--no-cache"], cwd=folder, check=True, capture_output=True)
    done = check(folder, "near.onnx near.optc --data d.npz --labels label --max-drop top1=0.5% --max-drop worst-l2=0.001 --json")
    assert done.returncode == 0 and measured(done)["top1"]["decision"] == "keep"


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("near.onnx --data d.npz --max-drop top1=0.5% --labels label", 0, ["within", "2000 samples"]),
        ("near.onnx --data d.npz --labels label --max-drop relative-l2=0.1% --max-drop kl=0.001", 0, ["relative-l2", "within"]),
        ("ruined.onnx --data d.npz --max-drop top1=1% --labels label", 3, ["top1 is worse by 0.25", "the budget is 0.01"]),
        ("near.onnx --data d.npz --labels label --metric largest", 0, ["largest"]),
    ],
)
def test_a_budget_is_met_broken_or_undecided(folder: Path, command: str, code: int, words: list[str]) -> None:
    done = check(folder, "source.onnx " + command)
    assert done.returncode == code, done.stderr
    assert all(w in done.stdout + done.stderr for w in words)
    as_json = check(folder, f"source.onnx {command} --json")
    assert as_json.returncode == code and json.loads(as_json.stdout)["holds"] == (code == 0)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("--data d.npz --metric top1", ["'label' is no input", "--labels label"]),
        ("--metric top1", ["it needs labels, the data have none"]),
        ("--data d.npz --labels label --metric topp1", ["did you mean 'top1'"]),
        ("--data d.npz --labels label --metric perplexity", ["'perplexity' does not fit", "logits"]),
        ("--data d.npz --labels label --metric top5", ["'top5' does not fit", "more than 5 classes"]),
        ("--data wrong.npz --labels label --metric top1", ["labels go up to 4", "4 classes"]),
        ("--data d.npz --labels label --metric top1 --output z", ["no output 'z'"]),
        ("--data d.npz --labels label --metric top1 --output first", ["'top1' does not fit"]),
        ("--data d.npz --labels label --max-drop top1", ["expected NAME=AMOUNT"]),
        ("--data d.npz --labels label --max-drop top1=-1%", ["expected NAME=AMOUNT"]),
        ("--data d.npz --labels label --max-drop top1=1% --max-drop top1=2%", ["'top1' has two budgets"]),
        ("--data few.npz --labels label --max-drop top1=1%", ["40 samples are too few", "381 would do"]),
        ("--data d.npz --labels label --max-drop top1=1% --limit 50", ["50 samples are too few"]),
        ("--data d.npz --labels label --max-drop top1=0%", ["no number of samples"]),
        ("--limit 3", ["--limit speaks of data"]),
        ("--data d.npz --labels label --output y", ["--output says what metrics look at"]),
    ],
)
def test_mistakes_are_said_before_any_long_work(folder: Path, command: str, words: list[str]) -> None:
    done = check(folder, "source.onnx near.onnx " + command)
    assert done.returncode == 2
    assert all(w in done.stderr for w in words), done.stderr


def test_data_may_come_from_a_recipe(folder: Path) -> None:
    (folder / "r.toml").write_text('[data]\npath = "d.npz"\nlabels = "label"\nlimit = 1000\n')
    told = json.loads(check(folder, "source.onnx near.onnx --recipe r.toml --metric top1 --json").stdout)
    assert told["samples"] == 1000
    again = check(folder, "source.onnx near.onnx --recipe r.toml --limit 1000 --batch 7 --metric top1 --json")
    assert json.loads(again.stdout)["data"] == told["data"]  # the same samples, however they are batched
    plain = check(folder, "source.onnx near.onnx --recipe r.toml --tolerance 0.01 --json")
    assert plain.returncode == 0 and json.loads(plain.stdout)["samples"] == 1


def test_without_metrics_outputs_are_compared_and_json_stays_one_document(folder: Path) -> None:
    done = check(folder, "source.onnx ruined.onnx --data d.npz --labels label --json")
    assert done.returncode == 3 and json.loads(done.stdout)["holds"] is False
    assert "the models differ" in check(folder, "source.onnx ruined.onnx --data d.npz --labels label").stderr


def test_without_data_fidelity_is_measured_on_generated_samples_and_that_is_said(folder: Path) -> None:
    done = check(folder, "source.onnx ruined.onnx --metric agreement --metric relative-l2")
    assert done.returncode == 0, done.stderr
    assert "generated samples, which prove little" in done.stdout
