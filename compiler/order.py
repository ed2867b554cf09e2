"""Sorting the nodes of a protobuf topologically; a cycle is shown."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence

from onnx import FunctionProto, GraphProto, NodeProto

from optc.compiler.diagnostics import UserError
from optc.compiler.validate import bodies, called


def sort(graph: GraphProto | FunctionProto, place: str) -> None:
    """Sort nodes, in bodies too, keeping the order of those that are independent. Raises UserError for a cycle."""
    for node in graph.node:
        for body in bodies(node):
            sort(body, place)
    producer = {name: i for i, node in enumerate(graph.node) for name in node.output if name}
    needs = [sorted({producer[name] for name in _uses(node) if name in producer}) for node in graph.node]
    if all(not before or before[-1] < i for i, before in enumerate(needs)):
        return
    order = _order(needs)
    if len(order) < len(needs):
        raise UserError("the graph has a cycle", place=place, lines=_shown(graph.node, _cycle(needs, set(order))))
    rank = {next(filter(None, graph.node[i].output), ""): position for position, i in enumerate(order)}
    graph.node.sort(key=lambda node: rank[next(filter(None, node.output), "")])


def _uses(node: NodeProto) -> Iterator[str]:
    """Names that a node reads, also from inside its bodies."""
    yield from node.input
    for body in bodies(node):
        yield from (value.name for value in body.output)
        for inner in body.node:
            yield from _uses(inner)


def _order(needs: Sequence[Sequence[int]]) -> list[int]:
    """Always the first node that can come next; shorter than `needs` where there is a cycle."""
    users: list[list[int]] = [[] for _ in needs]
    for i, before in enumerate(needs):
        for j in before:
            users[j].append(i)
    left = [len(before) for before in needs]
    ready = [i for i, count in enumerate(left) if not count]
    order = []
    while ready:
        i = heapq.heappop(ready)
        order.append(i)
        for j in users[i]:
            left[j] -= 1
            if not left[j]:
                heapq.heappush(ready, j)
    return order


def _cycle(needs: Sequence[Sequence[int]], fine: set[int]) -> list[int]:
    """One cycle among the nodes that are not `fine`, in the order of the data."""
    path = [next(i for i in range(len(needs)) if i not in fine)]
    while True:
        before = next(j for j in needs[path[-1]] if j not in fine)
        if before in path:
            return path[path.index(before) :][::-1]
        path.append(before)


def _shown(nodes: Sequence[NodeProto], cycle: Sequence[int]) -> list[str]:
    lines = [f"{called(nodes[i], i)} -> {', '.join(filter(None, nodes[i].output))}" for i in cycle]
    return [*lines[:10], *([f"... and {len(lines) - 10} more"] if len(lines) > 10 else [])]
