"""Cutting a graph into regions: runs of nodes of one colour, in an order in which each finds its inputs ready.

A contiguous part of a topological order is convex: no path leaves it and comes back. So the cut is a topological order that stays
with one colour for as long as a node of it is ready, and is broken where the colour changes.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir

from optc.compiler import ir


@dataclass(frozen=True)
class Region:
    """Nodes that run as one, in order."""

    colour: Hashable
    nodes: tuple[ir.Node, ...]


def regions(
    graph: ir.Graph, colour: Callable[[ir.Node], Hashable], alone: Callable[[ir.Node], bool], early: Collection[str]
) -> list[Region]:
    """All nodes of a graph but constants. A node that is `alone` is a region by itself; a value named in `early` is ready before
    a region starts that reads it."""
    nodes = [node for node in graph if not is_constant(node)]
    rank = {node: i for i, node in enumerate(nodes)}
    makers = [{p for v in read(node) if (p := v.producer()) is not None and p in rank} for node in nodes]
    left = [len(found) for found in makers]
    users: dict[ir.Node, list[int]] = {node: [] for node in nodes}
    for i, found in enumerate(makers):
        for maker in found:
            users[maker].append(i)
    ready: dict[Hashable, list[int]] = {}
    made: list[Region] = []

    def add(i: int) -> None:
        heapq.heappush(ready.setdefault(colour(nodes[i]), []), i)

    for i, count in enumerate(left):
        if not count:
            add(i)
    while ready:
        current = min(ready, key=lambda c: ready[c][0])
        queue, held, late = ready.pop(current), list[ir.Node](), list[int]()
        inside: set[str] = set()
        while queue:
            i = heapq.heappop(queue)
            node = nodes[i]
            if any(v.name in early and v.name in inside for v in read(node)) or (held and (alone(node) or alone(held[-1]))):
                late.append(i)
                continue
            held.append(node)
            inside.update(v.name or "" for v in node.outputs)
            for j in users[node]:
                left[j] -= 1
                if left[j]:
                    continue
                if colour(nodes[j]) == current:
                    heapq.heappush(queue, j)
                else:
                    add(j)
        for i in late:
            add(i)
        made.append(Region(current, tuple(held)))
    return made


def is_constant(node: ir.Node) -> bool:
    """A Constant node: no region's own, part of each that reads it."""
    return ir.standard(node, "Constant")


def read(node: ir.Node) -> Iterator[ir.Value]:
    """The values that a node reads, also from inside its bodies; those that its bodies make left out."""
    yield from (v for v in node.inputs if v is not None)
    for body in ir.bodies(node):
        yield from captured(body)


def captured(body: ir.Graph) -> Iterator[ir.Value]:
    """The outer values that a body reads, once each."""
    own = {v for g in ir.all_graphs(body) for v in (*g.inputs, *g.initializers.values(), *(o for n in g for o in n.outputs))}
    used = (v for g in ir.all_graphs(body) for v in (*g.outputs, *(i for n in g for i in n.inputs)))
    yield from dict.fromkeys(v for v in used if v is not None and v not in own)


def extract(model: ir.Model, nodes: Sequence[ir.Node], outputs: Sequence[ir.Value]) -> ir.Model:
    """A region as a model of its own: its inputs are what it reads and does not make, in the order of use."""
    made = {v for node in nodes for v in node.outputs}
    used = dict.fromkeys(v for node in nodes for v in read(node) if v not in made)
    constants = dict.fromkeys(p for v in used if (p := v.producer()) is not None and is_constant(p))
    weights = [v for v in used if v.is_initializer() and not v.is_graph_input()]
    held = {*weights, *(o for node in constants for o in node.outputs)}
    inputs = [v for v in used if v not in held]
    imports, before = dict(model.opset_imports), [*constants, *nodes]
    view = onnx_ir.GraphView(inputs, list(outputs), nodes=before, initializers=weights, opset_imports=imports, name="region")
    return ir.Model(view.clone(), ir_version=model.ir_version)


def copied(nodes: Sequence[ir.Node], replaced: Mapping[ir.Value, ir.Value]) -> list[ir.Node]:
    """Copies of nodes, in no graph, that read what the nodes read, or what replaces it, and each other's results."""
    own = {v for node in nodes for v in node.outputs}
    outer = list(dict.fromkeys(v for node in nodes for v in read(node) if v not in own))
    graph = onnx_ir.GraphView(outer, [], nodes=nodes).clone()
    for stand_in, value in zip(graph.inputs, outer, strict=True):
        stand_in.replace_all_uses_with(replaced.get(value, value))
    made = list(graph)
    graph.remove(made)
    return made
