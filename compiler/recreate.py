"""The models behind a bundle: its source, and the optimized model that its target built, made again from what it records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from optc.compiler import bundle, decisions, ir, lineage, load, runner, sources
from optc.compiler.deciding import optimize
from optc.compiler.diagnostics import UserError
from optc.compiler.manifest import Manifest, ValueInfo
from optc.compiler.pipeline import Pipeline
from optc.compiler.target import Target


@dataclass(frozen=True)
class Recreated:
    """The source in the bundle's shapes, and `lowered`: after the bundle's passes and those of its target."""

    source: ir.Model
    lowered: ir.Model
    target: Target
    manifest: Manifest


def recreate(model: Path, path: Path) -> Recreated:
    """Replay the decisions of the bundle at `path` on its source model; nothing is measured.

    Raises UserError where the bundle is damaged, `model` is not its source, or what comes out is not the bundle's graph.
    """
    found = bundle.verify(path)
    records = {name: path / name for name in ("decisions.json", "lineage.json")}
    missing = [name for name in records if name not in found.files]
    if missing:
        raise UserError(f"the bundle has no {missing[0]}, so its graph cannot be made again", place=str(path))
    mine, target = Pipeline.parse(found.pipeline), Target.parse(found.target)
    wanted = Pipeline.parse(target.pipeline())
    held = decisions.read(records["decisions.json"], sources.digest(model), mine + wanted)
    taken, target = held.taken, target.having(held.choices)
    source = _load(model, found)
    lowered = source.clone()
    for pipeline, part in ((mine, taken[: len(mine)]), (wanted, taken[len(mine) :])):
        optimize(pipeline, part, lowered, runner.Options())
    _same_graph(lineage.of(lineage.Source.of(source), lowered).nodes, lineage.read(records["lineage.json"]).nodes, path)
    return Recreated(source, lowered, target, found)


def _load(model: Path, found: Manifest) -> ir.Model:
    """The source, its inputs in the shapes that were asked for when the bundle was made."""
    source = load.load(model)
    own = {v.name: ValueInfo.of(v).shape for v in source.graph.inputs}
    shapes = {i.name: i.shape for i in found.inputs if own.get(i.name) != i.shape}
    return load.load(model, shapes) if shapes else source


def _same_graph(made: Mapping[str, lineage.Made], held: Mapping[str, lineage.Made], path: Path) -> None:
    for name in (*held, *(n for n in made if n not in held)):
        if made.get(name) != held.get(name):
            raise UserError(
                f"what the bundle records does not make its graph again: node '{name}' is "
                f"{made.get(name, 'missing')}, in the bundle {held.get(name, 'missing')}",
                place=str(path / "lineage.json"),
                hint="it was compiled by another version of optc or of its passes, or with --bisect-limit: compile it again",
            )
