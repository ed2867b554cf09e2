"""The cache gives back what was put in, whole, or nothing; it stays within its bound and serves compilations side by side."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from optc.compiler import bundle
from optc.compiler.cache import Cache, key
from optc.compiler.diagnostics import UserError

from . import small

HERE = Path(__file__).parent
A, B, C, D = (key({"source": letter}) for letter in "abcd")


@pytest.fixture
def made(tmp_path: Path) -> Path:
    small.write(tmp_path / "m.optc")
    return tmp_path / "m.optc"


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def test_what_was_put_in_comes_out(made: Path, cache: Cache) -> None:
    assert cache.get(A) is None
    cache.put(A, made)
    held = cache.get(A)
    assert held is not None
    assert bundle.read(held) == bundle.read(made)
    assert cache.get(B) is None


def test_a_key_depends_on_every_part_and_not_on_their_order() -> None:
    assert key({"a": "1", "b": "2"}) == key({"b": "2", "a": "1"})
    assert len({key({"a": "1", "b": "2"}), key({"a": "2", "b": "1"}), key({"a": "1"}), key({"a": "12", "b": ""})}) == 4


def test_the_folder_is_named_by_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPTC_CACHE", str(tmp_path / "mine"))
    assert Cache().folder == tmp_path / "mine" / "bundles"
    monkeypatch.delenv("OPTC_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Cache().folder == tmp_path / ".cache" / "optc" / "bundles"


@pytest.mark.parametrize("damage", ["content", "missing", "manifest"])
def test_a_damaged_entry_is_dropped_and_can_be_made_again(made: Path, cache: Cache, damage: str) -> None:
    cache.put(A, made)
    entry = cache.folder / A
    file = entry / ("manifest.json" if damage == "manifest" else bundle.read(entry).weights["w"].file)
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(b"!" + file.read_bytes()[1:])
    assert cache.get(A) is None
    assert list(cache.folder.iterdir()) == []
    cache.put(A, made)
    assert cache.get(A) is not None


def test_the_least_recently_used_entries_go_first(made: Path, cache: Cache) -> None:
    cache.limit = 3 * bundle.read(made).bytes_on_disk
    for i, name in enumerate((A, B, C)):
        cache.put(name, made)
        os.utime(cache.folder / name, ns=(i, i))
    assert cache.get(A) is not None  # used now
    cache.put(D, made)
    assert sorted(p.name for p in cache.folder.iterdir()) == sorted([A, C, D])


def test_an_entry_larger_than_the_bound_is_kept_alone(made: Path, cache: Cache) -> None:
    cache.put(A, made)
    cache.limit = 1
    cache.put(B, made)
    assert sorted(p.name for p in cache.folder.iterdir()) == [B]


def test_what_does_not_belong_there_is_left_alone(made: Path, cache: Cache) -> None:
    cache.folder.mkdir()
    (cache.folder / "README").write_text("mine")
    (cache.folder / "folder").mkdir()
    cache.limit = 1
    cache.put(A, made)
    assert sorted(p.name for p in cache.folder.iterdir()) == sorted(["README", A, "folder"])


def test_a_folder_that_cannot_be_written_is_an_error_that_says_what_to_do(made: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="OPTC_CACHE"):
        Cache(tmp_path / "file" / "cache").put(A, made)


WORKER = """
import sys
from pathlib import Path
from optc.compiler import bundle
from optc.compiler.cache import Cache, key
sys.path.insert(0, sys.argv[1])
import small
folder, me = Path(sys.argv[2]), int(sys.argv[3])
small.write(folder / f"m{me}.optc")
cache = Cache(folder / "cache", limit=3 * bundle.read(folder / f"m{me}.optc").bytes_on_disk)
for i in range(40):
    name = key({"source": str((i * (me + 1)) % 5)})
    cache.put(name, folder / f"m{me}.optc")
    held = cache.get(name)  # another may have evicted it
    assert held is None or held.name == name
"""


def test_compilations_side_by_side_share_one_cache(tmp_path: Path) -> None:
    """Four processes put and get the same five keys where three fit."""
    arguments = [[sys.executable, "-c", WORKER, str(HERE), str(tmp_path), str(i)] for i in range(4)]
    workers = [subprocess.Popen(a, stderr=subprocess.PIPE, text=True) for a in arguments]
    assert [(w.communicate()[1], w.returncode) for w in workers] == [("", 0)] * 4
    left = sorted((tmp_path / "cache").iterdir())
    assert 1 <= len(left) <= 5
    for entry in left:
        bundle.verify(entry)
