"""Sensitivity: what a lossy pass does to the outputs, and to a metric, when it changes one layer alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from optc.compiler import ir, plain
from optc.compiler.check import Feeds
from optc.compiler.edit import Editor
from optc.compiler.numerics import Array, Difference, worst
from optc.compiler.pipeline import Pass
from optc.compiler.reference import Reference
from optc.compiler.steps import Step

HELD = 1 << 30
"""Bytes that the models may hold which are run side by side, each with one layer changed. A reference holds about four copies
of its weights (measured: 3.6), and activations only while it runs."""
SIDE_BY_SIDE = 16
"""Models that are run side by side at most: each has threads of its own."""

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

    `judge` measures a metric of several results by name, in one stream of the data: one stream for each group of layers, as many
    as HELD and SIDE_BY_SIDE allow. Of the outputs no more than those of one feed are held, beside the unchanged model's.
    """
    expected = Reference(model).run_all(feeds)
    named = {s.node: s.op_type for s in steps(model, p)}
    sizes = {n.name or "": _elements(n) for graph in ir.all_graphs(model.graph) for n in graph}
    names, at_once = list(named), max(1, min(SIDE_BY_SIDE, HELD // max(1, 4 * plain.weight_bytes(model))))

    def measured(group: Sequence[str]) -> list[Layer]:  # a function, so that one group is gone before the next is made
        runs = {node: Reference(_alone(model, p, node, named), lean=True).run for node in group}
        drops = judge(runs) if judge is not None else {}
        errors = {node: _error(expected, feeds, run) for node, run in runs.items()}
        return [Layer(node, named[node], sizes.get(node, 0), errors[node], drops.get(node)) for node in group]

    found = [layer for start in range(0, len(names), at_once) for layer in measured(names[start : start + at_once])]
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


def _error(expected: Sequence[Mapping[str, Array]], feeds: Feeds, run: Run) -> float:
    """Relative L2 of the worst output over all feeds, run one by one; infinite where no number can express it."""
    found = {name: Difference() for name in expected[0]} if expected else {}
    for before, feed in zip(expected, feeds, strict=True):
        after = run(feed)
        for name, difference in found.items():
            difference.add(before[name], after.get(name))
    return worst(d.comparison(name) for name, d in found.items()).l2


def _elements(node: ir.Node) -> int:
    held = [v.const_value for v in node.inputs if v is not None and v.const_value is not None]
    return sum(int(h.size) for h in held)


def layer_of(entry: Sequence[object]) -> Layer:
    """From what `dataclasses.astuple` made of it, through JSON."""
    *fields, drop = entry
    made = Layer(*fields)  # type: ignore[arg-type]
    return replace(made, drop=Drop(*drop)) if isinstance(drop, list | tuple) else made
