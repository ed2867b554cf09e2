"""Files and folders that appear whole or not at all: written beside their place, flushed to disk, then renamed into it."""

from __future__ import annotations

import ctypes
import errno
import glob
import os
import platform
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from optc.compiler.diagnostics import UserError

_AT_FDCWD, _RENAME_EXCHANGE, _RENAME_SWAP = -100, 2, 2  # Linux' renameat2, macOS' renamex_np


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """An empty folder beside `path`, to be filled; it takes the place of `path` when the block ends, and vanishes when it raises.

    A folder that is at `path` is exchanged with the new one in one step, so at any moment, also after a kill, the old one
    or the new one is there, whole. What killed writers left beside it is removed by the next writer.
    """
    _make_parent(path)
    folder = _hidden(path)
    folder.mkdir()
    try:
        yield folder
        _flush(folder)
        _publish(folder, path)
        _flush_entry(path.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # half a bundle, or the old one; nothing is here after a plain rename


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` when the block ends, and vanishes when it raises."""
    _make_parent(path)
    hidden = _hidden(path)
    try:
        with hidden.open("wb") as file:
            yield file
        _flush_entry(hidden)
        hidden.replace(path)
        _flush_entry(path.parent)
    finally:
        hidden.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Raise UserError where `writing` could not write a file at `path`; nothing is made."""
    folder = next(p for p in path.absolute().parents if p.exists())
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise UserError("it cannot be written", place=str(path), hint="name a file in a folder that may be written")


def _make_parent(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"its folder cannot be made: {error.strerror}", place=str(path)) from error
    sweep(path.parent, path.name)


def _publish(folder: Path, path: Path) -> None:
    while True:
        try:
            folder.rename(path)  # where nothing is, or an empty folder
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        with suppress(FileNotFoundError):  # the old one was removed meanwhile: rename after all
            _exchange(folder, path)
            return


def _exchange(folder: Path, path: Path) -> None:
    """Swap two folders in one step."""
    libc = ctypes.CDLL(None, use_errno=True)
    a, b = os.fsencode(folder), os.fsencode(path)
    if sys.platform == "darwin":
        failed = libc.renamex_np(a, b, _RENAME_SWAP)
    else:
        failed = libc.renameat2(_AT_FDCWD, a, _AT_FDCWD, b, _RENAME_EXCHANGE)
    if not failed:
        return
    number = ctypes.get_errno()
    if number not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        raise OSError(number, os.strerror(number), str(folder), None, str(path))
    aside = folder.with_suffix(".old")  # a file system without exchange: for a moment the old folder has only this name
    path.rename(aside)
    folder.rename(path)
    shutil.rmtree(aside)


def remove(path: Path) -> None:
    """Remove a folder, hidden first, so that nobody meets half of it. Nothing happens where there is none."""
    hidden = _hidden(path)
    with suppress(FileNotFoundError):  # another process removed it
        path.rename(hidden)
        shutil.rmtree(hidden)


def sweep(parent: Path, name: str | None = None) -> None:
    """Remove what processes on this machine left beside `name` (all in `parent`) when they were killed."""
    for left in parent.glob(f".{glob.escape(name) if name else '*'}.{glob.escape(platform.node())}.*.partial"):
        pid = left.name.split(".")[-3]
        if pid.isdigit() and not _alive(int(pid)):  # another writer may be removing it too
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)


def _hidden(path: Path) -> Path:
    return path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}.{secrets.token_hex(4)}.partial")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _flush(folder: Path) -> None:
    """Every file and folder on disk before the rename is: after a crash of the machine, too, nothing is half there."""
    for root, _, files in os.walk(folder):
        for name in files:
            _flush_entry(Path(root, name))
        _flush_entry(Path(root))


def _flush_entry(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
