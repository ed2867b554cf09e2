"""Compute every value once: common subexpressions and identical weights are shared."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from optc.compiler import ir
from optc.compiler.edit import Editor
from optc.compiler.numerics import Numerics
from optc.compiler.pattern import COMMUTATIVE
from optc.compiler.pipeline import Pass

RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial", "Dropout"}
)
"""Operators two of which are not the same although they look alike."""
SAMPLE, SAMPLES = 64, 16
"""Bytes, at as many places, by which weights are told apart before they are compared as wholes."""


@dataclass(frozen=True)
class ShareSubexpressions(Pass):
    """Nodes with the same operator, inputs and attributes become one; initializers with the same dtype, shape and bytes too.

    A node in a body is shared with one around it. Random operators and those with bodies stay apart.
    """

    name = "share-subexpressions"
    numerics = Numerics.BITWISE

    def run(self, edit: Editor) -> None:
        _graph(edit, edit.graph, {})


def _graph(edit: Editor, graph: ir.Graph, outer: Mapping[Any, Any]) -> None:
    seen = dict(outer)
    for weight in sorted(graph.initializers.values(), key=lambda v: v.name or ""):
        _weight(edit, weight, seen)
    for node in list(graph):
        inner = list(ir.bodies(node))
        for body in inner:
            _graph(edit, body, seen)
        if inner or node.op_type in RANDOM:
            continue
        first = seen.setdefault(key(node, edit), node)
        if first is not node:
            _share(edit, first, node)


def _share(edit: Editor, first: ir.Node, node: ir.Node) -> None:
    for a, b in zip(first.outputs, node.outputs, strict=True):
        if b.is_graph_output() and (a.is_graph_output() or a.graph is not b.graph):
            edit.refuse(node, "share-subexpressions", f"'{b.name}' is an output of the graph and keeps its name")
            return
    if not edit.step(node):
        return
    edit.set_origin(first, ir.Origin.union([ir.origin(first), ir.origin(node)]).by(edit.owner))
    for a, b in zip(first.outputs, node.outputs, strict=True):
        if b.is_graph_output():
            edit.set_type(a, b.dtype, b.shape)
        edit.replace(b, a)
    edit.remove(node)


def _weight(edit: Editor, weight: ir.Value, seen: dict[Any, Any]) -> None:
    held = ir.const_tensor(weight)
    if held is None or held.dtype == ir.DataType.STRING:
        return
    data = _data(weight)
    alike = held.dtype, tuple(held.shape), b"".join(data[i : i + SAMPLE].tobytes() for i in range(0, len(data), _stride(data)))
    first = next((v for v in seen.get(alike, ()) if _data(v).data == data.data), None)
    if first is None:
        seen[alike] = (*seen.get(alike, ()), weight)
        return
    users = [u.node for u in weight.uses()]
    if weight.is_graph_output() or not users or not edit.step(users[0]):
        return
    edit.replace(weight, first)
    edit.remove_initializer(weight)


def _data(weight: ir.Value) -> ir.Array:
    """The elements of a weight, as bytes that are read where they are looked at."""
    return np.ascontiguousarray(ir.const(weight)).reshape(-1).view(np.uint8)


def _stride(data: ir.Array) -> int:
    return max(SAMPLE, len(data) // SAMPLES)


def key(node: ir.Node, edit: Editor) -> Any:
    """Nodes without bodies that have the same key compute the same (RANDOM ones apart)."""
    inputs: Any = [v if v is None or v.name else None for v in node.inputs]
    while inputs and inputs[-1] is None:
        inputs.pop()
    inputs = tuple(map(id, inputs))
    if node.domain in ("", "ai.onnx") and node.op_type in COMMUTATIVE:
        inputs = tuple(sorted(inputs))
    attributes = tuple(sorted((name, attribute_key(attr)) for name, attr in node.attributes.items()))
    return node.domain if node.domain != "ai.onnx" else "", node.op_type, inputs, len(node.outputs), attributes


def attribute_key(attr: ir.Attr) -> tuple[str, str]:
    """Attributes that have the same key are the same."""
    if attr.type == ir.AttributeType.TENSOR:
        held = attr.as_tensor()
        if held.dtype == ir.DataType.STRING:
            return "strings", f"{tuple(held.shape)} {held.numpy().tolist()}"
        return "tensor", f"{held.dtype} {tuple(held.shape)} {hashlib.sha256(held.tobytes()).hexdigest()}"
    return attr.type.name, repr(attr.value)
