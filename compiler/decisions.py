"""Decisions are data: what was chosen by measuring is written down, and compiling again with it measures nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from optc.compiler import options
from optc.compiler.diagnostics import UserError
from optc.compiler.instrument import Outcome
from optc.compiler.pipeline import Pass, Pipeline

FORMAT = "optc decisions 6"


@dataclass(frozen=True)
class Decisions:
    """What was decided of each pass, the measurements it was decided on, and what the target chose by measuring."""

    taken: list[Mapping[str, Any]]
    evidence: Mapping[str, Any]
    choices: Mapping[str, int] = field(default_factory=dict)


def to_bytes(
    source: str, outcomes: Sequence[Outcome], evidence: Mapping[str, Any], choices: Mapping[str, int] | None = None
) -> bytes:
    """What was decided of each pass of a pipeline for a source model (by its digest), what was measured; the target's choices."""
    passes = [
        {
            "pass": o.text,
            "kept": o.kept,
            "reason": o.reason,
            "error": o.error,
            "nodes": o.nodes_after,
            "skipped": o.skipped,
            "measured": o.measured,
        }
        for o in outcomes
    ]
    chosen = dict(sorted((choices or {}).items()))
    document = {"format": FORMAT, "source": source, "passes": passes, "choices": chosen, "evidence": evidence}
    return (json.dumps(document, indent=1) + "\n").encode()


def read(path: Path, source: str, pipeline: Pipeline, partial: bool = False) -> Decisions:
    """What a decisions file says; where it is `partial`, of the first passes at least.

    Raises UserError where the file was made for another model or pipeline.
    """
    try:
        held = json.loads(path.read_bytes())
        if held.get("format") != FORMAT:
            raise UserError(
                f"decisions of another format: {held.get('format')}", place=str(path), hint="compile once without them"
            )
        taken: list[Mapping[str, Any]] = [
            {k: entry[k] for k in ("pass", "kept", "reason", "error", "nodes", "skipped", "measured")} for entry in held["passes"]
        ]
        evidence: Mapping[str, Any] = dict(held["evidence"])
        choices = {str(site): int(number) for site, number in held["choices"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"not a decisions file: {error}", place=str(path), hint="give a bundle's decisions.json") from error
    if held.get("source") != source:
        raise UserError("the decisions were taken for another model", place=str(path), hint="compile once without them")
    wanted = pipeline.passes[: len(taken)] if partial else pipeline.passes
    if len(taken) != len(wanted) or not all(_same(d["pass"], p) for d, p in zip(taken, wanted, strict=True)):
        raise UserError(
            "the decisions were taken for another pipeline", place=str(path), lines=[",".join(d["pass"] for d in taken)]
        )
    return Decisions(taken, evidence, choices)


def _same(text: str, p: Pass) -> bool:
    """Whether a text means this pass: options with their defaults may be spelled out or not."""
    if text == str(p):
        return True
    item = options.single(text, "pass")
    values = {name: value for name, (value, _) in item.options.items()}
    return item.name == p.name and options.construct(type(p), values, place=f"pass '{text}'") == p


def kept(taken: Sequence[Mapping[str, Any]], pipeline: Pipeline) -> Pipeline:
    """The passes of the pipeline that were kept."""
    return Pipeline(tuple(p for p, d in zip(pipeline, taken, strict=True) if d["kept"]))


def skips(taken: Sequence[Mapping[str, Any]]) -> list[frozenset[str]]:
    """The nodes that each pass that was kept left alone."""
    return [frozenset(d["skipped"]) for d in taken if d["kept"]]


def outcomes(taken: Sequence[Mapping[str, Any]], pipeline: Pipeline, ran: Sequence[Outcome]) -> list[Outcome]:
    """The outcomes of the whole pipeline: of what was kept as it ran again, with what was measured then, and the rejections."""
    rest = iter(ran)
    return [
        replace(next(rest), error=d["error"], reason=d["reason"], measured=d["measured"]) if d["kept"] else _rejected(p, d)
        for p, d in zip(pipeline, taken, strict=True)
    ]


def _rejected(p: Pass, d: Mapping[str, Any]) -> Outcome:
    """The outcome of a pass that was not kept; `skipped` are the layers that it had been tried without."""
    nodes, skipped = d["nodes"], tuple(d["skipped"])
    return Outcome(p.name, str(p), 0, nodes, nodes, 0.0, False, d["reason"], d["error"], skipped, d["measured"])
