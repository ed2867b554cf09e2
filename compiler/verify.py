"""The verifier: what every model must satisfy between passes, as a list of rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import onnx

from optc.compiler import ir, ops


@dataclass(frozen=True)
class Problem:
    """One broken rule, and the node at which (None: the graph as a whole)."""

    message: str
    node: ir.Node | None = None

    def __str__(self) -> str:
        return f"{self.message} at node {ir.node_id(self.node)}" if self.node is not None else self.message


Signature = tuple[tuple[str, str, str], ...]


def signature(model: ir.Model) -> Signature:
    """Name, dtype and shape of inputs and outputs, in order: what no pass may change. Unknown output dimensions are free."""
    graph = model.graph
    shapes = [("inputs", v) for v in graph.inputs] + [("outputs", v) for v in graph.outputs]
    return tuple((kind, v.name or "", str(v.dtype)) for kind, v in shapes)


def verify(model: ir.Model, interface: Signature | None = None) -> list[Problem]:
    """Every broken rule; empty when the model is valid. `interface` is the signature it must still have."""
    problems = [p for rule in RULES for p in rule(model)]
    if interface is not None and signature(model) != interface:
        problems.append(Problem(f"the interface changed from {interface} to {signature(model)}"))
    return problems


def unique_names(model: ir.Model) -> Iterator[Problem]:
    """Every value and every node has a name of its own."""
    values: set[str] = set()
    nodes: set[str] = set()
    for graph in ir.all_graphs(model.graph):
        for value in (*graph.inputs, *(v for v in graph.initializers.values() if not v.is_graph_input())):
            if not value.name or value.name in values:
                yield Problem(f"value '{value.name}' is defined twice or has no name")
            values.add(value.name or "")
        for node in graph:
            if not node.name or node.name in nodes:
                yield Problem("the node's name is missing or not unique", node)
            nodes.add(node.name or "")
            for value in node.outputs:
                if value.name and value.name in values:
                    yield Problem(f"value '{value.name}' is defined twice", node)
                values.add(value.name or "")


def defined_before_use(model: ir.Model) -> Iterator[Problem]:
    """Inputs are computed earlier, in the same graph or in one around it."""
    yield from _order(model.graph, set())


def _order(graph: ir.Graph, outer: set[int]) -> Iterator[Problem]:
    known = outer | {id(v) for v in (*graph.inputs, *graph.initializers.values())}
    for node in graph:
        for value in node.inputs:
            if value is not None and value.name and id(value) not in known:
                yield Problem(f"input '{value.name}' is not computed before it is used", node)
        for body in ir.bodies(node):
            yield from _order(body, known)
        known |= {id(v) for v in node.outputs}
    for value in graph.outputs:
        if id(value) not in known:
            yield Problem(f"output '{value.name}' of graph '{graph.name}' is computed by no node in it")


def known_operators(model: ir.Model) -> Iterator[Problem]:
    """Operators exist in the imported opset, with as many inputs and outputs as their schema allows and its attributes."""
    for graph in ir.all_graphs(model.graph):
        for node in graph:
            domain = "" if node.domain == "ai.onnx" else node.domain
            if domain not in model.opset_imports:
                yield Problem(f"domain '{node.domain}' is not imported", node)
            elif domain == ir.DOMAIN and node.op_type not in ops.OPS:
                yield Problem(f"operator '{node.op_type}' is not defined in the {ir.DOMAIN} domain", node)
            elif domain == "" and node.op_type not in ir.UNREGISTERED:
                yield from _schema(node, model.opset_imports[domain])


def _schema(node: ir.Node, opset: int) -> Iterator[Problem]:
    schema = ir.schema(node, opset)
    if schema is None:
        yield Problem(f"operator '{node.op_type}' is not in opset {opset}", node)
        return
    if not schema.min_input <= len(node.inputs) <= schema.max_input:
        yield Problem(f"{len(node.inputs)} inputs; {schema.min_input} to {schema.max_input} are allowed", node)
    if len(node.outputs) > schema.max_output:
        yield Problem(f"{len(node.outputs)} outputs; at most {schema.max_output} are allowed", node)
    for i, value in enumerate(node.inputs):
        formal = schema.inputs[min(i, len(schema.inputs) - 1)]
        if (value is None or not value.name) and formal.option == onnx.defs.OpSchema.FormalParameterOption.Single:
            yield Problem(f"input {i} ({formal.name}) is absent", node)
    for name in node.attributes:
        if name not in schema.attributes:
            yield Problem(f"attribute '{name}' does not exist", node)
    for name, formal_attr in schema.attributes.items():
        if formal_attr.required and name not in node.attributes:
            yield Problem(f"attribute '{name}' is missing", node)


RULES: tuple[Callable[[ir.Model], Iterator[Problem]], ...] = (unique_names, defined_before_use, known_operators)
