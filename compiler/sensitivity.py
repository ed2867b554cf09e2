"""Sensitivity: what a lossy pass does to the outputs, and to a metric, when it changes one layer alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from optc.compiler import ir, plain
from optc.compiler.check import Feeds
from optc.compiler.edit import Editor, Step
from optc.compiler.numerics import Array, compare
from optc.compiler.pipeline import Pass
from optc.compiler.reference import Reference

HELD = 1 << 30
"""Bytes of weights of the models that are run side by side, each with one layer changed; a reference holds about four copies."""

Run = Callable[[Mapping[str, Array]], Mapping[str, Array]]


@dataclass(frozen=True)
class Drop:
    """How much worse a metric is than the source's, with its 95 % interval."""

    metric: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Layer:
    """A node that a pass changes, the elements of its weights, and the relative L2 error of the worst output when the pass
    changes nothing else; where a metric was measured, what it lost."""

    node: str
    op_type: str
    elements: int
    error: float
    drop: Drop | None = None


def steps(model: ir.Model, p: Pass) -> list[Step]:
    """The nodes that a pass would change."""
    edit = Editor(model.clone())
    edit.owner = p.name
    p.run(edit)
    return edit.steps


def sweep(
    model: ir.Model, p: Pass, feeds: Feeds, judge: Callable[[Mapping[str, Run]], Mapping[str, Drop]] | None = None
) -> list[Layer]:
    """Every layer that a pass changes, the most sensitive first: by what the metric lost, then by output error, then in order.

    `judge` measures a metric of several results by name, in one stream of the data; as many are held as HELD allows.
    """
    expected = Reference(model).run_all(feeds)
    named = {s.node: s.op_type for s in steps(model, p)}
    sizes = {n.name or "": _elements(n) for graph in ir.all_graphs(model.graph) for n in graph}
    names, at_once = list(named), max(1, HELD // max(1, 4 * plain.weight_bytes(model)))
    found: list[Layer] = []
    for start in range(0, len(names), at_once):
        runs = {node: Reference(_alone(model, p, node, named)) for node in names[start : start + at_once]}
        drops = judge({node: reference.run for node, reference in runs.items()}) if judge is not None else {}
        for node, reference in runs.items():
            error = _error(expected, reference.run_all(feeds))
            found.append(Layer(node, named[node], sizes.get(node, 0), error, drops.get(node)))
    return sorted(found, key=lambda layer: (-_lost(layer), -layer.error))


def _lost(layer: Layer) -> float:
    """What the metric lost; all of it where it has no value any more."""
    if layer.drop is None:
        return 0.0
    return math.inf if math.isnan(layer.drop.value) else layer.drop.value


def _alone(model: ir.Model, p: Pass, node: str, named: Mapping[str, str]) -> ir.Model:
    """The model in which the pass has changed this node only."""
    alone = model.clone()
    edit = Editor(alone)
    edit.owner, edit.skip = p.name, frozenset(named) - {node}
    p.run(edit)
    return alone


def _error(expected: Sequence[dict[str, Array]], actual: Sequence[dict[str, Array]]) -> float:
    worst = compare(expected, actual)
    return float("inf") if worst.problem else worst.l2


def _elements(node: ir.Node) -> int:
    held = [v.const_value for v in node.inputs if v is not None and v.const_value is not None]
    return sum(int(h.size) for h in held)


def layer_of(entry: Sequence[object]) -> Layer:
    """From what `dataclasses.astuple` made of it, through JSON."""
    *fields, drop = entry
    made = Layer(*fields)  # type: ignore[arg-type]
    return replace(made, drop=Drop(*drop)) if isinstance(drop, list | tuple) else made
