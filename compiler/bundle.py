"""Bundles on disk: written whole or not at all, weights stored once by content and memory-mapped, everything with its digest."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import numpy as np

from optc.compiler import atomic, manifest
from optc.compiler.diagnostics import UserError
from optc.compiler.manifest import File, Manifest, Role, Weight
from optc.compiler.numerics import Array
from optc.compiler.stored import Stored

if TYPE_CHECKING:
    from optc.compiler.target import Artifact

WEIGHTS = "weights"
_DAMAGED = "the bundle is damaged: copy it or compile it again"


def write(
    path: Path, draft: Manifest, artifact: Artifact, *, records: Mapping[str, bytes] | None = None, view: Artifact | None = None
) -> Manifest:
    """Write a bundle; a bundle that is at `path` is replaced in one step. Returns the manifest with files and weights filled in.

    `records` are files for people (`decisions.json`, `lineage.json`); `view` is the same model as the `onnx` target makes it,
    stored beside the program and sharing its weights. Raises UserError where `path` is something else than a bundle.
    """
    path = path.resolve()
    check_destination(path)
    with atomic.replacing(path) as folder:
        files: dict[str, File] = {}
        index: dict[str, Weight] = {}
        for name, array in sorted(artifact.weights.items()):
            file = _put_weight(folder, array, files, "weights")
            kind = "string" if array.dtype.kind == "O" else array.dtype.name
            index[name] = Weight(file, kind, array.shape)
        for name, content in sorted(artifact.files.items()):
            _put(folder, name, content, files, "program")
        for _, array in sorted(view.weights.items()) if view else ():
            _put_weight(folder, array, files, "record")
        for name, content in sorted({**(view.files if view else {}), **(records or {})}.items()):
            _put(folder, name, content, files, "record")
        made = replace(draft, program=artifact.program, notes=artifact.notes, files=files, weights=index)
        (folder / manifest.NAME).write_bytes(made.to_bytes())
        check_destination(path)
    return made


def weight_file(array: Array) -> str:
    """Where a bundle keeps an array, by its content: `weights/<sha256>`."""
    return f"{WEIGHTS}/{hashlib.sha256(_bytes(array)).hexdigest()}"


def check_destination(path: Path) -> None:
    """Raise UserError unless a bundle may be written to `path`: nothing is there, or a bundle."""
    if not path.exists() and not path.is_symlink():
        return
    try:
        found = json.loads((path / manifest.NAME).read_bytes())
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict) or found.get("format") != manifest.FORMAT:
        raise UserError(
            "it exists and is not a bundle: nothing was written", place=str(path), hint="name another output, or remove it"
        )


def read(path: Path) -> Manifest:
    """The manifest of a bundle. Raises UserError for what is no bundle, a newer schema, or a damaged manifest."""
    if not path.exists():
        raise UserError("no such bundle", place=str(path))
    if not path.is_dir():
        hint = f"compile it first: optc compile {path} -o {path.stem}.optc" if path.suffix == ".onnx" else ""
        raise UserError("expected a bundle (a folder), found a file", place=str(path), hint=hint)
    try:
        data = (path / manifest.NAME).read_bytes()
    except FileNotFoundError as error:
        raise UserError("not a bundle: it has no manifest.json", place=str(path)) from error
    return manifest.parse(data, str(path / manifest.NAME))


def check_program(path: Path, found: Manifest) -> None:
    """Raise UserError unless every file that is needed to run has its size, and the program's files have their digests."""
    needed = {name: file for name, file in found.files.items() if file.role != "record"}
    _raise(path, [p for name, file in needed.items() if (p := _problem(path, name, file, file.role == "program"))])


def verify(path: Path) -> Manifest:
    """Check every file against its size and digest, weights and records too. Raises UserError with all that is wrong."""
    found = read(path)
    _raise(path, [p for name, file in found.files.items() if (p := _problem(path, name, file, digest=True))])
    return found


def publish(source: Path, path: Path) -> Manifest:
    """Copy a bundle to where it is wanted, with the promises of `write`; the copy is verified before it appears."""
    path = path.resolve()
    check_destination(path)
    with atomic.replacing(path) as folder:
        for name in (manifest.NAME, *read(source).files):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(source / name, target)
            except FileNotFoundError as error:
                raise UserError(f"'{name}' is missing", place=str(source), hint=_DAMAGED) from error
        found = verify(folder)
        check_destination(path)
    return found


class Weights(Stored):
    """The weights of a bundle: read-only arrays, memory-mapped when they are asked for, a file once while anybody uses it."""

    def __init__(self, path: Path, found: Manifest) -> None:
        self._path, self._index = path, found.weights
        self._mapped: WeakValueDictionary[str, mmap.mmap] = WeakValueDictionary()
        self._made: WeakValueDictionary[tuple[str, tuple[Weight, ...]], Array] = WeakValueDictionary()

    def __getitem__(self, name: str) -> Array:
        weight = self._index[name]
        kind = manifest.dtype(weight.dtype)
        if kind.itemsize * int(np.prod(weight.shape)) == 0:
            return np.empty(weight.shape, kind)
        return np.frombuffer(self._file(weight.file), kind).reshape(weight.shape)

    def once(self, form: str, names: Sequence[str], make: Callable[[], Array]) -> Array:
        key = form, tuple(self._index[name] for name in names)
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = make()
        return made

    def _file(self, name: str) -> mmap.mmap:
        mapped = self._mapped.get(name)
        if mapped is None:
            handle = os.open(self._path / name, os.O_RDONLY)
            try:
                mapped = mmap.mmap(handle, 0, access=mmap.ACCESS_READ)  # starts at a page: aligned for any vector load
            finally:
                os.close(handle)
            self._mapped[name] = mapped
        return mapped

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self._index)


def _bytes(array: Array) -> memoryview:
    """Row-major, little-endian."""
    if array.dtype.kind == "O":
        raise ValueError("strings cannot be stored as weights")
    whole = np.ascontiguousarray(array, array.dtype.newbyteorder("<") if array.dtype.byteorder == ">" else None)
    return whole.reshape(-1).view(np.uint8).data


def _put_weight(folder: Path, array: Array, files: dict[str, File], role: Role) -> str:
    name = weight_file(array)
    if name not in files:
        _put(folder, name, _bytes(array), files, role, digest=name.removeprefix(f"{WEIGHTS}/"))
    return name


def _put(folder: Path, name: str, content: bytes | memoryview, files: dict[str, File], role: Role, digest: str = "") -> None:
    manifest.check_name(name)
    if name in files:
        raise ValueError(f"two files of the bundle are named '{name}'")
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    files[name] = File(len(content), digest or hashlib.sha256(content).hexdigest(), role)


def _problem(path: Path, name: str, file: File, digest: bool) -> str:
    """What is wrong with a file of a bundle; nothing: ''."""
    try:
        with (path / name).open("rb") as handle:
            size = os.fstat(handle.fileno()).st_size
            if size != file.size:
                return f"'{name}' has {size} bytes instead of {file.size}"
            if digest and hashlib.file_digest(handle, "sha256").hexdigest() != file.sha256:
                return f"'{name}' has another content: its SHA-256 does not fit"
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return f"'{name}' is missing"
    return ""


def _raise(path: Path, problems: list[str]) -> None:
    if problems:
        more = [f"and {len(problems) - 6} more"] if len(problems) > 6 else []
        raise UserError(problems[0], place=str(path), lines=problems[1:6] + more, hint=_DAMAGED)
