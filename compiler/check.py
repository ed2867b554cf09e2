"""The region checker: two models, or the part in which they differ, run on the same inputs and compared under a contract."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir

from optc.compiler import inputs, ir, printer
from optc.compiler.numerics import TOLERANCE, Array, Comparison, Numerics, compare
from optc.compiler.reference import Reference

Feeds = Sequence[dict[str, Array]]


@dataclass(frozen=True)
class Cut:
    """A region by the names of the values at its border, which both models have."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Check:
    """The outcome: whether the contract holds, and the worst output."""

    numerics: Numerics
    worst: Comparison
    tolerance: float = TOLERANCE

    @property
    def holds(self) -> bool:
        return self.worst.meets(self.numerics, self.tolerance)


def check(
    before: ir.Model,
    after: ir.Model,
    numerics: Numerics,
    feeds: Feeds | None = None,
    cut: Cut | None = None,
    tolerance: float = TOLERANCE,
) -> Check:
    """Run both on `feeds` (generated where there are none) and compare. With a `cut`, only the region between its values."""
    if cut is not None:
        before, after = extract(before, cut), extract(after, cut)
        if feeds is not None and set(feeds[0]) != {v.name for v in before.graph.inputs}:
            feeds = None
    feeds = feeds if feeds is not None else inputs.generate(before)
    worst = compare(Reference(before).run_all(feeds), Reference(after).run_all(feeds))
    return Check(numerics, worst, tolerance)


def extract(model: ir.Model, cut: Cut) -> ir.Model:
    """The region of a cut as a model of its own; weights are shared, not copied."""
    graph = onnx_ir.convenience.extract(model.graph, list(cut.inputs), list(cut.outputs))
    imports = dict(model.opset_imports)
    graph.opset_imports.update(imports)
    return ir.Model(graph, ir_version=model.ir_version, functions=list(model.functions.values()))


def changed_region(before: ir.Model, after: ir.Model) -> Cut | None:
    """The smallest cut that holds every node of the main graph in which the models differ; None where none does.

    Nodes are the same when they print the same. The border is made of values that both models have under one name with
    known shapes, so that inputs for the region can be generated.
    """
    lines = [{n.name: printer.node_line(n, comments=False) for n in m.graph} for m in (before, after)]
    weights = [{v.name: id(v.const_value) for v in m.graph.initializers.values()} for m in (before, after)]
    changed: list[set[ir.Node]] = []
    for mine, model in enumerate((before, after)):
        other = 1 - mine
        changed.append(
            {
                n
                for n in model.graph
                if lines[other].get(n.name) != lines[mine][n.name]
                or any(
                    v is not None and v.name in weights[mine] and weights[mine][v.name] != weights[other].get(v.name)
                    for v in n.inputs
                )
            }
        )
    if not changed[0] and not changed[1]:
        return None
    shared = _values(before) & _values(after)
    ins: dict[str, None] = {}
    outs: dict[str, None] = {}
    for model, nodes in zip((before, after), changed, strict=True):
        fixed = set(model.graph.initializers)
        grown = _grow(model, nodes, shared)
        for node in model.graph:
            if node not in grown:
                continue
            for value in node.inputs:
                if value is not None and value.name and value.name not in fixed and value.producer() not in grown:
                    ins[value.name] = None
            for value in node.outputs:
                if value.name in shared and (value.is_graph_output() or any(c not in grown for c in value.consumers())):
                    outs[value.name] = None
    return Cut(tuple(ins), tuple(outs))


def _values(model: ir.Model) -> set[str]:
    """Names that may be a border: values of the main graph whose shape is known."""
    found = [*model.graph.inputs, *(v for n in model.graph for v in n.outputs)]
    return {v.name for v in found if v.name and v.dtype is not None and v.shape is not None and not v.shape.has_unknown_dim()}


def _grow(model: ir.Model, nodes: set[ir.Node], border: set[str]) -> set[ir.Node]:
    """Add neighbours until every value that crosses the region's edge may be a border."""
    grown, work = set(nodes), list(nodes)
    while work:
        node = work.pop()
        inner = [p for v in node.inputs if v is not None and v.name not in border and (p := v.producer()) is not None]
        inner += [c for v in node.outputs if v.name not in border for c in v.consumers()]
        for more in inner:
            if more not in grown and more.graph is model.graph:
                grown.add(more)
                work.append(more)
    return grown
