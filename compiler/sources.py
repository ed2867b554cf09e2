"""Digests of what a compilation depends on: model files, data files, and optc's own code."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Iterable
from pathlib import Path

import onnx

from optc.compiler import external, load


def files(model: Path) -> list[Path]:
    """The model and the files of its external data, in order of first use. Raises UserError for bad references."""
    proto = load.read(model)
    external.check(proto, model.parent, str(model))
    found: dict[Path, None] = {model: None}
    for tensor in external.tensors(proto.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            found[model.parent / next(e.value for e in tensor.external_data if e.key == "location")] = None
    return list(found)


def digest(model: Path) -> str:
    """SHA-256 over the model file and its external data."""
    return _sha256(files(model))


def size(model: Path) -> int:
    """Bytes of the model file and its external data."""
    return sum(f.stat().st_size for f in files(model))


def data_digest(data: Path, *more: Path) -> str:
    """SHA-256 over the files of the data and, in a folder, their names; `more` are files that samples are made with."""
    files = sorted(f for f in data.rglob("*") if f.is_file()) if data.is_dir() else [data]
    names = "\n".join(f.relative_to(data).as_posix() for f in files)
    return hashlib.sha256(f"{names}\n{_sha256([*files, *more])}".encode()).hexdigest()


def code_digest(classes: Iterable[type]) -> str:
    """SHA-256 over optc's own files and those of the packages that define the given classes: a changed pass, or what it imports
    from its own package, never meets an old cache entry."""
    root = Path(__file__).resolve().parent.parent
    parts = [root / part for part in ("compiler", "passes", "targets")]
    mine = [f for part in parts for kind in ("*.py", "*.j2") for f in sorted(part.rglob(kind))]
    others = sorted({file for cls in classes for file in _defining(cls)})
    return _sha256([*mine, *others])


def _defining(cls: type) -> list[Path]:
    """The file that defines a class, or all of its package where it is in one that is not ours."""
    file, top = Path(inspect.getfile(cls)), cls.__module__.partition(".")[0]
    package = getattr(sys.modules.get(top), "__file__", None)
    if top == "optc" or package is None or Path(package).name != "__init__.py":
        return [file]
    return sorted(Path(package).parent.rglob("*.py"))


def _sha256(paths: Iterable[Path]) -> str:
    total = hashlib.sha256()
    for path in paths:
        if path.is_file():
            with path.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()
