"""A whole attention, found from its Softmax: Softmax(softcap(scale·Q·Kᵀ) + masks)·V, and what was split into heads before and
merged after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from optc.compiler import ir
from optc.passes.attention import causal, heads, masks, scores
from optc.passes.attention.heads import HEADS, Flat, Heads
from optc.passes.attention.masks import Place
from optc.passes.attention.scores import Mask
from optc.passes.attention.walk import MisfitError, made_by, only_user, operand, scalar, scaled, sizes, text, value_is_float

_LOOK = 64
"""How many nodes behind keys and values are followed."""


@dataclass(frozen=True)
class Past:
    """Keys or values [B, G, P, H] of earlier positions, those that are new, and both: Concat over positions."""

    old: ir.Value
    new: Heads
    whole: ir.Value


@dataclass(frozen=True)
class Attention:
    """`result` is [B, N, S, H]; `merged` the same as [B, S, N·H] (or reshaped further), where that is what is used of it."""

    q: Heads
    k: Heads
    v: Heads
    scale: float
    softcap: float
    causal: bool
    masks: tuple[Mask, ...]
    past: tuple[Past, Past] | None
    result: ir.Value
    merged: ir.Node | None
    precision: ir.DataType | None
    nodes: tuple[ir.Node, ...]

    @cached_property
    def flats(self) -> tuple[Flat, Flat, Flat] | None:
        """Queries, keys and values before their heads were split, where all were and the result is merged again."""
        q, k, v = (side.flat for side in self.sides)
        together = self.merged is not None or len(self.q.perm) == 3
        return (q, k, v) if q is not None and k is not None and v is not None and together else None

    @property
    def sides(self) -> tuple[Heads, Heads, Heads]:
        """Queries, keys and values, of new positions where there is a past."""
        return (self.q, self.k, self.v) if self.past is None else (self.q, self.past[0].new, self.past[1].new)

    @property
    def places(self) -> tuple[Place, tuple[Place, ...]]:
        """Where the numbers of queries and keys are found: values, and axes of them; those of keys are added."""
        sides = self.flats or self.sides
        (q, k), old = (_place(side) for side in sides[:2]), self.past[0].old if self.past is not None else None
        return q, (k,) if old is None else ((old, 2), k)

    @property
    def dtype(self) -> ir.DataType | None:
        return self.q.value.dtype

    @property
    def outputs(self) -> list[ir.Value]:
        """What it computes: the result, and keys and values with those of the past."""
        y = self.merged.outputs[0] if self.flats is not None and self.merged is not None else self.result
        return [y, *(p.whole for p in self.past or ())]

    @property
    def reshape(self) -> ir.Value | None:
        """The shape that the merge gives, where it is not [B, S, N·H]."""
        behind = sizes(self.merged.outputs[0]) if self.merged is not None else ()
        usual = len(behind) == 3 and behind[:2] == (self.shape[0], self.shape[2])
        return None if usual or self.merged is None else self.merged.inputs[1]

    def scale_of(self, flats: tuple[Flat, Flat, Flat] | None) -> float:
        """What the products of queries and keys are multiplied by, with what was taken off them."""
        keys = self.k.factor if flats is None or self.past is not None else flats[1].factor
        return self.scale * (flats[0].factor if flats is not None else self.q.factor) * keys

    @property
    def shape(self) -> tuple[Any, ...]:
        """Of the scores: [B, N, S, T]."""
        batch, count, queries, _ = self.q.dims
        return batch, count, queries, self.k.dims[2]


def _place(side: Flat | Heads) -> Place:
    if isinstance(side, Heads):
        return side.value, side.perm[2]
    if side.shape is None:
        return side.value, 1 if side.perm is None else side.perm[1]
    raise MisfitError(f"the number of positions of '{side.value.name}' is not known", 4)


def find(softmax: ir.Node, opset: int, zeros: bool = True) -> Attention:
    """The attention whose weights a Softmax makes, for an operator that gives `zeros`, or else NaN, where -inf hides all keys of
    a query. Raises MisfitError with the reason where it is none."""
    known = scores.find(softmax, opset)
    last, behind, guarded = _product(softmax)
    product = known.product
    left, right, values = product.inputs[0], product.inputs[1], last.inputs[1]
    if left is None or right is None or values is None:
        raise MisfitError(f"{ir.node_id(product)} has one operand", 2)
    ranks = {len(sizes(v)) for v in (left, right, values)}
    result = last.outputs[0]
    tail: list[ir.Node] = []
    if ranks == {4}:
        q, k, v = heads.find(left), heads.find(right, swapped=True), heads.find(values, scalars=False)
    elif ranks == {3}:
        q, k, v, result, tail = _of_three(left, right, values, result)
    else:
        many = " and ".join(map(str, sorted(ranks)))
        raise MisfitError(f"{ir.node_id(product)} and {ir.node_id(last)} are over {many} dimensions", 3)
    if k.repeat != v.repeat:
        raise MisfitError(f"keys are repeated {k.repeat} times, values {v.repeat} times", 3)
    merged = _merged(result)
    nodes = (product, *known.nodes, softmax, *behind, last, *tail, *merged)
    if any(n.graph is not softmax.graph for n in nodes):
        raise MisfitError("it is spread over several graphs", 3)
    reshape = merged[-1] if merged else None
    past = _past(k, v, nodes, ())
    found = Attention(q, k, v, known.scale, known.softcap, False, known.masks, past, result, reshape, known.precision, nodes)
    _fits(found)
    found = _masked(found, opset)
    if found.past is not None and _past(k, v, nodes, [m.value for m in found.masks]) is None:  # a mask is computed from the keys
        found = _masked(replace(found, past=None, masks=known.masks), opset)
    masks.check(found.masks, guarded == zeros, found.shape)
    return replace(found, nodes=(*nodes, *_between((left, right, values), found)))


def _masked(found: Attention, opset: int) -> Attention:
    """With the promise to be causal for the masks that say so."""
    triangles = [m for m in found.masks if _is_causal(m, found, opset)]
    return replace(found, causal=bool(triangles), masks=tuple(m for m in found.masks if m not in triangles))


def _is_causal(mask: Mask, found: Attention, opset: int) -> bool:
    """Whether a mask over all queries and keys lets each query see the past, its own place and what is before it."""
    before = sizes(found.past[0].old)[2] if found.past is not None else 0
    known = causal.triangle(mask, opset)
    square = found.past is not None or found.shape[2] == found.shape[3]
    return known is not None and square and known.shape == found.shape[2:] and known.offset == before


def _fits(found: Attention) -> None:
    """Raises MisfitError where shapes are not those of Attention, which broadcasts nothing."""
    q, k, v = found.q.dims, found.k.dims, found.v.dims
    shapes = f"queries {text(q)}, keys {text(k)}, values {text(v)}"
    if not (q[0] == k[0] == v[0]):
        raise MisfitError(f"{shapes}: the batches may differ", 4)
    grouped = isinstance(k[1], int) and isinstance(q[1], int) and (k[1] == 1 or q[1] == k[1] * found.k.repeat)
    if k[1] != v[1] or not grouped:
        raise MisfitError(f"{shapes}: the heads do not go together", 4)
    if k[2] != v[2]:
        raise MisfitError(f"{shapes}: there may be more keys than values", 4)
    dtypes = {side.value.dtype for side in (found.q, found.k, found.v)} | {found.result.dtype}
    if len(dtypes) != 1 or not value_is_float(found.result):
        raise MisfitError(f"its operands are of types {', '.join(sorted(map(str, dtypes)))}", 4)


def _product(softmax: ir.Node) -> tuple[ir.Node, list[ir.Node], bool]:
    """(product of weights and values, nodes between, whether NaN of the weights becomes 0)."""
    weights, nodes, guarded = softmax.outputs[0], [], False
    users = list(dict.fromkeys(weights.consumers()))
    isnan = next((u for u in users if ir.standard(u, "IsNaN")), None)
    if isnan is not None and len(users) == 2 and not weights.is_graph_output():
        where = only_user(isnan.outputs[0], 2)
        if not ir.standard(where, "Where") or scalar(where.inputs[1]) != 0 or where.inputs[2] is not weights:
            raise MisfitError(f"{ir.node_id(where)} does not replace NaN of the weights by 0", 2)
        nodes, weights, guarded = [isnan, where], where.outputs[0], True
    user = only_user(weights, 2)
    while ir.standard(user, "Cast", "Reshape"):
        before, behind = sizes(user.inputs[0]), sizes(user.outputs[0])
        if not value_is_float(user.outputs[0]) or before[-2:] != behind[-2:]:
            raise MisfitError(f"the weights are used by {ir.node_id(user)}", 2)
        nodes, weights = [*nodes, user], user.outputs[0]
        user = only_user(weights, 2)
    if not ir.standard(user, "MatMul") or user.inputs[0] is not weights or user.inputs[1] is weights:
        raise MisfitError(f"the weights are used by {ir.node_id(user)}, not multiplied by values", 2)
    return user, nodes, guarded


def _of_three(
    left: ir.Value, right: ir.Value, values: ir.Value, result: ir.Value
) -> tuple[Heads, Heads, Heads, ir.Value, list[Any]]:
    """Of a product of [B·N, S, H] by [B·N, H, T]; where batch and heads were not merged before, it has one head."""
    factor, inner = 1.0, left
    while (known := scaled(inner)) is not None:
        factor, inner = factor * known[0], known[1]
    turned = made_by(right, "Transpose")
    turned = turned if turned is not None and ir.attribute(turned, "perm") == (0, 2, 1) else None
    keys = turned.inputs[0] if turned is not None else right
    parts = (heads.unmerged(inner), heads.unmerged(keys) if keys is not None else None, heads.unmerged(values))
    users = list(dict.fromkeys(result.consumers()))
    back = users[0] if len(users) == 1 and not result.is_graph_output() and ir.standard(users[0], "Reshape") else None
    q4, k4, v4 = parts
    if q4 is not None and k4 is not None and v4 is not None and back is not None:
        count, behind = sizes(q4)[1], sizes(back.outputs[0])
        if len({sizes(p)[1] for p in (q4, k4, v4)}) == 1 and behind[1:2] == (count,) and behind[2:] == sizes(result)[1:]:
            q = heads.find(q4)
            q = replace(q, factor=q.factor * factor, flat=q.flat and replace(q.flat, factor=q.flat.factor * factor))
            return q, heads.find(k4, swapped=turned is None), heads.find(v4, scalars=False), back.outputs[0], [back]
    return heads.single(left), heads.single(right, swapped=True), heads.single(values, scalars=False), result, []


def _between(operands: Sequence[ir.Value], found: Attention) -> list[ir.Node]:
    """The nodes from queries, keys and values to the operands of the products."""
    seen: dict[ir.Node, None] = {}
    ends = {side.value for side in found.flats or found.sides} | {p.old for p in found.past or ()}
    work = [v for v in operands if v not in ends]
    while work and len(seen) < _LOOK:
        node = work.pop().producer()
        if node is not None and node not in seen and ir.const_tensor(node.outputs[0]) is None:
            seen[node] = None
            work += [
                v for v in node.inputs[: None if ir.standard(node, "Concat", "Mul") else 1] if v is not None and v not in ends
            ]
    return list(seen)


def _merged(result: ir.Value) -> tuple[ir.Node, ...]:
    """The Transpose of [B, N, S, H] to [B, S, N, H] and the Reshape that merges heads, where nothing else uses these values."""
    turn = _sole(result, "Transpose")
    if turn is None or ir.attribute(turn, "perm") != HEADS:
        return ()
    merge = _sole(turn.outputs[0], "Reshape")
    if merge is None or ir.attribute(merge, "allowzero", 0):
        return ()
    before, behind = sizes(turn.outputs[0]), sizes(merge.outputs[0])
    if behind == (*before[:2], before[2] * before[3]):
        return turn, merge
    target = ir.const(operand(merge, 1))
    return () if target is None or np.any(target[2:] == 0) else (turn, merge)


def _sole(value: ir.Value, op_type: str) -> ir.Node | None:
    """The node of a type that alone uses a value, as its first input."""
    users = list(dict.fromkeys(value.consumers()))
    if value.is_graph_output() or len(users) != 1 or not ir.standard(users[0], op_type) or users[0].inputs[0] is not value:
        return None
    return users[0]


def _past(k: Heads, v: Heads, nodes: Sequence[ir.Node], kept: Sequence[ir.Value]) -> tuple[Past, Past] | None:
    """Where keys and values are both those of the past and then new ones, and serve nothing else but outputs of the graph, nor
    what is `kept`."""
    found = []
    for side, scalars in ((k, True), (v, False)):
        node = made_by(side.value, "Concat")
        if node is None or side.perm != (0, 1, 2, 3) or len(node.inputs) != 2 or ir.attribute(node, "axis") not in (2, -2):
            return None
        old, new = node.inputs
        if old is None or new is None or node.graph is not nodes[0].graph:
            return None
        if not all(dies(user, set(nodes), [_LOOK], kept) for user in dict.fromkeys(side.value.consumers())):
            return None
        inner = heads.find(new, scalars=scalars)
        if inner.factor != 1 or inner.repeat != 1 or (inner.flat is not None and inner.flat.factor != 1):
            inner = Heads(new, (0, 1, 2, 3))
        found.append(Past(old, inner, side.value))
    return found[0], found[1]


def dies(node: ir.Node, gone: set[ir.Node], left: list[int], kept: Sequence[ir.Value] = ()) -> bool:
    """Whether nothing uses a node when others are gone, and it computes nothing that is kept; `left` bounds the search."""
    left[0] -= 1
    if left[0] < 0 or any(v is k for v in node.outputs for k in kept):
        return False
    if node in gone:
        return True
    users = dict.fromkeys(u for v in node.outputs for u in v.consumers())
    return not any(v.is_graph_output() for v in node.outputs) and all(dies(user, gone, left, kept) for user in users)
