"""The forms that a record is told in: a page for people, and JUnit XML, SARIF and JSON for machines."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optc.compiler import atomic
from optc.compiler.diagnostics import UserError, nearest

FORMATS = ("html", "junit", "sarif", "json")
_SUFFIXES = {".html": "html", ".xml": "junit", ".sarif": "sarif", ".json": "json"}


def render(document: Mapping[str, Any], form: str) -> str:
    """A measurements document as text. Raises UserError for a form that there is not."""
    from optc.compiler.measure.report import html, junit, sarif

    if form not in FORMATS:
        raise UserError(f"unknown format '{form}'", place="--format", hint=nearest(form, FORMATS))
    if form == "json":
        return json.dumps(_finite(document), indent=2, allow_nan=False) + "\n"
    return {"html": html.render, "junit": junit.junit, "sarif": sarif.sarif}[form](document)


def of_file(path: Path) -> str:
    """The form that a file's name asks for. Raises UserError where it asks for none."""
    if path.suffix not in _SUFFIXES:
        raise UserError("a report of an unknown kind", place=str(path), hint=f"known: {', '.join(_SUFFIXES)} (.xml is JUnit's)")
    return _SUFFIXES[path.suffix]


def write(text: str, path: Path) -> None:
    """The file appears whole or not at all."""
    with atomic.writing(path) as file:
        file.write(text.encode("utf-8", "replace"))


def _finite(value: Any) -> Any:
    """JSON has neither NaN nor infinity (RFC 8259): null."""
    if isinstance(value, Mapping):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
