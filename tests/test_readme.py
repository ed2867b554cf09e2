"""Every block of the README that can be run is run, in a copy of the folder it speaks of."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from optc.compiler.recipe import Recipe

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("README.md", "docs/measuring.md", "docs/models.md", "docs/testing.md", "docs/why.md")
BLOCKS = [b for name in DOCUMENTS for b in re.findall(r"```(\w+)\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)]


def blocks(language: str) -> list[str]:
    return [text for kind, text in BLOCKS if kind == language]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tests" / "models").mkdir(parents=True)
    shutil.copy(ROOT / "tests/models/fashion_cnn.onnx", tmp_path / "tests/models")
    return tmp_path


def run(folder: Path, *command: str) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OPTC_CACHE": str(folder / "cache")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    commands = re.findall(r"^make (\w+)", blocks("bash")[0], re.MULTILINE)
    assert commands == ["demo", "test"]
    assert all(re.search(rf"^{c}:", (ROOT / "Makefile").read_text(), re.MULTILINE) for c in commands)


@pytest.mark.parametrize("block", blocks("bash")[1:])
def test_shell_blocks_run(folder: Path, block: str) -> None:
    assert run(folder, "bash", "-euo", "pipefail", "-c", block)


def test_the_python_block_runs(folder: Path) -> None:
    assert "(8, 10)" in run(folder, sys.executable, "-c", blocks("python")[0])


def test_the_backend_runs(folder: Path) -> None:
    assert "(1, 10)" in run(folder, sys.executable, "-c", blocks("python")[-1])


def test_the_pass_runs_as_it_stands(folder: Path) -> None:
    script = blocks("python")[1] + (
        "\nfrom optc.compiler import printer, runner\nfrom optc.compiler.pipeline import Pipeline\n"
        'model = printer.parse(\'<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[2] y)'
        " <float[2] c = {2, 4}> { y = Div (x, c) }')\n"
        "print(runner.run(Pipeline((MultiplyReciprocal(),)), model).outcomes[0].kept, printer.text(model))\n"
    )
    (folder / "my_pass.py").write_text(script)
    printed = run(folder, sys.executable, "my_pass.py")
    assert printed.startswith("True") and "{0.5, 0.25}" in printed and "y = Mul (x, " in printed


def test_the_recipe_is_one(folder: Path) -> None:
    recipe = Recipe.parse(blocks("toml")[0])
    assert str(recipe.pipeline) == "canonicalize,quantize-weights{max-error=0.05}"
    assert Recipe.parse(recipe.to_toml()) == recipe


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.name)
def test_examples_run_and_are_short(folder: Path, example: Path) -> None:
    assert len(example.read_text().splitlines()) <= 60
    assert run(folder, sys.executable, str(example), "tests/models/fashion_cnn.onnx", "out.optc")
