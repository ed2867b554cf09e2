"""Decisions are data: what was chosen by measuring is written down, and compiling again with it measures nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from optc.compiler.diagnostics import UserError
from optc.compiler.instrument import Outcome
from optc.compiler.pipeline import Pipeline

FORMAT = "optc decisions 1"


def to_bytes(source: str, pipeline: Pipeline, outcomes: Sequence[Outcome]) -> bytes:
    """Which passes of a pipeline were kept for a source model (by its digest)."""
    rejected = {i for i, o in enumerate(outcomes) if not o.kept}
    kept = [{"pass": str(p), "kept": i not in rejected} for i, p in enumerate(pipeline)]
    return (json.dumps({"format": FORMAT, "source": source, "passes": kept}, indent=1) + "\n").encode()


def apply(path: Path, source: str, pipeline: Pipeline) -> Pipeline:
    """The passes of the pipeline that were kept. Raises UserError where the file was made for another model or pipeline."""
    try:
        held = json.loads(path.read_bytes())
        taken = [(entry["pass"], bool(entry["kept"])) for entry in held["passes"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"not a decisions file: {error}", place=str(path), hint="give a bundle's decisions.json") from error
    if held.get("format") != FORMAT:
        raise UserError(f"decisions of another format: {held.get('format')}", place=str(path), hint="compile once without them")
    if held.get("source") != source:
        raise UserError("the decisions were taken for another model", place=str(path), hint="compile once without them")
    if [name for name, _ in taken] != [str(p) for p in pipeline]:
        raise UserError("the decisions were taken for another pipeline", place=str(path), lines=[",".join(n for n, _ in taken)])
    return Pipeline(tuple(p for p, (_, kept) in zip(pipeline, taken, strict=True) if kept))
