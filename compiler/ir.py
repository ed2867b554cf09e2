"""The only door to onnx-ir: the model, its parts, and what optc adds to them (constants, origins, fresh names).

Everything else says `from optc.compiler import ir`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir
from onnx_ir import (
    Attr,
    AttributeType,
    DataType,
    Function,
    Graph,
    Model,
    Node,
    Shape,
    SymbolicDim,
    Tensor,
    TensorType,
    Value,
    from_proto,
    to_proto,
)

__all__ = [
    "DOMAIN",
    "UNREGISTERED",
    "WITH_BODIES",
    "Array",
    "Attr",
    "AttributeType",
    "DataType",
    "Function",
    "Graph",
    "Model",
    "Node",
    "Origin",
    "Shape",
    "SymbolicDim",
    "Tensor",
    "TensorType",
    "Value",
    "all_graphs",
    "attribute",
    "attribute_graph",
    "bodies",
    "const",
    "const_tensor",
    "convert_attribute",
    "count_nodes",
    "count_uses",
    "from_proto",
    "ir_version",
    "is_source",
    "is_used",
    "next_node",
    "node_id",
    "origin",
    "previous_node",
    "remove_node",
    "schema",
    "set_origin",
    "sort_initializers",
    "standard",
    "tensor",
    "to_proto",
    "used_names",
    "users",
]

convert_attribute = onnx_ir.convenience.convert_attribute

Array = npt.NDArray[Any]

DOMAIN = "optc"
"""The domain of operators that standard ONNX cannot express in one node; see ops.py."""

WITH_BODIES = frozenset({"If", "Loop", "Scan", "SequenceMap"})
"""The standard operators that hold graphs."""

UNREGISTERED = frozenset({"SimplifiedLayerNormalization"})
"""Operators that onnxruntime's optimizer writes into the standard domain, which has none of that name."""

_ORIGIN = "optc.origin"
_ENCODE = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True)
class Origin:
    """Where a node comes from: the names of source nodes and the passes that made it, both in order of first appearance."""

    sources: tuple[str, ...]
    passes: tuple[str, ...] = ()

    def by(self, name: str) -> Origin:
        return Origin(self.sources, tuple(dict.fromkeys((*self.passes, name))))

    @staticmethod
    def union(origins: Iterable[Origin]) -> Origin:
        parts = list(origins)
        return Origin(
            tuple(dict.fromkeys(s for o in parts for s in o.sources)), tuple(dict.fromkeys(p for o in parts for p in o.passes))
        )


def origin(node: Node) -> Origin:
    """The node's origin; a node that no pass touched is its own source."""
    text = node.metadata_props.get(_ORIGIN)
    return Origin((node.name or "",)) if text is None else _origin(text)


@lru_cache(maxsize=4096)
def _origin(text: str) -> Origin:
    sources, passes = json.loads(text)
    return Origin(tuple(sources), tuple(passes))


def is_source(node: Node) -> bool:
    """Whether no pass has touched the node: it is its own source, by its name."""
    return _ORIGIN not in node.metadata_props


def set_origin(node: Node, value: Origin) -> None:
    """Recorded in the node's metadata_props, so that it survives saving."""
    node.metadata_props[_ORIGIN] = _ENCODE([value.sources, value.passes])


def const_tensor(value: Value | None) -> onnx_ir.TensorProtocol | None:
    """The tensor behind an initializer or a Constant node, bytes not read yet; None for anything that is computed or fed."""
    if value is None:
        return None
    producer = value.producer()
    if producer is not None:
        attr = producer.attributes.data.get("value") if producer.op_type == "Constant" and producer.domain == "" else None
        return attr.value if attr is not None and attr.type == AttributeType.TENSOR else None
    return value.const_value if value.is_initializer() and not value.is_graph_input() else None


def const(value: Value | None) -> Array | None:
    """The array of a constant value (see const_tensor), or None. Do not write into it."""
    found = const_tensor(value)
    return None if found is None else found.numpy()


def tensor(array: Array, name: str | None = None) -> Tensor[Any]:
    """An IR tensor around an array, without a copy where it is contiguous. Zero-dimensional arrays stay so."""
    array = np.asarray(array)
    return Tensor(array if array.flags.c_contiguous else np.ascontiguousarray(array), name=name)


