"""Facts that were measured once: whole or absent, and no more than a number of them."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from optc.compiler.diagnostics import UserError
from optc.compiler.facts import Facts


def test_a_fact_is_known_once_it_was_put(tmp_path: Path) -> None:
    assert Facts(tmp_path / "f").get("a") is None
    Facts(tmp_path / "f").put("a", 3)
    assert Facts(tmp_path / "f").get("a") == 3


def test_a_damaged_file_is_no_fact(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("3 or so")
    assert Facts(tmp_path).get("a") is None
    Facts(tmp_path).put("a", 4)
    assert Facts(tmp_path).get("a") == 4


def test_those_go_that_were_not_asked_for_for_longest(tmp_path: Path) -> None:
    facts = Facts(tmp_path, limit=3)
    for age, name in enumerate("abc"):
        facts.put(name, age)
        os.utime(tmp_path / name, (age, age))
    assert facts.get("a") == 0  # used now
    facts.put("d", 3)
    assert [facts.get(name) for name in "abcd"] == [0, None, 2, 3]


def test_many_writers_at_once(tmp_path: Path) -> None:
    facts = Facts(tmp_path, limit=8)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: facts.put(str(i % 16), i % 16), range(200)))
    found = [facts.get(str(i)) for i in range(16)]
    assert all(value in (None, i) for i, value in enumerate(found)) and 1 <= 16 - found.count(None) <= 16
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".")]


def test_a_folder_that_cannot_be_written_is_the_users_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cache cannot be written"):
        Facts(tmp_path / "file").put("a", 1)
