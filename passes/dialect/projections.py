"""Queries, keys and values as products of an input with constant weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from optc.compiler import ir
from optc.passes.attention.found import dies
from optc.passes.attention.heads import Flat
from optc.passes.attention.walk import made_by, operand, sizes

_LOOK = 64


@dataclass(frozen=True)
class Projection:
    """`product` = x·weight, and `bias`; of `widths` side by side; `nodes` compute it."""

    x: ir.Value
    weight: ir.Array
    bias: ir.Array | None
    product: ir.Value
    widths: tuple[int, ...]
    nodes: tuple[ir.Node, ...]


def projected(side: Flat, gone: Sequence[ir.Node]) -> Projection | None:
    """Where one side is a product that serves nothing but nodes that go."""
    if not side.plain:
        return None
    return _product(side.value, (), gone)


def packed(sides: tuple[Flat, Flat, Flat], gone: Sequence[ir.Node]) -> Projection | None:
    """All three as one product: of three with the same input, or one that is split in three already."""
    q, k, v = sides
    if any(s.shape is not None or s.rotary is not None or s.perm is not None for s in sides):
        return None
    if q.parts == 3 and q.value is k.value is v.value and [s.part for s in sides] == [0, 1, 2]:
        found = _product(q.value, (), gone)
        third = found.weight.shape[1] // 3 if found is not None else 0
        return found and replace(found, widths=(third,) * 3)
    cut = made_by(q.value, "Split")
    if cut is not None and [s.value for s in sides] == list(cut.outputs) and cut.inputs[0] is not None:
        widths = [sizes(v)[2] for v in cut.outputs]
        alike = ir.attribute(cut, "axis", 0) in (2, -1) and all(isinstance(w, int) for w in widths)
        users = {u for v in cut.outputs for u in v.consumers()}
        if not alike or not all(dies(u, set(gone), [_LOOK]) for u in users):
            return None
        found = _product(cut.inputs[0], (cut,), [*gone, cut])
        return found and replace(found, widths=tuple(widths))
    parts = [projected(side, gone) for side in sides]
    q_, k_, v_ = parts
    if q_ is None or k_ is None or v_ is None or not (q_.x is k_.x is v_.x):
        return None
    held = [p for p in parts if p is not None]
    zeros = [np.zeros(p.weight.shape[1], p.weight.dtype) if p.bias is None else p.bias for p in held]
    return Projection(
        q_.x,
        np.concatenate([p.weight for p in held], 1),
        np.concatenate(zeros) if any(p.bias is not None for p in held) else None,
        q_.product,
        tuple(p.weight.shape[1] for p in held),
        tuple(n for p in held for n in p.nodes),
    )


def _product(value: ir.Value, nodes: tuple[ir.Node, ...], gone: Sequence[ir.Node]) -> Projection | None:
    """Of x [B, S, D] by a constant [D, E], with a constant bias [E] or without."""
    if value.is_graph_output() or not all(dies(u, set(gone), [_LOOK]) for u in dict.fromkeys(value.consumers())):
        return None
    bias, product, add = None, value, made_by(value, "Add")
    if add is not None and add.inputs[0] is not None:
        bias, product = ir.const(add.inputs[1]), add.inputs[0]
        if bias is None or product.is_graph_output() or len(list(product.consumers())) != 1:
            return None
    matmul = made_by(product, "MatMul")
    weight = ir.const(operand(matmul, 1)) if matmul is not None else None
    x = operand(matmul, 0) if matmul is not None else None
    if matmul is None or weight is None or weight.ndim != 2 or x is None or len(sizes(x)) != 3:
        return None
    if bias is not None and bias.shape != weight.shape[1:]:
        return None
    made = tuple(n for n in (matmul, add) if n is not None)
    return Projection(x, weight, bias, product, (weight.shape[1],), (*made, *nodes))
