"""Data that Debian packages carry: found on this machine, or unpacked from the package, which apt fetches where there is one."""

from __future__ import annotations

import hashlib
import io
import lzma
import os
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks import zoo
from optc.compiler import atomic

_MAGIC, _HEADER = b"!<arch>\n", 60


@dataclass(frozen=True)
class Debian:
    """The files under `root` of a package that end with `suffix`. `sha256` is the digest of their names and contents."""

    package: str
    root: str  # in the package, as "usr/share/datasets/fashion-mnist"
    suffix: str
    sha256: str
    licence: str

    def fetch(self) -> Path:
        """The folder that holds the files: $OPTC_ZOO/PACKAGE, the cache, where the package is installed, or out of a .deb in
        $OPTC_ZOO or from apt. Raises ZooError, which says how to get it, and for files that are not the recorded ones."""
        given = [Path(os.environ["OPTC_ZOO"])] if os.environ.get("OPTC_ZOO") else []
        places = [*(folder / self.package for folder in (*given, zoo.cache_folder())), Path("/") / self.root]
        found = next((place for place in places if place.is_dir()), None) or self._unpack(given)
        if (digest := self._digest(found)) != self.sha256:
            recorded = f"sha256 over its {self.suffix} files is {digest}, not {self.sha256}"
            raise zoo.ZooError(f"{found} is not the recorded {self.package}: {recorded}; remove it to fetch it again")
        return found

    def files(self, folder: Path) -> list[Path]:
        """The files in the order of their names."""
        return sorted(folder.rglob(f"*{self.suffix}"))

    def _digest(self, folder: Path) -> str:
        parts = [f"{p.relative_to(folder).as_posix()} {hashlib.sha256(p.read_bytes()).hexdigest()}" for p in self.files(folder)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def _unpack(self, given: list[Path]) -> Path:
        folder = zoo.cache_folder() / self.package
        with tempfile.TemporaryDirectory() as scratch:
            packed = next((deb for place in given for deb in sorted(place.glob(f"{self.package}_*.deb"))), None)
            archive = packed or self._download(Path(scratch))
            with atomic.replacing(folder) as whole, tarfile.open(fileobj=io.BytesIO(_data(archive))) as tar:
                for member in tar:
                    inside = member.name.removeprefix("./").removeprefix(f"{self.root}/")
                    if member.isfile() and inside != member.name.removeprefix("./") and inside.endswith(self.suffix):
                        member.name = inside
                        tar.extract(member, whole, filter="data")
        return folder

    def _download(self, folder: Path) -> Path:
        by_hand = f"install the package, or put its .deb (packages.debian.org/{self.package}) in a folder named in OPTC_ZOO"
        if shutil.which("apt-get") is None:
            raise zoo.ZooError(f"data {self.package} is missing, and there is no apt here: {by_hand}")
        done = subprocess.run(["apt-get", "download", self.package], cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            words = done.stderr.strip()
            raise zoo.ZooError(f"data {self.package}: `apt-get download` failed:\n{words}\nrun apt-get update first, {by_hand}")
        return next(folder.glob("*.deb"))


def _data(archive: Path) -> bytes:
    """The tar of a .deb's files. A .deb is an ar archive of debian-binary, control.tar.* and data.tar.* (deb(5), ar(5))."""
    content = archive.read_bytes()
    at = len(_MAGIC)
    while content.startswith(_MAGIC) and at < len(content):
        header = content[at : at + _HEADER]
        name, size = header[:16].decode().strip().rstrip("/"), int(header[48:58])
        at += _HEADER
        if name == "data.tar.xz":
            return lzma.decompress(content[at : at + size])
        at += size + size % 2
    raise zoo.ZooError(f"{archive} is no Debian package with xz-compressed data; unpack it by hand: dpkg -x")
