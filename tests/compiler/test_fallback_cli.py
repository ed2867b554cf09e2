"""What the user sees of a node that the target refuses: named, with the reason and its share; or refused altogether."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from optc.compiler import runtime
from optc.compiler.recipe import Recipe

MODEL = """<ir_version: 8, opset_import: ["" : 17, "ai.onnx.ml" : 3]>
net (float[N, 8] x) => (float[N, 8] y) {
    [first] h = Relu (x)
    [cut] c = ai.onnx.ml.Binarizer <threshold = 3.0> (h)
    [last] y = Neg (c)
}"""
REASON = "operator Binarizer of domain ai.onnx.ml is not known to this target"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    onnx.save(onnx.parser.parse_model(MODEL), str(tmp_path / "model.onnx"))
    return tmp_path


def optc(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OPTC_CACHE": str(folder / "cache")}
    program = [sys.executable, "-m", "optc.compiler.cli", *command]
    return subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False)


def data(folder: Path) -> tuple[str, str]:
    np.savez(folder / "data.npz", x=np.arange(24, dtype=np.float32).reshape(3, 8) - 9)
    return "--data", "data.npz"


def test_a_refused_node_runs_in_the_bundle_and_is_named(folder: Path) -> None:
    done = optc(folder, "compile", "model.onnx", "-o", "model.optc", *data(folder))
    assert done.returncode == 0, done.stderr
    assert f"runs in onnxruntime: node 'cut' (ai.onnx.ml.Binarizer): {REASON}" in done.stderr
    assert "1 node runs in onnxruntime, " in done.stdout and "% of the time" in done.stdout
    shown = optc(folder, "inspect", "model.optc").stdout
    assert REASON in shown.replace("\n", " ") and "onnxruntime" in shown
    x = np.load(folder / "data.npz")["x"]
    (y,) = runtime.load(folder / "model.optc").run({"x": x}).values()
    np.testing.assert_array_equal(y, np.where(x > 3, np.float32(-1), np.float32(0)))


def test_the_shares_of_the_parts_are_told(folder: Path) -> None:
    assert optc(folder, "compile", "model.onnx", "-o", "model.optc", *data(folder)).returncode == 0
    done = optc(folder, "inspect", "model.optc", "--profile", "--size", "N=4", "--json")
    parts = json.loads(done.stdout)
    assert [part["target"] for part in parts] == ["cpu", "onnxruntime", "cpu"]
    assert sum(part["share"] for part in parts) == pytest.approx(1.0)


@pytest.mark.parametrize("way", ["option", "recipe"])
def test_no_fallback_is_an_error_with_the_node_and_the_reason(folder: Path, way: str) -> None:
    (folder / "recipe.toml").write_text("fallback = false\n")
    asked = ["--no-fallback"] if way == "option" else ["--recipe", "recipe.toml"]
    done = optc(folder, "compile", "model.onnx", "-o", "model.optc", *data(folder), *asked)
    assert done.returncode == 2, done.stdout
    assert "node 'cut' (ai.onnx.ml.Binarizer)" in done.stderr and REASON in done.stderr
    assert not (folder / "model.optc").exists()


def test_a_recipe_keeps_it() -> None:
    recipe = Recipe(fallback=False)
    assert Recipe.parse(recipe.to_toml()) == recipe
