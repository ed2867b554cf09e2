"""A cache key covers the code that a compilation runs, also that of packages that are not ours."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from optc.compiler import sources
from optc.passes.cleanup.eliminate_dead import EliminateDead


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package whose pass stands in one file and what it needs in another, and a module beside it."""
    folder = tmp_path / "planted_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("from planted_package.mine import Mine\n")
    (folder / "mine.py").write_text("class Mine: pass\n")
    (folder / "helper.py").write_text("X = 1\n")
    (tmp_path / "planted_module.py").write_text("class Alone: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [n for n in sys.modules if n.startswith("planted_")]:
        del sys.modules[name]


def test_a_change_anywhere_in_the_package_of_a_class_is_seen(package: Path) -> None:
    mine = importlib.import_module("planted_package").Mine
    before = sources.code_digest([mine])
    assert sources.code_digest([mine]) == before
    (package / "helper.py").write_text("X = 2\n")
    assert sources.code_digest([mine]) != before


def test_what_lies_beside_a_module_or_is_none_of_a_class_is_not(package: Path) -> None:
    alone = importlib.import_module("planted_module").Alone
    classes = [alone, EliminateDead]
    before = sources.code_digest(classes)
    (package / "helper.py").write_text("X = 2\n")
    assert sources.code_digest(classes) == before