def standard(node: Node, *op_types: str) -> bool:
    """Whether the node is one of the given operators of the standard domain."""
    return node.domain in ("", "ai.onnx") and node.op_type in op_types


def schema(node: Node, opset: int) -> onnx.defs.OpSchema | None:
    """The ONNX schema of a standard operator at an opset; None for other domains or unknown operators."""
    return _schema(node.op_type, opset, "" if node.domain == "ai.onnx" else node.domain)


@lru_cache(maxsize=4096)
def _schema(op_type: str, opset: int, domain: str) -> onnx.defs.OpSchema | None:
    try:
        return onnx.defs.get_schema(op_type, opset, domain)
    except onnx.defs.SchemaError:
        return None


def ir_version(opset: int) -> int:
    """The oldest version of the file format that a release of ONNX wrote this opset in."""
    return int(next(row[1] for row in onnx.helper.VERSION_TABLE if row[2] >= opset))


def attribute(node: Node, name: str, default: Any = None) -> Any:
    """The Python value of an attribute: int, float, str, tuple, array; `default` where it is absent."""
    attr = node.attributes.get(name)
    if attr is None:
        return default
    if attr.type == AttributeType.TENSOR:
        return attr.as_tensor().numpy()
    return tuple(attr.value) if isinstance(attr.value, list | tuple) else attr.value


def attribute_graph(node: Node, name: str) -> Graph:
    """A body of the node."""
    return node.attributes[name].as_graph()


def bodies(node: Node) -> Iterator[Graph]:
    """The graphs held in a node's attributes (If, Loop, Scan)."""
    if node.domain == "" and node.op_type not in WITH_BODIES:
        return
    for attr in node.attributes.data.values():
        if attr.type == AttributeType.GRAPH:
            yield attr.as_graph()
        elif attr.type == AttributeType.GRAPHS:
            yield from attr.as_graphs()


def all_graphs(graph: Graph) -> Iterator[Graph]:
    """The graph and, depth first, every body in it."""
    yield graph
    for node in graph:
        if node.op_type in WITH_BODIES or node.domain:
            for body in bodies(node):
                yield from all_graphs(body)


def count_nodes(model: Model) -> int:
    """Nodes of the main graph and of all bodies, Constant nodes included."""
    return sum(len(graph) for graph in all_graphs(model.graph))


def used_names(graph: Graph) -> set[str]:
    """Every name of a value or node in the graph and its bodies."""
    names: set[str | None] = set()
    for g in all_graphs(graph):
        names.update(v.name for v in (*g.inputs, *g.initializers.values()))
        for node in g:
            names.add(node.name)
            names.update(v.name for v in node.outputs)
    return {n for n in names if n}


def sort_initializers(graph: Graph, rank: Callable[[Value], int]) -> None:
    """List a graph's initializers in the order of their ranks."""
    held = sorted(graph.initializers.items(), key=lambda item: rank(item[1]))
    graph.initializers.data.clear()
    graph.initializers.data.update(held)


def is_used(value: Value) -> bool:
    """Whether a node reads the value. In constant time: `uses()` copies, and a shared constant has thousands of them."""
    return bool(value._uses)


def count_uses(value: Value) -> int:
    """How often nodes read the value."""
    return len(value._uses)


def users(value: Value) -> Iterator[Node]:
    """The nodes that read the value, once for each input; for a look at the first few of many. Not while uses change."""
    for use in value._uses:
        yield use.node


def remove_node(graph: Graph, node: Node) -> None:
    """Take a node out of its graph. onnx-ir 1.1 looks at every output of the graph whenever it does so itself."""
    node.graph = None
    graph._nodes.remove(node)


def next_node(graph: Graph, node: Node) -> Node | None:
    """The node that follows in list order. onnx-ir 1.1 has no public way to ask in constant time."""
    box: Any = graph._nodes._value_ids_to_boxes[id(node)]
    return box.next.value  # type: ignore[no-any-return]


def previous_node(graph: Graph, node: Node) -> Node | None:
    """The node before it in list order, likewise."""
    box: Any = graph._nodes._value_ids_to_boxes[id(node)]
    return box.prev.value  # type: ignore[no-any-return]


def node_id(node: Node) -> str:
    """How messages name a node: its name and operator."""
    domain = f"{node.domain}." if node.domain else ""
    return f"'{node.name}' ({domain}{node.op_type})"
