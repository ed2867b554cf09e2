"""Metrics of packages: offered by an entry point they work as the built-in ones do, and what they break is said.

And the list of built-in ones in `--help`, which is that of the table.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from optc.compiler.measure.metrics import BY_LABELS, BY_SOURCE, METRICS
from optc.compiler.measure.metrics.metric import Metric

MODEL = '<ir_version: 8, opset_import: ["" : 17]> g (float[N, 4] x) => (float[N, 4] y) <float[4] c = {%s}> { y = Mul (x, c) }'
CODE = """
import numpy as np
from optc.compiler.measure.metrics.metric import Metric

def gap(output, labels):
    return np.abs(output.max(1, keepdims=True) - labels[:, None]).astype(np.float64)

MINE = Metric("gap", "labels", "lower", gap)  # known by its entry point's name
FLAT = Metric("flat", "source", "lower", lambda output, source: output.max(1))
WIDE = Metric("wide", "source", "lower", lambda output, source: output.astype(np.float64))
SHORT = Metric("short", "source", "lower", lambda output, source: np.zeros((1, 1)))
LIST = Metric("list", "source", "lower", lambda output, source: [[0.0]] * len(output))
HALF = Metric("half", "source", "higher", lambda output, source: np.full((len(output), 1), 0.5), binary=True)
NONE = max
SINGLE = Metric("single", "source", "lower", lambda output, source: output.max(1, keepdims=True))  # float32
"""
NAMES = ("mine", "flat", "wide", "short", "list", "half", "none", "lost", "single")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models that differ by a tenth, data, and an installed package with one good metric and many bad ones."""
    path = tmp_path_factory.mktemp("own")
    for name, c in (("source", "1, 1, 1, 1"), ("off", "1.1, 1.1, 1.1, 1.1")):
        onnx.save(onnx.parser.parse_model(MODEL % c), str(path / f"{name}.onnx"))
    x = np.random.default_rng(0).random((100, 4), np.float32)
    np.savez(path / "d.npz", x=x, price=x.max(1))
    info = path / "site" / "pack-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pack\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[optc.metrics]\n" + "".join(f"{n} = pack:{n.upper()}\n" for n in NAMES))
    (path / "site" / "pack.py").write_text(CODE)
    return path


def optc(folder: Path, command: str, site: str = "site") -> subprocess.CompletedProcess[str]:
    python_path = os.pathsep.join(filter(None, (str(folder / site), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": python_path, "OPTC_CACHE": str(folder / "cache"), "COLUMNS": "200"}
    program = [sys.executable, "-m", "optc.compiler.cli", *shlex.split(command)]
    return subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False)


def test_a_packages_metric_is_measured_and_its_budget_held(folder: Path) -> None:
    check = "check source.onnx off.onnx --data d.npz --labels price --json"
    done = optc(folder, f"{check} --metric mine")
    (found,) = json.loads(done.stdout)["metrics"]
    assert done.returncode == 0 and found["metric"] == "mine" and found["source"] == 0
    assert found["result"] == pytest.approx(0.1 * np.load(folder / "d.npz")["price"].mean(), rel=1e-5)
    assert optc(folder, f"{check} --max-drop mine=0.2").returncode == 0
    assert optc(folder, f"{check} --max-drop mine=0.01").returncode == 3  # under the name that it was asked for by


def test_records_of_another_precision_are_numbers_too(folder: Path) -> None:
    done = optc(folder, "check source.onnx off.onnx --data d.npz --labels price --metric single --json")
    (found,) = json.loads(done.stdout)["metrics"]
    assert found["difference"]["value"] == pytest.approx(found["result"] - found["source"])


def test_a_packages_metric_gates_a_compilation(folder: Path) -> None:
    compile_ = "compile source.onnx --target onnxruntime --data d.npz --labels price --no-cache"
    done = optc(folder, f"{compile_} -o good.optc --max-drop mine=0.2")
    assert done.returncode == 0, done.stderr
    record = json.loads((folder / "good.optc" / "measurements.json").read_text())
    assert '"mine"' in json.dumps(record)


def test_without_the_package_there_is_no_such_metric(folder: Path) -> None:
    done = optc(folder, "check source.onnx off.onnx --data d.npz --labels price --metric mine", site="nothing")
    assert done.returncode == 2 and "unknown metric 'mine'" in done.stderr


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("flat", "its records are float32[32], expected float64[32, 1]"),
        ("wide", "its records are float64[32, 4], expected float64[32, 1]"),
        ("short", "its records are float64[1, 1], expected float64[32, 1]"),
        ("list", "its records are list"),
        ("half", "neither 0 nor 1"),
        ("none", "metric 'none' is no Metric but a builtin_function_or_method"),
        ("lost", "module 'pack' has no 'LOST'"),
    ],
)
def test_what_a_metric_breaks_is_said(folder: Path, name: str, words: str) -> None:
    done = optc(folder, f"check source.onnx off.onnx --data d.npz --labels price --metric {name}")
    assert done.returncode == 2 and words in done.stderr, done.stderr


@pytest.mark.parametrize("command", ["check", "compile"])
def test_help_lists_the_metrics_of_the_table(folder: Path, command: str) -> None:
    told = re.sub(r"[\s│]+", " ", optc(folder, f"{command} --help").stdout)
    assert f"By labels: {', '.join(BY_LABELS)}. By the source's outputs: {', '.join(BY_SOURCE)}." in told


@pytest.mark.parametrize("name", METRICS)
def test_the_table_says_what_each_metric_is(name: str) -> None:
    module, _, attribute = METRICS[name].partition(":")
    metric = getattr(importlib.import_module(module), attribute)
    assert isinstance(metric, Metric) and metric.name == name
    assert metric.truth == ("labels" if name in BY_LABELS else "source")


def test_the_table_is_light() -> None:
    script = "import optc.compiler.measure.metrics, sys; print('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "False\n"
