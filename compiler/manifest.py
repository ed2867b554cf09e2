"""The manifest of a bundle: what is in it, where it came from, and which loaders may read it.

Read without pydantic, which would cost every process that loads a bundle 75 ms and 13 MB.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from functools import cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from optc.compiler.diagnostics import UserError

if TYPE_CHECKING:
    from optc.compiler import ir

NAME = "manifest.json"
FORMAT = "optc bundle"
SCHEMA_VERSION = "1.0"
COMPATIBILITY = "a reader takes every minor version of the major versions it knows, and ignores keys it does not know"

Role = Literal["program", "weights", "record"]


@dataclass(frozen=True)
class ValueInfo:
    """An input or output. `dtype` is numpy's name, or `string`; dimensions are sizes or names, `?` where nothing is known.

    What is no tensor has a dtype such as `sequence(float32)` or `optional(sequence(int64))`, and no shape.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    @staticmethod
    def of(value: ir.Value) -> ValueInfo:
        """Raises UserError for what is no tensor of known rank (a sequence, an optional)."""
        name = value.name or ""
        if value.dtype is None or value.shape is None or (value.type is not None and type(value.type).__name__ != "TensorType"):
            raise UserError(
                f"'{name}' is no tensor of known type and rank",
                hint="a bundle's inputs and outputs are tensors; declare the shape in the model where it cannot be inferred",
            )
        dtype = value.dtype.numpy()
        shape = tuple(d if isinstance(d, int) else d.value or "?" for d in value.shape)
        return ValueInfo(name, "string" if dtype.kind == "O" else dtype.name, shape)

    @staticmethod
    def of_any(value: ir.Value) -> ValueInfo:
        """Also of sequences and optionals: lists of arrays, and None."""
        kind, names = value.type, list[str]()
        while kind is not None and type(kind).__name__ in ("SequenceType", "OptionalType"):
            names.append(type(kind).__name__.removesuffix("Type").lower())
            kind = kind.elem_type  # type: ignore[assignment]
        if not names or kind is None:
            return ValueInfo.of(value)
        element = kind.dtype.numpy()
        inner = "string" if element.kind == "O" else element.name
        return ValueInfo(value.name or "", "(".join([*names, inner]) + ")" * len(names), ())

    @property
    def is_tensor(self) -> bool:
        return "(" not in self.dtype

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class File:
    """What a file weighs. Roles: `program` and `weights` are needed to run; a `record` is for people and may be left out."""

    size: int
    sha256: str
    role: Role


@dataclass(frozen=True)
class Weight:
    """Where the bytes of a weight are: little-endian, row-major."""

    file: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Manifest:
    """`source_digest` is that of the model that was compiled, `pipeline` and `target` the texts with which it was.

    `program` belongs to the target's engine; `contracts` holds what was promised and what was measured; `nodes` counts
    before and after; `tools` names versions. `write` fills in program, notes, files and weights.
    """

    source_digest: str
    pipeline: str
    target: str
    inputs: tuple[ValueInfo, ...]
    outputs: tuple[ValueInfo, ...]
    contracts: Mapping[str, Any] = field(default_factory=dict)
    nodes: Mapping[str, int] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    program: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, File] = field(default_factory=dict)
    weights: Mapping[str, Weight] = field(default_factory=dict)
    schema_version: str = SCHEMA_VERSION

    @property
    def target_name(self) -> str:
        return self.target.partition("{")[0]

    @property
    def bytes_needed(self) -> int:
        """What is needed to run weighs this much, the manifest apart."""
        return sum(f.size for f in self.files.values() if f.role != "record")

    @property
    def bytes_on_disk(self) -> int:
        """The same with records."""
        return sum(f.size for f in self.files.values())

    def sizes(self) -> dict[str, int]:
        """Bytes of each file, the largest first; all weights as one."""
        single = {name: f.size for name, f in self.files.items() if f.role != "weights"}
        weights = [f.size for f in self.files.values() if f.role == "weights"]
        found = {**single, **({f"{len(weights)} weights": sum(weights)} if weights else {})}
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    def document(self) -> dict[str, Any]:
        """The manifest as it stands in the file."""
        content = {"format": FORMAT, "compatibility": COMPATIBILITY, **asdict(self)}
        content = json.loads(json.dumps(content, allow_nan=False))  # tuples become lists
        return {**content, "digest": _digest(content)}

    def to_bytes(self) -> bytes:
        """JSON, the same bytes for the same manifest."""
        return (json.dumps(self.document(), indent=1, sort_keys=True) + "\n").encode()


