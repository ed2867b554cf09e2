"""The `cpu` target: real models in, the same model out, the same bytes every time."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

import optc
from optc.compiler import ir
from optc.compiler.diagnostics import ContractError, UserError
from optc.compiler.target import Artifact, Target
from optc.targets.cpu import Cpu
from optc.targets.tvm import build as native
from optc.targets.tvm import machine


def _error(model: Path, bundle: Path, shape: tuple[int, ...]) -> float:
    """The largest relative error against onnxruntime without optimizations, on noise of that shape."""
    options = ort.SessionOptions()
    options.graph_optimization_level, options.log_severity_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL, 3
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    feeds = {"x": np.random.default_rng(0).standard_normal(shape).astype(np.float32)}
    (expected,) = session.run(None, feeds)
    (actual,) = optc.load(bundle, threads=2).run(feeds).values()
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("lcnet", [(1, 3, 224, 224), (3, 3, 224, 224)]),
        ("fashion_cnn", [(1, 1, 28, 28), (8, 1, 28, 28)]),
        ("ppocr_cls", [(1, 3, 48, 192), (2, 3, 64, 100), (1, 3, 33, 47)]),
    ],
)
def test_a_real_model_of_any_size_agrees_with_onnxruntime(
    name: str, shapes: list[tuple[int, ...]], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    model: Path = request.getfixturevalue(name)
    optc.compile(model, tmp_path / "model.optc")
    for shape in shapes:
        assert _error(model, tmp_path / "model.optc", shape) <= 1e-4, shape


def test_the_same_model_gives_the_same_bytes(fashion_cnn: Path, tmp_path: Path) -> None:
    """In another process, folder and temporary folder, with another hash seed."""
    libraries = []
    for seed in ("1", "2"):
        folder = tmp_path / f"folder{seed}"
        (folder / "tmp").mkdir(parents=True)
        code = f"import optc; optc.compile({str(fashion_cnn)!r}, 'model.optc', cache=False)"
        environment = {**os.environ, "PYTHONHASHSEED": seed, "TMPDIR": str(folder / "tmp")}
        subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, check=True)
        libraries.append([f.read_bytes() for f in (folder / "model.optc" / "lib").iterdir()])
    assert libraries[0] == libraries[1]


def test_an_older_processor_can_be_named(fashion_cnn: Path, tmp_path: Path) -> None:
    optc.compile(fashion_cnn, tmp_path / "model.optc", target="cpu{mcpu=x86-64-v2}")
    assert _error(fashion_cnn, tmp_path / "model.optc", (2, 1, 28, 28)) <= 1e-4


def test_a_bundle_for_another_processor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="this processor lacks"):
        Cpu.load(tmp_path, {"features": ["avx1024"], "arch": platform.machine()}, {}, 1)


def test_an_unknown_processor_is_the_users_error() -> None:
    with pytest.raises(UserError, match="unknown machine"):
        Target.parse("cpu{mcpu=znver99}").capabilities()


def _library(path: Path, level: str) -> str:
    """The library that a process restricted to a level maps."""
    code = f"import optc; optc.load({str(path)!r}); print(open('/proc/self/maps').read())"
    environment = {**os.environ, "OPTC_MCPU": level}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    (found,) = {line.rpartition("/")[2] for line in done.stdout.splitlines() if str(path / "lib") in line}
    return found


def test_a_bundle_for_several_processors_picks_what_it_runs_on(fashion_cnn: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.optc"
    optc.compile(fashion_cnn, path, target="cpu{mcpu=x86-64-v3|x86-64-v2}")
    chosen = {level: _library(path, level) for level in ("native", "x86-64-v3", "x86-64-v2")}
    assert chosen["native"] == chosen["x86-64-v3"] != chosen["x86-64-v2"]
    assert len(list((path / "lib").iterdir())) == 2
    with pytest.raises(UserError, match="this processor lacks"), machine.limited("x86-64"):
        optc.load(path)


def test_the_code_for_each_processor_is_checked(fashion_cnn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = native.build

    def wrong(model: ir.Model, for_machine: machine.Machine, *more: Any) -> Artifact:
        made = right(model, for_machine, *more)
        weights = {name: -array for name, array in made.weights.items()}
        return made if for_machine.name == "x86-64-v3" else replace(made, weights=weights)

    monkeypatch.setattr(native, "build", wrong)
    with pytest.raises(ContractError):
        optc.compile(fashion_cnn, tmp_path / "model.optc", target="cpu{mcpu=x86-64-v3|x86-64-v2}", cache=False)
    assert not (tmp_path / "model.optc").exists()
    optc.compile(fashion_cnn, tmp_path / "model.optc", target="cpu{mcpu=x86-64-v3}", cache=False)


def test_a_machine_stands_for_older_ones_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTC_MCPU", "neoverse-n1")
    with pytest.raises(UserError, match="this processor is no neoverse-n1"):
        machine.host()
