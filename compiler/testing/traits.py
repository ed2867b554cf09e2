"""What a model has that passes stumble over, by name: the tally of a campaign counts the graphs with each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import onnx

from optc.compiler import ir, regions
from optc.compiler.contents import dims

ELEMENTWISE = (
    *("Add", "Sub", "Mul", "Div", "Pow", "Mod", "Max", "Min", "Sum", "Mean", "PRelu"),
    *("Where", "And", "Or", "Xor", "Equal", "Greater", "Less"),
)
"""Operators whose inputs broadcast in both directions, or in one."""


def found(proto: onnx.ModelProto, model: ir.Model) -> Iterator[str]:
    """The traits of a model, which was loaded as `model`, once each."""
    graph, graphs = model.graph, list(ir.all_graphs(model.graph))
    nodes = [node for g in graphs for node in g]
    yield from sorted({f"{node.op_type} with a body" for node in nodes if any(True for _ in ir.bodies(node))})
    if any(True for g in graphs if g is not graph for node in g for _ in ir.bodies(node)):
        yield "bodies in bodies"
    if any(v.producer() is not None for node in graph for body in ir.bodies(node) for v in regions.captured(body)):
        yield "a body that reads results of the graph around it"
    if any(not isinstance(d, int) for v in graph.inputs for d in dims(v) or ()):
        yield "dynamic dimensions"
    if any(map(_broadcasts, nodes)):
        yield "broadcasting"
    if any(v is None for node in nodes for v in node.inputs):
        yield "an optional input left out before one that is given"
    uses = Counter(v for node in nodes for v in node.inputs if v is not None)
    if any(count > 1 for v, count in uses.items() if v.producer() is not None):
        yield "a result with several uses"
    if any(count > 1 for v, count in uses.items() if v.is_initializer()):
        yield "a weight with several uses"
    outputs = list(graph.outputs)
    if len({v.name for v in proto.graph.output}) < len(proto.graph.output):
        yield "an output listed twice"
    if any(v in uses for v in outputs):
        yield "an output that nodes read, too"
    if any(v.is_graph_input() or v.is_initializer() for v in outputs):
        yield "an input or a weight as output"
    if {v.name for v in proto.graph.input} & {t.name for t in proto.graph.initializer}:
        yield "a weight that is an input, too"


def _broadcasts(node: ir.Node) -> bool:
    if not ir.standard(node, *ELEMENTWISE):
        return False
    shapes = {tuple(known) for v in node.inputs if v is not None and (known := dims(v)) is not None}
    return len(shapes) > 1
