"""From an operand of a product back to [batch, heads, positions, width], and to the tensor [batch, positions, heads·width] that
was split into heads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from optc.compiler import ir
from optc.passes.attention.walk import known_rank, made_by, operand, scaled, sizes

Dims = tuple[Any, ...]
HEADS = (0, 2, 1, 3)
"""[B, S, N, H] -> [B, N, S, H]."""
SWAPPED = (0, 1, 3, 2)


@dataclass(frozen=True)
class Flat:
    """[B, S, N·H] before the split: `value`, or part `part` of `parts` equal ones of it, or it reshaped to `shape`, or with axes
    in the order `perm`, times `factor`; then rotated by `rotary` where there is one."""

    value: ir.Value
    heads: int
    factor: float = 1.0
    part: int = 0
    parts: int = 1
    shape: tuple[int, ...] | None = None
    rotary: ir.Node | None = None
    perm: tuple[int, ...] | None = None

    @property
    def plain(self) -> bool:
        """Whether it is just `value`, times a factor."""
        return self.parts == 1 and self.shape is None and self.rotary is None and self.perm is None


@dataclass(frozen=True)
class Heads:
    """[B, N, S, H] = Transpose(value, perm)·factor, each head `repeat` times; before that [B, S, N·H] where it is known. With a
    `perm` of three axes it is [B, S, H], of one head."""

    value: ir.Value
    perm: tuple[int, ...]
    factor: float = 1.0
    repeat: int = 1
    flat: Flat | None = None

    @property
    def dims(self) -> Dims:
        """[B, N, S, H] before it is repeated."""
        found = sizes(self.value, len(self.perm))
        turned = tuple(found[p] for p in self.perm)
        return turned if len(turned) == 4 else (turned[0], 1, *turned[1:])


def find(value: ir.Value, swapped: bool = False, scalars: bool = True) -> Heads:
    """Of a value [B, N, S, H], or with the last two `swapped`; `scalars`: its factors may be taken off. Raises MisfitError
    where its dimensions are unknown."""
    order, factor, repeat = SWAPPED if swapped else (0, 1, 2, 3), 1.0, 1
    sizes(value, 4)
    best = None
    while True:
        if order == (0, 1, 2, 3):
            best = Heads(value, order, factor, repeat)
        known, node = scaled(value) if scalars else None, made_by(value, "Transpose")
        grouped = _grouped(value, order[1])
        if known is not None and sizes(known[1]) == sizes(value):
            factor, value = factor * known[0], known[1]
        elif node is not None and node.inputs[0] is not None:
            perm = ir.attribute(node, "perm", (3, 2, 1, 0))
            order, value = tuple(perm[o] for o in order), node.inputs[0]
        elif grouped is not None and repeat == 1:
            value, repeat = grouped
        else:
            break
    found = best or Heads(value, order, factor, repeat)
    flat = _flat(value, order, factor, scalars) if repeat == found.repeat else None
    return replace(found, flat=flat)


def single(value: ir.Value, swapped: bool = False, scalars: bool = True) -> Heads:
    """Of a value [B, S, H], or with the last two `swapped`, as one head."""
    order, factor = (0, 2, 1) if swapped else (0, 1, 2), 1.0
    while True:
        known, node = scaled(value) if scalars else None, made_by(value, "Transpose")
        if known is not None and sizes(known[1]) == sizes(value):
            factor, value = factor * known[0], known[1]
        elif node is not None and node.inputs[0] is not None and order != (0, 1, 2):
            perm = ir.attribute(node, "perm", (2, 1, 0))
            order, value = tuple(perm[o] for o in order), node.inputs[0]
        else:
            return Heads(value, order, factor, flat=Flat(value, 1, factor, perm=None if order == (0, 1, 2) else order))


def unmerged(value: ir.Value, swapped: bool = False) -> ir.Value | None:
    """[B, N, S, H], or with the last two axes as in the value, of which a value [B·N, S, H] was made; None if it was not."""
    node = made_by(value, "Reshape")
    if node is None:
        return None
    before, behind = sizes(node.inputs[0]), sizes(value, 3)
    fits = len(before) == 4 and before[2:] == behind[1:] and isinstance(before[1], int)
    return node.inputs[0] if fits and before[0] * before[1] == behind[0] else None


def _grouped(value: ir.Value, axis: int) -> tuple[ir.Value, int] | None:
    """(x, times) where the value is x with each element of an axis several times in a row."""
    node, behind = made_by(value, "Reshape"), sizes(value)
    spread = made_by(node.inputs[0], "Expand", "Tile") if node is not None else None
    single = made_by(spread.inputs[0], "Unsqueeze", "Reshape") if spread is not None else None
    if node is None or spread is None or single is None or single.inputs[0] is None:
        return None
    x, wide, one = sizes(single.inputs[0]), sizes(spread.outputs[0]), sizes(single.outputs[0])
    if len(x) != 4 or len(wide) != 5 or one != (*x[: axis + 1], 1, *x[axis + 1 :]):
        return None
    times = wide[axis + 1]
    if not isinstance(times, int) or not isinstance(x[axis], int) or wide != (*x[: axis + 1], times, *x[axis + 1 :]):
        return None
    return (single.inputs[0], times) if behind == (*x[:axis], x[axis] * times, *x[axis + 1 :]) else None


def _flat(value: ir.Value, order: tuple[int, ...], factor: float, scalars: bool) -> Flat | None:
    """What the value, [B, N, S, H] when its axes are put in this order, was split from."""
    rotary = made_by(value, "RotaryEmbedding")
    if rotary is not None and rotary.inputs[0] is not None:
        if order != (0, 1, 2, 3) or known_rank(value) != 4 or len(set(value.consumers())) != 1 or value.is_graph_output():
            return None
        inner = find(rotary.inputs[0], scalars=False).flat
        return replace(inner, rotary=rotary, factor=factor) if inner is not None and inner.rotary is None else None
    picked: tuple[int, int] | None = None
    while True:
        known, node = scaled(value) if scalars else None, made_by(value, "Transpose")
        step = _picked(value) if picked is None else None
        if known is not None and sizes(known[1]) == sizes(value):
            factor, value = factor * known[0], known[1]
        elif node is not None and node.inputs[0] is not None:
            perm = ir.attribute(node, "perm") or tuple(reversed(range(len(order) + bool(picked))))
            order, value = tuple(perm[o] for o in order), node.inputs[0]
            picked = (perm[picked[0]], picked[1]) if picked else None
        elif step is not None:
            axis, index, value = step
            order, picked = tuple(o + (o >= axis) for o in order), (axis, index)
        else:
            break
    return _split(value, order, picked, factor, scalars)


def _split(value: ir.Value, order: tuple[int, ...], picked: tuple[int, int] | None, factor: float, scalars: bool) -> Flat | None:
    """Where the value is a Reshape of [B, S, N·H] to [B, S, N, H], or of all of queries, keys and values to [B, S, 3, N, H]."""
    node = made_by(value, "Reshape")
    x = node.inputs[0] if node is not None else None
    if node is None or x is None or known_rank(x) is None:
        return None
    before, behind = sizes(x), sizes(value)
    if order != ((0, 2, 1, 3) if picked is None else (0, 3, 1, 4)) or len(behind) != 4 + (picked is not None):
        return None
    heads, width = behind[-2:]
    if not isinstance(heads, int) or not isinstance(width, int):
        return None
    parts = 1 if picked is None else behind[2]
    if picked is not None and (picked[0] != 2 or not isinstance(parts, int)):
        return None
    if before == (*behind[:2], parts * heads * width):
        known = scaled(x) if parts == 1 and scalars else None
        if known is not None and sizes(known[1]) == before:
            x, factor = known[1], factor * known[0]
        return Flat(x, heads, factor, picked[1] if picked else 0, parts)
    target = ir.const(operand(node, 1))
    if target is None or np.any(target[2:] <= 0) or ir.attribute(node, "allowzero", 0) or len(before) == len(behind):
        return None
    if np.any(target[:2] == 0) and before[:2] != behind[:2]:
        return None
    shape = (int(target[0]), int(target[1]), parts * heads * width)
    return Flat(x, heads, factor, picked[1] if picked else 0, parts, shape)


def _picked(value: ir.Value) -> tuple[int, int, ir.Value] | None:
    """(axis, index, x) where the value is x at one index of an axis, which is gone."""
    gather = made_by(value, "Gather")
    if gather is not None and gather.inputs[0] is not None:
        index, rank = ir.const(gather.inputs[1]), known_rank(gather.inputs[0])
        if index is None or index.ndim or rank != 5:
            return None
        return _position(int(ir.attribute(gather, "axis", 0)), int(index), gather.inputs[0])
    squeeze = made_by(value, "Squeeze", "Reshape")
    piece = squeeze.inputs[0] if squeeze is not None else None
    if piece is None or known_rank(piece) != 5 or known_rank(value) != 4:
        return None
    ones = [a for a, d in enumerate(sizes(piece)) if d == 1 and (*sizes(piece)[:a], *sizes(piece)[a + 1 :]) == sizes(value)]
    cut = made_by(piece, "Slice", "Split")
    if cut is None or not ones or cut.inputs[0] is None:
        return None
    if cut.op_type == "Split":
        axis = int(ir.attribute(cut, "axis", 0)) % 5
        whole = sizes(cut.inputs[0])[axis]
        return (axis, piece.index() or 0, cut.inputs[0]) if axis in ones and whole == len(cut.outputs) else None
    starts, axes, steps = (ir.const(operand(cut, i)) for i in (1, 3, 4))
    if starts is None or axes is None or axes.size != 1 or int(axes[0]) % 5 not in ones:
        return None
    return None if steps is not None and int(steps[0]) != 1 else _position(int(axes[0]), int(starts[0]), cut.inputs[0])


def _position(axis: int, index: int, x: ir.Value) -> tuple[int, int, ir.Value] | None:
    axis %= 5
    extent = sizes(x)[axis]
    return (axis, index % extent, x) if isinstance(extent, int) else None
