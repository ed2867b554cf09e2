"""Sensitivity: what a lossy pass does to the outputs when it changes one layer alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from optc.compiler import ir
from optc.compiler.check import Feeds
from optc.compiler.edit import Editor, Step
from optc.compiler.numerics import Array, compare
from optc.compiler.pipeline import Pass
from optc.compiler.reference import Reference


@dataclass(frozen=True)
class Layer:
    """A node that a pass changes, and the relative L2 error of the worst output when it changes nothing else."""

    node: str
    op_type: str
    error: float


def steps(model: ir.Model, p: Pass) -> list[Step]:
    """The nodes that a pass would change."""
    edit = Editor(model.clone())
    edit.owner = p.name
    p.run(edit)
    return edit.steps


def sweep(model: ir.Model, p: Pass, feeds: Feeds, expected: Sequence[dict[str, Array]] | None = None) -> list[Layer]:
    """Every layer that a pass changes, the most sensitive first (of equal ones the earlier first).

    `expected` are the model's own outputs on `feeds`, where they are known already.
    """
    expected = Reference(model).run_all(feeds) if expected is None else expected
    found = []
    named = {s.node: s.op_type for s in steps(model, p)}
    for node, op_type in named.items():
        alone = model.clone()
        edit = Editor(alone)
        edit.owner, edit.skip = p.name, frozenset(named) - {node}
        p.run(edit)
        worst = compare(expected, Reference(alone).run_all(feeds))
        found.append(Layer(node, op_type, float("inf") if worst.problem else worst.l2))
    return sorted(found, key=lambda layer: -layer.error)
