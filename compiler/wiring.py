"""Nodes and what they read: the smallest changes that an editor makes, without a journal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optc.compiler import ir


def graph_of(node: ir.Node) -> ir.Graph:
    graph = node.graph
    if not isinstance(graph, ir.Graph):
        raise ValueError(f"{ir.node_id(node)} is in no graph")
    return graph


def detach(graph: ir.Graph, *nodes: ir.Node) -> None:
    for node in nodes:
        release(node)
        ir.remove_node(graph, node)


def release(node: ir.Node) -> None:
    """Let a node that is given up, and its bodies, use nothing."""
    for user in (node, *(n for body in ir.bodies(node) for g in ir.all_graphs(body) for n in g)):
        for i in range(len(user.inputs)):
            user.replace_input_with(i, None)


def feed(node: ir.Node, values: Sequence[ir.Value | None]) -> None:
    node.resize_inputs(len(values))
    for i, value in enumerate(values):
        node.replace_input_with(i, value)


def put(node: ir.Node, name: str, attr: Any) -> None:
    if attr is None:
        node.attributes.pop(name, None)
    else:
        node.attributes[name] = attr
