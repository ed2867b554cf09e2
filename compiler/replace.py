"""Replacing values by new nodes where a pattern cannot say what goes: the caller found it by walking the graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from optc.compiler import ir
from optc.compiler.diagnostics import InternalError
from optc.compiler.edit import Editor
from optc.compiler.pattern import Match
from optc.compiler.rewrite import Builder, Refuse
from optc.compiler.shapes import infer_node
from optc.compiler.wiring import release


def replace_values(
    edit: Editor, old: Sequence[ir.Value], sources: Sequence[ir.Node], build: Callable[[Builder], Any]
) -> Sequence[ir.Node] | Refuse:
    """Replace values of one graph by what `build` makes: a new value for each of `old`, or a Refuse.

    What is made stands before the node that computes the first of them and comes from `sources`; it must use nothing that is
    computed from the old values. Types and names go over to the new values, and what only computed the old ones goes. It is one
    `edit.step` at that node. The new nodes are returned, or why it did not happen.
    """
    root = old[0].producer()
    if root is None:
        raise InternalError(f"nothing computes '{old[0].name}'")
    mark = edit.mark()
    op = Builder(edit, Match(nodes={id(n): n for n in (root, *sources)}, roots=list(old)), {})
    edit.at = root
    made = build(op)
    if isinstance(made, Refuse) or not edit.step(root):
        for node in op.made:
            release(node)
        edit.rollback(mark)
        return made if isinstance(made, Refuse) else Refuse("beyond the bisection limit")
    new = made if isinstance(made, tuple) else (made,)
    edit.insert_before(root, op.made)
    for node in op.made:
        infer_node(edit, node)
    for before, after in zip(old, new, strict=True):
        name = before.name or ""
        edit.set_type(after, before.dtype or after.dtype, before.shape or after.shape)
        edit.replace(before, after)
        if after.name != name:
            edit.rename(before, edit.fresh(f"{name}_replaced"))
            edit.rename(after, name)
    edit.sweep(old)
    heir = new[0].producer()
    if heir is not None and root.graph is None:  # names stay from pass to pass: the successor inherits it
        edit.rename(heir, root.name or "")
    return op.made
