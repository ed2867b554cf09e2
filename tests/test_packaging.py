"""What is published works: the wheel, built through the sdist, is complete and runs where no checkout is near."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("compiler", "passes", "targets")

IMPORT_ALL = """
import importlib, pkgutil, optc
for module in pkgutil.walk_packages(optc.__path__, "optc."):
    importlib.import_module(module.name)
print(optc.__file__)
"""


def _tracked(folder: str) -> set[str]:
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist of this checkout and the wheel made from that sdist."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return folder


@pytest.fixture(scope="module")
def clean_python(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The python of a new environment holding the wheel; its dependencies are borrowed from the environment of the tests."""
    folder = tmp_path_factory.mktemp("clean")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--python", str(python)]
    subprocess.run([*pip, "install", "--no-deps", "--no-index", str(next(built.glob("*.whl")))], check=True)
    site = sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)})
    # A path added by a .pth comes after the wheel's, and .pth files in it (the editable install's) are not followed.
    (Path(site) / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def test_the_wheel_holds_every_file_of_the_three_folders(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        names = {name.removeprefix("optc/") for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == {"__init__.py", "backend.py", "testing.py", "py.typed"}.union(*(_tracked(folder) for folder in FOLDERS))


def test_the_sdist_holds_sources_tests_and_examples(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    wanted = set().union(*(_tracked(folder) for folder in (*FOLDERS, "tests", "benchmarks", "examples")))
    assert (
        wanted
        | {
            "LICENSE",
            "Makefile",
            "README.md",
            "pyproject.toml",
            "src/optc/__init__.py",
            "src/optc/backend.py",
            "src/optc/testing.py",
            "src/optc/py.typed",
        }
        <= names
    )


def test_every_module_of_the_wheel_imports_in_a_clean_environment(clean_python: Path, tmp_path: Path) -> None:
    done = subprocess.run([clean_python, "-c", IMPORT_ALL], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().startswith(str(clean_python.parent.parent))


def test_the_command_answers_in_a_clean_environment(clean_python: Path, tmp_path: Path) -> None:
    done = subprocess.run([clean_python.parent / "optc", "--help"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "compile" in done.stdout


def test_the_same_checkout_builds_the_same_bytes(built: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        path.name: path.read_bytes() for path in built.iterdir()
    }
