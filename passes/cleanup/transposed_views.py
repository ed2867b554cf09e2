"""Rules of sink-transposes for two transposes with a view between, and two views with a transpose: one of each is left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from optc.compiler import ir, shape_rules
from optc.compiler.contents import dims
from optc.compiler.rewrite import Builder, Rule
from optc.compiler.symbolic import Dim
from optc.passes.cleanup.operands import one_node, only_use
from optc.passes.cleanup.views import VIEW, reshaped

Groups = list[list[int]]
"""Of each axis of the one shape, the axes of the other that are multiplied in it; neighbours, in order."""


def groups(parts: Sequence[Dim], products: Sequence[Dim]) -> Groups | None:
    """Which neighbouring `parts` make each of `products`; None where the shapes do not agree so."""
    found: Groups = []
    at = 0
    for total in products:
        group: list[int] = []
        made: Dim = 1
        while made != total and at < len(parts):
            made = made * parts[at]
            group.append(at)
            at += 1
        if made != total:
            return None
        found.append(group)
    if any(d != 1 for d in parts[at:]):
        return None
    if found:
        found[-1] += range(at, len(parts))
    return found


def _flat(grouped: Groups, order: Sequence[int]) -> list[int]:
    return [axis for i in order for axis in grouped[i]]


def _moved(shape: Sequence[Dim], perm: Sequence[int]) -> list[Dim]:
    return [shape[i] for i in perm]


def _inner(value: ir.Value | None, *op_types: str) -> ir.Node | None:
    node = value.producer() if value is not None and only_use(value) else None
    return node if node is not None and ir.standard(node, *op_types) else None


def _perm(node: ir.Node) -> list[int] | None:
    found = ir.attribute(node, "perm")
    return None if found is None else list(found)


def _transpose_of_view(op: Builder, x: ir.Value, node: ir.Node) -> Any:
    """Transpose(view(Transpose(z))): the view goes behind both where it joins axes, before both where it parts them."""
    view = _inner(x, *VIEW)
    first = _inner(view.inputs[0], "Transpose") if view is not None else None
    p, q = (None if n is None else _perm(n) for n in (first, node))
    z = first.inputs[0] if first is not None else None
    before, after, source = (None if v is None else dims(v) for v in (view.inputs[0] if view else None, x, z))
    if view is None or first is None or z is None or not p or not q or before is None or after is None or source is None:
        return None
    op.also(view, first)
    joined = groups(before, after)
    if joined is not None:
        perm = [p[i] for i in _flat(joined, q)]
        return reshaped(op, _transposed(op, z, perm), _moved(after, q), before=_moved(source, perm))
    parted = groups(after, before)
    if parted is None:
        return None
    back = np.argsort(p)  # axes of z in the order of those of the view: the parts of each go with it
    shape = [after[i] for i in _flat(parted, [int(i) for i in back])]
    position = {axis: i for i, axis in enumerate(_flat(parted, [int(i) for i in back]))}
    made = reshaped(op, z, shape)
    return None if made is None else _transposed(op, made, [position[i] for i in q])


def _view_of_transpose(op: Builder, x: ir.Value, node: ir.Node) -> Any:
    """view(Transpose(view(z))) -> view(Transpose(z)), the inner view joining axes, or Transpose(view(z)), the outer parting."""
    middle = _inner(x, "Transpose")
    view = _inner(middle.inputs[0], *VIEW) if middle is not None else None
    p = None if middle is None else _perm(middle)
    z = view.inputs[0] if view is not None else None
    result = shape_rules.result(node)
    source, before, turned = (None if v is None else dims(v) for v in (z, middle.inputs[0] if middle else None, x))
    if middle is None or view is None or z is None or p is None or source is None or before is None or turned is None:
        return None
    if result is None or None in result:
        return None
    op.also(middle, view)
    after = [d for d in result if d is not None]
    joined = groups(source, before)
    if joined is not None:
        perm = _flat(joined, p)
        return reshaped(op, _transposed(op, z, perm), after, node, before=_moved(source, perm))
    parted = groups(after, turned)
    if parted is None:
        return None
    back = _flat(parted, [int(i) for i in np.argsort(p)])
    made = reshaped(op, z, _moved(after, back))
    return None if made is None else _transposed(op, made, [int(i) for i in np.argsort(back)])


def _transposed(op: Builder, value: ir.Value, perm: Sequence[int]) -> Any:
    return value if list(perm) == list(range(len(perm))) else op.Transpose(value, perm=list(perm))


TRANSPOSED_VIEWS: tuple[Rule, ...] = (
    Rule("transpose-of-view-of-transpose", one_node("Transpose", 1), _transpose_of_view),
    *(
        Rule(f"{op_type.lower()}-of-transpose-of-view", one_node(op_type, 1 if op_type == "Flatten" else 2), _view_of_transpose)
        for op_type in VIEW
    ),
)
