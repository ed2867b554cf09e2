"""Masks that hide padding: an additive mask back to the marks, 1 for what is there and 0 for padding, of which it was made."""

from __future__ import annotations

import numpy as np

from optc.compiler import ir
from optc.compiler.contents import INTEGERS
from optc.passes.attention.masks import HIDDEN
from optc.passes.attention.scores import LOW, Mask
from optc.passes.attention.walk import known_rank, made_by, operand, scaled, sizes, uniform


def marks(mask: Mask, batch: object, keys: object) -> tuple[ir.Value, float] | None:
    """(integers [B, T], what is added where they are 0) of a mask [B, 1, 1, T]. They are taken to be 0 or 1.

    None where it is made in another way, or of -inf.
    """
    found = _added(mask.value) if mask.fill is None else _chosen(mask.value, mask.keep, mask.fill)
    if found is None or not -np.inf < found[1] <= LOW or found[0].dtype not in INTEGERS or sizes(found[0]) != (batch, keys):
        return None
    return found[0], max(found[1], HIDDEN)


def _added(value: ir.Value) -> tuple[ir.Value, float] | None:
    """(1 - marks)·low, or Where(marks, 0, low)."""
    value = _inner(value, "Expand", "Max")
    chosen = made_by(value, "Where")
    if chosen is not None and chosen.inputs[0] is not None:
        a, b = (uniform(v) for v in chosen.inputs[1:])
        if a == 0 and b is not None:
            return _chosen(chosen.inputs[0], True, b)
        return _chosen(chosen.inputs[0], False, a) if b == 0 and a is not None else None
    known = scaled(value)
    rest = made_by(known[1], "Sub") if known is not None else None
    if known is None or rest is None or uniform(rest.inputs[0]) != 1 or rest.inputs[1] is None:
        return None
    found = _spread(rest.inputs[1])
    return (found, known[0]) if found is not None else None


def _chosen(condition: ir.Value, keep: bool, low: float) -> tuple[ir.Value, float] | None:
    """Of a condition that holds where the scores are kept, or else hidden."""
    condition = _inner(condition, "Expand")
    while (negated := made_by(condition, "Not")) is not None and negated.inputs[0] is not None:
        condition, keep = negated.inputs[0], not keep
    asked = made_by(condition, "Equal")
    if asked is not None and asked.inputs[0] is not None:
        number = uniform(asked.inputs[1])
        if number not in (0, 1) or keep != (number == 1):
            return None
        condition, keep = asked.inputs[0], True
    found = _spread(condition) if keep else None
    return (found, low) if found is not None else None


def _inner(value: ir.Value, *op_types: str) -> ir.Value:
    """A value before these operators, of which the first operand counts."""
    while (node := made_by(value, *op_types)) is not None and node.inputs[0] is not None:
        if node.op_type == "Max" and (len(node.inputs) != 2 or (uniform(node.inputs[1]) or 0) > LOW):
            break
        value = node.inputs[0]
    return value


def _spread(value: ir.Value) -> ir.Value | None:
    """[B, T] of which [B, 1, 1, T] was made by casts and new axes."""
    whole = sizes(value)
    while (node := made_by(value, "Cast", "Unsqueeze", "Reshape", "Expand", "Identity")) is not None and node.inputs[
        0
    ] is not None:
        if known_rank(node.inputs[0]) is None or operand(node, 0) is None:
            return None
        value = node.inputs[0]
        if known_rank(value) == 2 and value.dtype in INTEGERS:
            break
    own = sizes(value)
    fits = len(own) == 2 and whole[0] == own[0] and whole[-1] == own[1] and all(d == 1 for d in whole[1:-2]) and len(whole) == 4
    return value if fits else None
