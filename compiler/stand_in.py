"""A model as onnxruntime loads it: it refuses one with a body that no input makes valid, even where that is never run.

Such a body ends, in a copy, before the node that fails, and fails there when it is run.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from optc.compiler import ir
from optc.compiler.impossible import blocked
from optc.compiler.wiring import release


def loadable(model: ir.Model) -> ir.Model:
    """The model, or a copy of it with bodies that onnxruntime loads; it computes the same, and fails for the same inputs."""
    if not _bodies(model):
        return model
    copy = model.clone()
    for body, node in _bodies(copy):
        _end(body, node)
    return copy


def _bodies(model: ir.Model) -> list[tuple[ir.Graph, ir.Node]]:
    """The bodies that always fail, with the node that does; those inside of them follow."""
    inner = (g for node in model.graph for body in ir.bodies(node) for g in ir.all_graphs(body))
    found = ((graph, blocked(graph, model.opset_imports)) for graph in inner)
    return [(graph, which[0]) for graph, which in found if which is not None and all(map(_tensor, graph.outputs))]


def _tensor(value: ir.Value) -> bool:
    return isinstance(value.type, ir.TensorType)


def _end(body: ir.Graph, node: ir.Node) -> None:
    """Let a body take an element that no tensor has instead of running the node and what follows it."""
    fed = next((v for v in node.inputs if v is not None and ir.const_tensor(v) is None), node.inputs[0])
    made, results = _failing(node.name or "", fed, list(body.outputs))
    rest = list(itertools.dropwhile(lambda other: other is not node, body))
    body.outputs[:] = results
    for gone in rest:
        release(gone)
    body.remove(rest)
    body.extend(made)


def _failing(name: str, fed: ir.Value | None, outputs: Sequence[ir.Value]) -> tuple[list[ir.Node], list[ir.Value]]:
    """Nodes, and the results of the given types that they would have if there were an element beyond the last of `fed`."""
    nodes: list[ir.Node] = []

    def add(op_type: str, inputs: Sequence[ir.Value | None], **attributes: Any) -> ir.Value:
        attrs = [ir.convert_attribute(key, value) for key, value in attributes.items()]
        nodes.append(ir.Node("", op_type, inputs, attrs, name=f"{name}.{len(nodes)}"))
        nodes[-1].outputs[0].name = f"{nodes[-1].name}.out"
        return nodes[-1].outputs[0]

    def constant(numbers: Sequence[int]) -> ir.Value:
        return add("Constant", [], value=ir.tensor(np.array(numbers, np.int64)))

    flat = add("Reshape", [fed, constant([-1])])
    beyond = add("Gather", [flat, constant([np.iinfo(np.int64).max])])
    results = []
    for value in outputs:
        typed = add("Cast", [beyond], to=int(value.dtype or ir.DataType.FLOAT))
        results.append(add("Reshape", [typed, constant([1] * len(value.shape or ()))]))
        results[-1].type = value.type
    return nodes, results
