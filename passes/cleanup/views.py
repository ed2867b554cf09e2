"""Rules of canonicalize for chains of operators that give the same elements another shape: one is left of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from optc.compiler import ir, shape_rules
from optc.compiler.contents import dims
from optc.compiler.rewrite import Builder, Refuse, Rule
from optc.compiler.symbolic import Dim
from optc.passes.cleanup.operands import axes_of, one_node, rank, with_axes
from optc.passes.cleanup.targets import constant_target

VIEW = ("Reshape", "Squeeze", "Unsqueeze", "Flatten")


def moves_nothing(node: ir.Node) -> bool:
    """Whether a Transpose moves only extents of 1, and so no element."""
    perm, known = ir.attribute(node, "perm"), dims(node.inputs[0])
    if perm is None or known is None or len(perm) != len(known):
        return False
    moved = [p for p in perm if known[p] != 1]
    return moved == sorted(moved)


def _chain(node: ir.Node) -> Iterator[ir.Node]:
    """The views that a view is of, the nearest first."""
    inner = node.inputs[0].producer() if node.inputs[0] is not None else None
    while inner is not None and inner.graph is node.graph and ir.standard(inner, *VIEW):
        yield inner
        inner = inner.inputs[0].producer() if inner.inputs[0] is not None else None


def _merged(op: Builder, x: ir.Value, node: ir.Node) -> Any:
    chain = list(_chain(node))
    result = shape_rules.result(node) if chain else None
    for count in range(len(chain), 0, -1):
        source = chain[count - 1].inputs[0]
        if source is None:
            continue
        op.also(*chain[:count])
        made = _of_axes(op, [node, *chain[:count]]) or reshaped(op, source, result, node)
        if made is not None:
            return made
    return Refuse(f"the shape of '{node.outputs[0].name}' is not said by that of an earlier one") if chain else None


def reshaped(
    op: Builder,
    source: ir.Value,
    result: Sequence[Dim | None] | None,
    node: ir.Node | None = None,
    before: Sequence[Dim] | None = None,
) -> Any:
    """One view of a value, of a shape that is known; None where no constant says it.

    `node`: the operator that gives the value this shape, as far as its own constant does. `before`: the dimensions of a value
    that was made just now.
    """
    before = dims(source) if before is None else tuple(before)
    written = ir.const(node.inputs[1]) if node is not None and node.op_type == "Reshape" and len(node.inputs) > 1 else None
    if node is not None and written is not None and not np.any(written == 0):
        return op.Reshape(source, node.inputs[1], **node.attributes)  # whatever is between
    if before is None or result is None or None in result:
        return None
    after = [d for d in result if d is not None]
    if tuple(after) == before:
        return source
    if 0 in after:
        return None  # a 0 would copy
    inserted = _inserted(before, after)
    if inserted is not None:
        return with_axes(op, "Unsqueeze", source, inserted)
    removed = _inserted(after, before)
    if removed is not None:
        return with_axes(op, "Squeeze", source, removed)
    if written is not None and -1 in written:
        after = [-1 if w == -1 else d for w, d in zip(written, after, strict=True)]
    target = constant_target(before, after, result)
    if not isinstance(target, str):
        return op.Reshape(source, np.array(target, np.int64))
    if len(after) == 2:
        for axis in range(len(before) + 1):
            if [_product(before[:axis]), _product(before[axis:])] == after:
                return op.Flatten(source, axis=axis)
    return None


def _inserted(small: Sequence[Dim], large: Sequence[Dim]) -> list[int] | None:
    """The axes of `large` that, all of extent 1, are all that `small` lacks."""
    axes: list[int] = []
    rest = list(small)
    for i, d in enumerate(large):
        if rest and rest[0] == d:
            rest.pop(0)
        elif d == 1:
            axes.append(i)
        else:
            return None
    return axes if not rest and axes else None


def _product(factors: Sequence[Dim]) -> Dim:
    total: Dim = 1
    for f in factors:
        total = total * f
    return total


def _of_axes(op: Builder, nodes: Sequence[ir.Node]) -> Any:
    """Unsqueeze of Unsqueeze, or Squeeze of Squeeze, whatever the extents; `nodes` from the last one back."""
    kind, source = nodes[0].op_type, nodes[-1].inputs[0]
    if kind not in ("Squeeze", "Unsqueeze") or any(n.op_type != kind for n in nodes):
        return None
    axes = [axes_of(n, made=kind == "Unsqueeze") for n in nodes]
    total = rank(nodes[-1 if kind == "Squeeze" else 0].inputs[0])
    if any(a is None for a in axes) or total is None or source is None:
        return None
    if kind == "Unsqueeze":
        total += len(axes[0] or ())
        kept, found = list(range(total)), list[int]()
        for here in axes:  # the axes of the outermost shape that are left, then those inserted before
            found += [kept[a] for a in here or ()]
            kept = [k for i, k in enumerate(kept) if i not in (here or ())]
    else:
        kept, found = list(range(total)), []
        for here in reversed(axes):
            found += [kept[a] for a in here or ()]
            kept = [k for i, k in enumerate(kept) if i not in (here or ())]
    return with_axes(op, kind, source, sorted(found))


VIEWS: tuple[Rule, ...] = tuple(
    Rule(f"{op_type.lower()}-of-view", one_node(op_type, 1 if op_type == "Flatten" else 2), _merged) for op_type in VIEW
)
