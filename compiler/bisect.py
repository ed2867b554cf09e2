"""Which rewrite is guilty: a binary search over the number of rewrites allowed (after LLVM's OptBisect)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from optc.compiler import analysis, ir
from optc.compiler.diagnostics import InternalError
from optc.compiler.edit import Editor
from optc.compiler.pipeline import Pass
from optc.compiler.steps import Step


@dataclass(frozen=True)
class Culprit:
    """The first rewrite after which a model is no longer good: its number (from 1), the pass and its index, the step."""

    limit: int
    index: int
    owner: Pass
    step: Step


def find(before: ir.Model, passes: Sequence[Pass], good: Callable[[ir.Model], bool], limit: int | None = None) -> Culprit:
    """Search with `good` telling whether a model still means the same. With all rewrites (the first `limit`) it must be false."""
    total, _ = _run(before, passes, limit)
    low, high = 0, len(total.steps)  # good with `low` rewrites, bad with `high`
    if not high or good(total.model):
        raise InternalError("nothing to bisect: the result is the same with all rewrites as with none")
    while high - low > 1:
        middle = (low + high) // 2
        edit, _ = _run(before, passes, middle)
        low, high = (middle, high) if good(edit.model) else (low, middle)
    edit, ends = _run(before, passes, high)
    index = next(i for i, end in enumerate(ends) if end >= high)
    return Culprit(high, index, passes[index], edit.steps[high - 1])


def _run(before: ir.Model, passes: Sequence[Pass], limit: int | None) -> tuple[Editor, list[int]]:
    """The passes on a copy; how many rewrites had been made after each."""
    edit = Editor(before.clone(), limit)
    edit.far = False
    ends = []
    for p in passes:
        edit.owner = p.name
        p.run(edit)
        analysis.forget(edit.graph)
        ends.append(len(edit.steps))
    return edit, ends
