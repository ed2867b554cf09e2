"""Files of a folder as samples, with their labels and slices: by class folders, or by a table labels.csv."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from optc.compiler.diagnostics import UserError, nearest
from optc.compiler.measure.data.source import Source
from optc.compiler.numerics import Array

LABELS = "labels.csv"


@dataclass(frozen=True)
class Labelled:
    """Files in the order of their names (or of labels.csv); int64 labels and str slices of each, where there are any."""

    files: list[Path]
    labels: Array | None
    slices: Array | None


def find(source: Source, suffixes: tuple[str, ...], what: str) -> Labelled:
    """The files below the folder `source.path` that end in one of `suffixes`; `what` they are called. Raises UserError."""
    names: list[str]  # of the classes
    listed = source.path / LABELS
    if listed.is_file():
        files, names = _listed(listed, source.labels or "label")
        slices = _listed(listed, source.slice)[1] if source.slice else []
    else:
        files = sorted(p for p in source.path.rglob("*") if p.suffix.lower() in suffixes)
        slices = names = [p.relative_to(source.path).parts[0] for p in files if p.parent != source.path]
        if source.slice and (source.slice != "class" or not names):
            hint = "`class`, where each has a folder; or a column of labels.csv"
            raise UserError(f"{what} have no slices '{source.slice}'", place=str(source.path), hint=hint)
    if names and len(names) != len(files):
        raise UserError(f"some {what} lie in class folders, some beside them", place=str(source.path))
    return Labelled(files, _numbers(names) if names else None, np.array(slices, str) if source.slice else None)


def suffixes(folder: Path) -> set[str]:
    """How the names of a folder's files, or of those that its table lists, end."""
    listed = folder / LABELS
    files = [Path(row.get("file") or "") for row in _table(listed)] if listed.is_file() else folder.rglob("*")
    return {f.suffix.lower() for f in files}


def _table(file: Path) -> list[dict[str, str]]:
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            return list(csv.DictReader(stream))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"not a table: {error}", place=str(file)) from error


def _listed(file: Path, column: str) -> tuple[list[Path], list[str]]:
    """The rows of labels.csv: a column `file`, and one of labels."""
    rows = _table(file)
    for name in ("file", column):
        if not rows or rows[0].get(name) is None:
            raise UserError(f"no column '{name}'", place=str(file), hint=nearest(name, rows[0] if rows else ()))
    files = [file.parent / row["file"] for row in rows]
    missing = next((f for f in files if not f.is_file()), None)
    if missing is not None:
        raise UserError(f"lists '{missing.name}', which is not there", place=str(file))
    return files, [row[column] or "" for row in rows]


def _numbers(names: list[str]) -> Array:
    """Labels as numbers: as they are where all are numbers, else their place among the sorted names."""
    if all(n.lstrip("-").isdecimal() for n in names):
        return np.array(names, np.int64)
    return np.unique(np.array(names), return_inverse=True)[1].astype(np.int64)
