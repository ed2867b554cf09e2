"""The cache of whole compilations: bundles under the digest of everything that went into them."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from optc.compiler import atomic, bundle
from optc.compiler.diagnostics import UserError

LIMIT = 4 << 30
"""Bytes kept at most."""
_KEY = re.compile("[0-9a-f]{64}")


def root() -> Path:
    """The folder of all caches."""
    return Path(os.environ.get("OPTC_CACHE") or Path.home() / ".cache" / "optc")


def key(parts: Mapping[str, str]) -> str:
    """The digest of what a compilation depends on: source, recipe, target, machine, versions of tools."""
    return hashlib.sha256(json.dumps(dict(parts), sort_keys=True).encode()).hexdigest()


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Make a folder of the cache and write in it. Raises UserError where that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:  # no folder, no right, no space, or a file system for reading only
        raise UserError(
            f"the cache cannot be written: {error.strerror}", place=str(folder), hint="set OPTC_CACHE to another folder"
        ) from error


class Cache:
    """Bundles by key, in `folder`, or in `bundles` under `$OPTC_CACHE` or `~/.cache/optc`.

    Compilations side by side may share it; an entry is whole or absent. When `limit` bytes are exceeded, the entries go that
    were not used for longest.
    """

    def __init__(self, folder: Path | None = None, limit: int = LIMIT) -> None:
        # A folder of its own, since what lies in it is evicted: $OPTC_CACHE may name a place that holds other things.
        self.folder = folder or root() / "bundles"
        self.limit = limit

    def get(self, key: str) -> Path | None:
        """The bundle of a key, its digests verified; a damaged entry is dropped."""
        entry = self.folder / key
        if not entry.is_dir():
            return None
        try:
            os.utime(entry)  # used now: last to be evicted
            bundle.verify(entry)
        except (UserError, FileNotFoundError):  # damaged, or evicted by another process this moment
            atomic.remove(entry)
            return None
        return entry

    def put(self, key: str, path: Path) -> None:
        """Keep a copy of a bundle. Raises UserError where the cache's folder cannot be written."""
        with writing_to(self.folder):
            atomic.sweep(self.folder)
            if self.get(key) is None:
                bundle.publish(path, self.folder / key)
            self._evict(keep=key)

    def _evict(self, keep: str) -> None:
        entries = sorted(self._entries())
        total = sum(size for _, _, size in entries)
        for used, name, size in entries:
            if total <= self.limit:
                return
            entry = self.folder / name
            if name != keep and _used(entry) == used:  # else another process has just taken it
                atomic.remove(entry)
                total -= size

    def _entries(self) -> Iterator[tuple[int, str, int]]:
        """(last use in nanoseconds, key, bytes) of every entry."""
        for entry in self.folder.iterdir():
            if not _KEY.fullmatch(entry.name):  # being written or removed, or none of ours
                continue
            try:
                yield _used(entry), entry.name, bundle.read(entry).bytes_on_disk
            except UserError:
                atomic.remove(entry)


def _used(entry: Path) -> int:
    """When an entry was last used; -1: it is gone."""
    try:
        return entry.stat().st_mtime_ns
    except FileNotFoundError:
        return -1
