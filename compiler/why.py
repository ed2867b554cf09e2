"""Answers for people who ask why: what passes did and nearly did, and what became of a model's nodes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from optc.compiler import bundle, ir, lineage, load, recreate, runner, sources
from optc.compiler import explain as explaining
from optc.compiler.diagnostics import UserError
from optc.compiler.interface import Shapes
from optc.compiler.pipeline import Pipeline
from optc.compiler.recipe import DEFAULT_PASSES


@dataclass(frozen=True)
class Explanation:
    """What passes did, where they nearly did more, and the operators with which what was asked for ends, if no node is of one.

    `about` is the pass that was asked about, '' for all.
    """

    fired: list[explaining.Fired]
    groups: list[explaining.Group]
    absent: list[str]
    about: str = ""


def explain(
    model: str | Path,
    passes: str = DEFAULT_PASSES,
    shapes: Shapes | None = None,
    pattern: str | None = None,
    node: str | None = None,
    every: bool = False,
) -> Explanation:
    """What passes do to a model, and why not more; see `explaining.Question` for what can be asked. Raises UserError."""
    asked = explaining.Question.of(Pipeline.parse(passes), pattern, node, every)
    asking = explaining.Asking(asked)
    options = runner.Options(check="off", instruments=(asking,))
    result = load.load(model, shapes)
    report = runner.run(asked.pipeline, result, options)
    fired = explaining.fired(report.outcomes, report.steps)
    left = {
        n.name for graph in ir.all_graphs(result.graph) for n in graph
    }  # without a question, what later passes solved is no news
    found = explaining.groups(m for m in asking.misses if pattern or every or m.node in left)
    near = [g for g in found if g.near or every]
    return Explanation(
        fired,
        near or (found if pattern else []),
        list(asking.ends) if pattern and not any(asking.ends.values()) else [],
        asked.owner,
    )


def lineage_between(
    before: Path, after: Path | None = None, passes: str | None = None, shapes: Shapes | None = None
) -> lineage.Lineage:
    """What became of a model's nodes: in `after`, an ONNX file or a bundle of it, or by passes. `before` may be a bundle itself.

    Raises UserError where the bundle is not of this model.
    """
    if after is None and (before / "manifest.json").is_file():
        return lineage.read(before / "lineage.json")
    if after is not None and (after / "manifest.json").is_file():
        if bundle.read(after).source_digest != sources.digest(before):
            raise UserError(f"the bundle was not made of {before}", place=str(after))
        return lineage.read(after / "lineage.json")
    if after is not None:
        return lineage.of(lineage.Source.of(load.load(before, shapes)), load.load(after))
    model = load.load(before, shapes)
    source = lineage.Source.of(model)
    report = _passes(model, passes)
    return lineage.of(source, model, report.removals)


def both(
    before: Path, after: Path | None = None, passes: str | None = None, shapes: Shapes | None = None
) -> tuple[ir.Model, ir.Model]:
    """A model and what became of it, as in `lineage_between`."""
    if after is not None and (after / "manifest.json").is_file():
        made = recreate.recreate(before, after)
        return made.source, made.lowered
    old, new = load.load(before, shapes), load.load(after) if after is not None else load.load(before, shapes)
    if after is None:
        _passes(new, passes)
    return old, new


def _passes(model: ir.Model, passes: str | None) -> runner.Report:
    return runner.run(Pipeline.parse(DEFAULT_PASSES if passes is None else passes), model, runner.Options(check="off"))
