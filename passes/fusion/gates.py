"""The gates of recurrent cells as sums of products: which values, by which weights, plus which bias, however computed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from optc.compiler import ir
from optc.compiler.contents import dims
from optc.compiler.rewrite import Builder, Refuse

DEPTH = 24
"""How many nodes a gate is followed back."""


@dataclass(frozen=True)
class Gates:
    """Σ value · weightᵀ + bias over the last dimension: weights are [out, in], the bias [out], all float64."""

    weights: dict[ir.Value, ir.Array]
    bias: ir.Array
    nodes: frozenset[ir.Node] = field(default_factory=frozenset)

    @property
    def size(self) -> int:
        return len(self.bias)

    def rows(self, start: int, end: int, node: ir.Node) -> Gates:
        return Gates({v: w[start:end] for v, w in self.weights.items()}, self.bias[start:end], self.nodes | {node})

    def plus(self, other: Gates, node: ir.Node) -> Gates:
        weights = dict(self.weights)
        for value, w in other.weights.items():
            weights[value] = weights[value] + w if value in weights else w
        return Gates(weights, self.bias + other.bias, self.nodes | other.nodes | {node})

    def negative(self) -> Gates:
        return Gates({v: -w for v, w in self.weights.items()}, -self.bias, self.nodes)

    def of(self, value: ir.Value) -> ir.Array:
        """The weight of a value, [out, in]; zeros where it is not in the sum."""
        shape = dims(value)
        width = shape[-1] if shape is not None else 0
        return self.weights[value] if value in self.weights else np.zeros((self.size, width if isinstance(width, int) else 0))


def gates(value: ir.Value | None, depth: int = DEPTH) -> Gates | None:
    """The sum of products that a value [.., out] is; None where it is none."""
    node = value.producer() if value is not None else None
    if value is None or node is None or depth == 0 or node.domain not in ("", "ai.onnx"):
        return None
    if node.op_type in ("Gemm", "MatMul"):
        return _product(node)
    if node.op_type == "Add":
        return _sum(node, depth)
    if node.op_type in ("Split", "Slice"):
        return _part(value, node, depth)
    return None


def _product(node: ir.Node) -> Gates | None:
    x, w = node.inputs[0], ir.const(node.inputs[1])
    bias = ir.const(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else np.zeros(1)
    if x is None or w is None or w.ndim != 2 or bias is None or ir.attribute(node, "transA", 0):
        return None
    weight = (w if ir.attribute(node, "transB", 0) else w.T).astype(np.float64) * ir.attribute(node, "alpha", 1.0)
    if bias.size not in (1, len(weight)) or ir.const_tensor(x) is not None:
        return None
    total = np.broadcast_to(bias.astype(np.float64).reshape(-1) * ir.attribute(node, "beta", 1.0), (len(weight),))
    joined = x.producer()
    if joined is None or not ir.standard(joined, "Concat") or ir.attribute(joined, "axis") not in (-1, len(dims(x) or ()) - 1):
        return Gates({x: weight}, total, frozenset({node}))
    parts: dict[ir.Value, ir.Array] = {}
    at = 0
    for piece in joined.inputs:
        width = (dims(piece) or (None,))[-1]
        if piece is None or not isinstance(width, int) or piece in parts:
            return None
        parts[piece] = weight[:, at : at + width]
        at += width
    return Gates(parts, total, frozenset({node, joined}))


def _sum(node: ir.Node, depth: int) -> Gates | None:
    a, b = node.inputs
    constant = next((c for c in map(ir.const, (a, b)) if c is not None), None)
    if constant is None:
        first, second = gates(a, depth - 1), gates(b, depth - 1)
        return None if first is None or second is None or first.size != second.size else first.plus(second, node)
    other = a if ir.const_tensor(b) is not None else b
    found, shape = gates(other, depth - 1), dims(other)
    if (
        found is None
        or shape is None
        or constant.ndim > len(shape)
        or (constant.ndim and constant.shape[-1] not in (1, found.size))
    ):
        return None
    before = (1,) * (len(shape) - constant.ndim) + constant.shape[:-1]  # of a state of zeros
    if any(k not in (1, d) for k, d in zip(before, shape[:-1], strict=False)):
        return None
    rows = np.broadcast_to(constant, (*constant.shape[:-1], found.size)).astype(np.float64).reshape(-1, found.size)
    return Gates(found.weights, found.bias + rows[0], found.nodes | {node}) if (rows == rows[0]).all() else None


def _part(value: ir.Value, node: ir.Node, depth: int) -> Gates | None:
    """Some of the gates that were computed together."""
    found = gates(node.inputs[0], depth - 1)
    rank = len(dims(node.inputs[0]) or ())
    if found is None or rank == 0:
        return None
    if node.op_type == "Split":
        count = len(node.outputs)
        given = ir.const(node.inputs[1]) if len(node.inputs) > 1 and node.inputs[1] is not None else ir.attribute(node, "split")
        if ir.attribute(node, "axis", 0) % rank != rank - 1 or (given is None and found.size % count):
            return None
        sizes = [found.size // count] * count if given is None else [int(s) for s in given]
        start = sum(sizes[: value.index() or 0])
        return found.rows(start, start + sizes[value.index() or 0], node)
    bounds = [ir.const(v) for v in node.inputs[1:]]
    if len(bounds) < 3 or any(b is None or b.size != 1 for b in bounds) or int(bounds[2].item()) % rank != rank - 1:  # type: ignore[union-attr]
        return None
    start, end, _, step = [int(b.item()) for b in (*bounds, np.ones(1))[:4] if b is not None]
    selected = slice(start, end).indices(found.size)
    return found.rows(selected[0], selected[1], node) if step == 1 else None


def kept_apart(parts: Iterable[Gates], inside: Iterable[ir.Node]) -> Refuse | None:
    """Why gates may not be replaced: something outside of the cell uses them too."""
    nodes = {n for part in parts for n in part.nodes}
    known = nodes | set(inside)
    for node in nodes:
        for value in node.outputs:
            other = next((n for n in value.consumers() if n not in known), None)
            if value.is_graph_output() or other is not None:
                user = "an output of the graph" if other is None else f"used by {ir.node_id(other)}"
                return Refuse(f"'{value.name}', of which its gates are made, is also {user}")
    return None


class Weights:
    """Arrays of float32 as initializers, each content once: the steps of an unrolled layer have the same."""

    def __init__(self) -> None:
        self._known: dict[tuple[tuple[int, ...], bytes], ir.Value] = {}

    def value(self, op: Builder, array: ir.Array, hint: str) -> ir.Value | None:
        held = np.ascontiguousarray(array[None], np.float32)
        key = held.shape, hashlib.sha256(held.tobytes()).digest()
        known = self._known.get(key)
        if known is None or not known.is_initializer() or known.graph is None:
            known = op.value(held, hint)
            if known is not None:
                self._known[key] = known
        return known


def as_step(op: Builder, values: Sequence[ir.Value]) -> ir.Value | Refuse:
    """Values [N, k] or [1, N, k], side by side, as a sequence of one step, [1, N, Σk]."""
    made: list[ir.Value] = []
    for value in values:
        shape, held = dims(value) or (), ir.const(value)
        if len(shape) == 3 and shape[0] == 1:
            made.append(value)
        elif len(shape) != 2:
            return Refuse(f"'{value.name}' is of shape {list(shape)}, not one step of a sequence")
        elif held is not None:
            made.append(op.value(held[None], f"{value.name}_step") or value)
        else:
            made.append(op.Unsqueeze(value, np.array([0])) if op.opset >= 13 else op.Unsqueeze(value, axes=[0]))
    joined: ir.Value = made[0] if len(made) == 1 else op.Concat(*made, axis=2)
    return joined


def from_step(op: Builder, value: ir.Value, rank: int) -> ir.Value:
    """A state [1, N, k] in the rank that it has in the cell."""
    if rank == 3:
        return value
    found: ir.Value = op.Squeeze(value, np.array([0])) if op.opset >= 13 else op.Squeeze(value, axes=[0])
    return found
