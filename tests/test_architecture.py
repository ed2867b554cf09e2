"""The house keeps its shape: imports go one way, heavy libraries stay behind their doors, files stay small."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ("compiler", "passes", "targets")
CODE = (*PACKAGE, "src/optc/__init__.py", "src/optc/backend.py", "src/optc/testing.py", "benchmarks", "examples", "tests")
MAX_LINES = 400

# What a layer may import: itself and what is below. `core` is compiler/ without api and the command; the registry is core, since
# its tables name passes and targets as text.
ALLOWED = {
    "core": {"core"},
    "passes": {"core", "passes"},
    "targets": {"core", "targets"},
    "api": {"core", "passes", "targets", "api"},
    "cli": {"core", "passes", "targets", "api", "cli"},
}


def _files(*folders: str) -> list[Path]:
    roots = [ROOT / folder for folder in folders]
    return sorted(path for root in roots for path in ([root] if root.is_file() else root.rglob("*.py")))


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted module) of every import statement, inside functions too; `from a import b` yields a.b."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import hides the layer"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def _layer(module: str) -> str:
    """The layer of a dotted module under optc: `optc.compiler.cli.run` -> cli."""
    _, folder, *rest = module.split(".")
    if folder in ("passes", "targets"):
        return folder
    return {"api": "api", "cli": "cli", "commands": "cli"}.get(rest[0] if rest else "", "core")


def _module(path: Path) -> str:
    return ".".join(("optc", *path.relative_to(ROOT).with_suffix("").parts))


def _offences(files: list[Path], forbidden: str) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{line}" for path in files for line, name in _imports(path) if name.split(".")[0] == forbidden
    ]


def test_imports_go_one_way() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {_layer(_module(path))} imports {name}"
        for path in _files(*PACKAGE)
        for line, name in _imports(path)
        if name.startswith(("optc.compiler.", "optc.passes", "optc.targets"))
        and _layer(name) not in ALLOWED[_layer(_module(path))]
    ]
    assert not wrong, "\n".join(wrong)


def test_the_check_of_layers_sees_a_planted_wrong_import(tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text("def late():\n    from optc.targets import cpu\n")
    assert list(_imports(planted)) == [(2, "optc.targets.cpu")]
    assert _layer("optc.targets.cpu") not in ALLOWED[_layer("optc.passes.fusion.planted")]


def test_only_targets_tvm_knows_tvm() -> None:
    outside = [
        path
        for path in _files(*PACKAGE, "src/optc/__init__.py", "src/optc/backend.py", "src/optc/testing.py")
        if not path.is_relative_to(ROOT / "targets" / "tvm")
    ]
    assert _offences(outside, "tvm") == []


def test_passes_and_targets_get_onnx_ir_through_compiler_ir() -> None:
    assert _offences(_files("passes", "targets"), "onnx_ir") == []


@pytest.mark.parametrize("statement", ["import optc; optc.load", "import optc.compiler.cli", "import optc.compiler.runtime"])
def test_loading_a_bundle_or_asking_for_help_imports_no_compiler(statement: str) -> None:
    script = (
        f"{statement}\nimport sys\nprint(*sorted({{'tvm', 'onnx', 'onnx_ir', 'onnxruntime', 'networkx'}} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_no_file_is_longer_than_it_can_be_read() -> None:
    sizes = {path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines()) for path in _files(*CODE)}
    assert {name: lines for name, lines in sizes.items() if lines > MAX_LINES} == {}


def test_the_import_view_is_three_relative_links() -> None:
    for folder in PACKAGE:
        link = ROOT / "src" / "optc" / folder
        assert link.is_symlink()
        assert link.readlink() == Path("../..") / folder
