"""The verifier: what every model must satisfy between passes, as a list of rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

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


def _order(graph: ir.Graph, known: set[int]) -> Iterator[Problem]:
    """`known` are the values defined before; those of the graph are in it while the graph is looked at."""
    mine = [id(v) for v in (*graph.inputs, *graph.initializers.values())]
    known.update(mine)
    for node in graph:
        for value in node.inputs:
            if value is not None and value.name and id(value) not in known:
                yield Problem(f"input '{value.name}' is not computed before it is used", node)
        for body in ir.bodies(node):
            yield from _order(body, known)
        made = [id(v) for v in node.outputs]
        mine += made
        known.update(made)
    for value in graph.outputs:
        if id(value) not in known:
            yield Problem(f"output '{value.name}' of graph '{graph.name}' is computed by no node in it")
    known.difference_update(mine)


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


@dataclass(frozen=True)
class _Facts:
    """What a schema allows: asking it takes long, and there are few."""

    inputs: range
    outputs: int
    present: tuple[str, ...]
    """Names of the inputs, '' for those that may be absent."""
    attributes: frozenset[str]
    required: tuple[str, ...]


@lru_cache(maxsize=4096)
def _facts(op_type: str, opset: int) -> _Facts | None:
    try:
        schema = onnx.defs.get_schema(op_type, opset, "")
    except onnx.defs.SchemaError:
        return None
    single = onnx.defs.OpSchema.FormalParameterOption.Single
    return _Facts(
        range(schema.min_input, schema.max_input + 1),
        schema.max_output,
        tuple(formal.name if formal.option == single else "" for formal in schema.inputs),
        frozenset(schema.attributes),
        tuple(name for name, formal in schema.attributes.items() if formal.required),
    )


def _schema(node: ir.Node, opset: int) -> Iterator[Problem]:
    facts = _facts(node.op_type, opset)
    if facts is None:
        yield Problem(f"operator '{node.op_type}' is not in opset {opset}", node)
        return
    if len(node.inputs) not in facts.inputs:
        allowed = f"{facts.inputs.start} to {facts.inputs.stop - 1}"
        yield Problem(f"{len(node.inputs)} inputs; {allowed} are allowed", node)
    if len(node.outputs) > facts.outputs:
        yield Problem(f"{len(node.outputs)} outputs; at most {facts.outputs} are allowed", node)
    for i, value in enumerate(node.inputs if facts.present else ()):
        if (value is None or not value.name) and (name := facts.present[min(i, len(facts.present) - 1)]):
            yield Problem(f"input {i} ({name}) is absent", node)
    given = node.attributes.data
    for name in given:
        if name not in facts.attributes:
            yield Problem(f"attribute '{name}' does not exist", node)
    for name in facts.required:
        if name not in given:
            yield Problem(f"attribute '{name}' is missing", node)


RULES: tuple[Callable[[ir.Model], Iterator[Problem]], ...] = (unique_names, defined_before_use, known_operators)
