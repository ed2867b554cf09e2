"""Steps back through a graph: what computes a value, scalars that it is multiplied by, why a piece is no attention."""

from __future__ import annotations

from typing import Any

import numpy as np

from optc.compiler import ir
from optc.compiler.contents import dims


class MisfitError(Exception):
    """Why a piece of graph is no attention. `depth`: how far the search got; from 2 on it nearly was one."""

    def __init__(self, reason: str, depth: int = 0) -> None:
        super().__init__(reason)
        self.reason, self.depth = reason, depth


def made_by(value: ir.Value | None, *op_types: str) -> ir.Node | None:
    """The node that computes a value, where it is one of these standard operators."""
    node = value.producer() if value is not None else None
    return node if node is not None and ir.standard(node, *op_types) else None


def operand(node: ir.Node, index: int) -> ir.Value | None:
    """An input, None where it is left out."""
    value = node.inputs[index] if index < len(node.inputs) else None
    return value if value is not None and value.name else None


def only_user(value: ir.Value, depth: int = 0) -> ir.Node:
    """The one node that uses a value. Raises MisfitError where others see it too."""
    if value.is_graph_output():
        raise MisfitError(f"'{value.name}' is also an output of the graph", depth)
    users = list(dict.fromkeys(value.consumers()))
    if len(users) != 1:
        others = ", ".join(ir.node_id(u) for u in users[:3])
        raise MisfitError(f"'{value.name}' is used by {others}" if users else f"nothing uses '{value.name}'", depth)
    return users[0]


def scalar(value: ir.Value | None) -> float | None:
    """The number that a constant of one element holds."""
    held = ir.const_tensor(value)
    return float(held.numpy().reshape(())) if held is not None and held.size == 1 and value_is_float(value) else None


def value_is_float(value: ir.Value | None) -> bool:
    return value is not None and value.dtype is not None and value.dtype.is_floating_point()


def uniform(value: ir.Value | None, depth: int = 4) -> float | None:
    """The number that every element of a value is, where that is known."""
    held = ir.const_tensor(value)
    if held is not None:
        array = held.numpy() if held.size else None
        return float(array.flat[0]) if array is not None and bool(np.all(array == array.flat[0])) else None
    node = made_by(value, "Expand", "Reshape", "Unsqueeze", "Squeeze", "Identity", "Cast", "CastLike", "ConstantOfShape")
    if node is None or not depth:
        return None
    if node.op_type == "ConstantOfShape":
        return float(np.ravel(ir.attribute(node, "value", np.zeros(1)))[0])
    return uniform(node.inputs[0], depth - 1)


def scaled(value: ir.Value | None) -> tuple[float, ir.Value, ir.Node] | None:
    """(factor, x, node) where the value is factor·x, the factor a constant number. Paddle adds 0 behind scales: 1·x."""
    node = made_by(value, "Mul", "Div", "Add")
    if node is None:
        return None
    x, y = node.inputs
    for factor, other in ((y, x),) if node.op_type == "Div" else ((y, x), (x, y)):
        number, rank, own = scalar(factor), known_rank(other), known_rank(factor)
        if number is None or other is None or rank is None or own is None or own > rank or ir.const_tensor(other) is not None:
            continue
        if node.op_type == "Add" and number == 0:
            return 1.0, other, node
        if node.op_type != "Add" and (number or node.op_type == "Mul"):
            return (number if node.op_type == "Mul" else 1 / number), other, node
    return None


def known_rank(value: ir.Value | None) -> int | None:
    return None if value is None or value.shape is None else len(value.shape)


def sizes(value: ir.Value | None, rank: int | None = None, depth: int = 2) -> tuple[Any, ...]:
    """The dimensions of a value. Raises MisfitError where they are unknown or not so many."""
    found = dims(value)
    if value is None or found is None:
        raise MisfitError(f"the rank of '{value.name if value is not None else ''}' is unknown", depth)
    if rank is not None and len(found) != rank:
        raise MisfitError(f"'{value.name}' has {len(found)} dimensions, not {rank}", depth)
    return found


def text(shape: tuple[Any, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"
