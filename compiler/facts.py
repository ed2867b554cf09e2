"""Small facts that were measured once, numbers under digests: one file each, shared by compilations side by side."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from optc.compiler import atomic, cache

LIMIT = 20_000
"""Facts kept at most; those go first that were not asked for for longest."""


class Facts:
    """Numbers by key, in `folder`, or in `facts` under `$OPTC_CACHE` or `~/.cache/optc`. A fact is whole or absent."""

    def __init__(self, folder: Path | None = None, limit: int = LIMIT) -> None:
        self.folder = folder or cache.root() / "facts"
        self.limit = limit

    def get(self, key: str) -> int | None:
        """The number of a key; None where it is not known, or its file is damaged."""
        file = self.folder / key
        try:
            found = int(file.read_text())
            os.utime(file)  # used now: last to be evicted
        except (FileNotFoundError, ValueError):
            return None
        return found

    def put(self, key: str, number: int) -> None:
        """Keep a number. Raises UserError where the folder cannot be written."""
        with cache.writing_to(self.folder):
            with atomic.writing(self.folder / key) as file:
                file.write(str(number).encode())
            self._evict(keep=key)

    def _evict(self, keep: str) -> None:
        aged = list[tuple[int, str]]()
        for file in self.folder.iterdir():
            if not file.name.startswith(".") and file.name != keep:
                with suppress(FileNotFoundError):  # another process was faster
                    aged.append((file.stat().st_mtime_ns, file.name))
        for _, name in sorted(aged)[: max(0, len(aged) + 1 - self.limit)]:
            (self.folder / name).unlink(missing_ok=True)