def parse(data: bytes, place: str) -> Manifest:
    """The manifest in the bytes of a file. Raises UserError for another format, a schema that is not known, and damage."""
    damaged = "the bundle is damaged: copy it or compile it again"
    try:
        content = json.loads(data)
    except ValueError as error:  # a UnicodeDecodeError is one too
        raise UserError(f"the manifest is no JSON: {error}", place=place, hint=damaged) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError("not the manifest of an optc bundle", place=place)
    version = str(content.get("schema_version", ""))
    known = SCHEMA_VERSION.partition(".")[0]
    major = version.partition(".")[0]
    if major != known:
        newer = major.isdigit() and int(major) > int(known)
        hint = "upgrade optc: pip install --upgrade optc" if newer else "compile the model again with this optc"
        raise UserError(f"the bundle has schema version '{version}', this optc reads {known}.x", place=place, hint=hint)
    if content.pop("digest", "") != _digest(content):
        raise UserError("the manifest was changed: its digest does not fit", place=place, hint=damaged)
    try:
        manifest: Manifest = _read(Manifest, content, "")
        _check(manifest)
    except ValueError as error:
        raise UserError(f"the manifest is not as it should be: {error}", place=place, hint=damaged) from error
    return manifest


def dtype(name: str) -> np.dtype[Any]:
    """The numpy dtype of a name in a manifest; ValueError for an unknown one. `string` is held as Python objects."""
    if name == "string":
        return np.dtype(object)
    try:
        found: np.dtype[Any] = np.dtype(name)
    except TypeError:
        import ml_dtypes  # only models that have such types pay for it

        if not hasattr(ml_dtypes, name):
            raise ValueError(f"unknown dtype '{name}'") from None
        found = np.dtype(getattr(ml_dtypes, name))
    return found


def check_name(name: str) -> None:
    """Raise ValueError unless a file of this name lies in the bundle and is not the manifest."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or name == NAME:
        raise ValueError(f"a bundle cannot have a file '{name}'")


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _check(manifest: Manifest) -> None:
    for name in manifest.files:
        check_name(name)
    for name, weight in manifest.weights.items():
        if weight.file not in manifest.files:
            raise ValueError(f"the file of weight '{name}' is not listed")
        if manifest.files[weight.file].size != dtype(weight.dtype).itemsize * int(np.prod(weight.shape)):
            raise ValueError(f"the file of weight '{name}' has another size than its shape")
    for value in (*manifest.inputs, *manifest.outputs):
        dtype(value.dtype.rpartition("(")[2].rstrip(")"))


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _read(hint: Any, value: Any, place: str) -> Any:
    """A JSON value as the type of a hint; ValueError says where it is of another. Unknown keys of objects are ignored."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin is Literal and value in arguments:
        return value
    if origin is tuple and isinstance(value, list):
        return tuple(_read(arguments[0], v, f"{place}[{i}]") for i, v in enumerate(value))
    if origin is Mapping and isinstance(value, dict):
        return {k: _read(arguments[1], v, f"{place}.{k}") for k, v in value.items()}
    if isinstance(hint, type) and is_dataclass(hint) and isinstance(value, dict):
        given = {n: _read(kind, value[n], f"{place}.{n}".lstrip(".")) for n, kind in _hints(hint).items() if n in value}
        missing = [f.name for f in fields(hint) if f.name not in given and f.default is f.default_factory is MISSING]
        if missing:
            raise ValueError(f"{place or 'it'} has no '{missing[0]}'")
        return hint(**given)
    if type(value) in (arguments if origin in (Union, type(int | str)) else (hint,)):
        return value
    raise ValueError(f"{place} is {str(value)[:40]!r}, expected {hint}")
