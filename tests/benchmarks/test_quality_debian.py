"""Data of Debian packages: found where they are, unpacked from a .deb, and refused where they are not the recorded ones."""

from __future__ import annotations

import hashlib
import io
import lzma
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import zoo
from benchmarks.quality.debian import Debian

CONTENT = b"images"
SHA256 = hashlib.sha256(f"deep/a.gz {hashlib.sha256(CONTENT).hexdigest()}".encode()).hexdigest()
DATA = Debian("dataset-none", "usr/share/datasets/none", ".gz", SHA256, "MIT")


def deb(data: bytes, name: str = "data.tar.xz") -> bytes:
    """A package of these data, as deb(5) describes it."""
    members = {"debian-binary": b"2.0\n", "control.tar.xz": b"odd", name: data}
    packed = b"!<arch>\n"
    for member, content in members.items():
        packed += (
            f"{member:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode() + content + b"\n" * (len(content) % 2)
        )
    return packed


def tar(*names: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = len(CONTENT)
            archive.addfile(entry, io.BytesIO(CONTENT))
    return lzma.compress(stream.getvalue())


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("OPTC_ZOO", str(tmp_path / "zoo"))
    (tmp_path / "zoo").mkdir()


def test_a_package_in_the_zoos_folder_is_unpacked_once(tmp_path: Path) -> None:
    root = "./usr/share/datasets/none"
    package = tmp_path / "zoo" / "dataset-none_1.0_all.deb"
    package.write_bytes(deb(tar(f"{root}/deep/a.gz", f"{root}/README", "./usr/share/doc/a.gz")))
    folder = DATA.fetch()
    assert folder == zoo.cache_folder() / "dataset-none"
    assert [p.relative_to(folder).as_posix() for p in DATA.files(folder)] == ["deep/a.gz"]
    package.unlink()
    assert DATA.fetch() == folder


def test_a_folder_in_the_zoos_folder_comes_first(tmp_path: Path) -> None:
    mine = tmp_path / "zoo" / "dataset-none"
    (mine / "deep").mkdir(parents=True)
    (mine / "deep" / "a.gz").write_bytes(CONTENT)
    assert DATA.fetch() == mine


def test_other_files_than_the_recorded_ones_are_refused(tmp_path: Path) -> None:
    (tmp_path / "zoo" / "dataset-none").mkdir()
    (tmp_path / "zoo" / "dataset-none" / "a.gz").write_bytes(b"others")
    with pytest.raises(zoo.ZooError, match=r"is not the recorded dataset-none: sha256 over its \.gz files"):
        DATA.fetch()


def test_a_member_that_leaves_its_folder_is_refused(tmp_path: Path) -> None:
    evil = tar("./usr/share/datasets/none/../../../../../evil.gz")
    (tmp_path / "zoo" / "dataset-none_1.0_all.deb").write_bytes(deb(evil))
    with pytest.raises(tarfile.OutsideDestinationError):
        DATA.fetch()
    assert not list(tmp_path.rglob("evil.gz")) and not (zoo.cache_folder() / "dataset-none").exists()


def test_what_is_no_package_is_said(tmp_path: Path) -> None:
    for content in (b"no archive", deb(b"", "data.tar.zst")):
        (tmp_path / "zoo" / "dataset-none_1.0_all.deb").write_bytes(content)
        with pytest.raises(zoo.ZooError, match=r"dataset-none_1\.0_all\.deb is no Debian package with xz-compressed data"):
            DATA.fetch()


def test_a_machine_without_apt_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(
        zoo.ZooError, match=r"no apt here: install the package, or put its \.deb .* in a folder named in OPTC_ZOO"
    ):
        DATA.fetch()


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="needs apt-get")
def test_a_package_that_apt_does_not_know_is_said() -> None:
    with pytest.raises(zoo.ZooError, match="`apt-get download` failed"):
        replace(DATA, package="dataset-that-does-not-exist").fetch()
