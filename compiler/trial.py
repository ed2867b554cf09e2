"""Edits that are tried to see what they lead to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from optc.compiler import analysis
from optc.compiler.edit import Editor


@contextmanager
def trial(edit: Editor) -> Iterator[None]:
    """What is edited in the block is undone at its end, and neither counted nor bounded."""
    mark, limit, skip = edit.mark(), edit.limit, edit.skip
    noted = [(notes, len(notes)) for notes in (edit.steps, edit.removals, edit.refusals)]
    edit.limit, edit.skip = None, frozenset()
    try:
        yield
    finally:
        edit.rollback(mark)
        edit.limit, edit.skip = limit, skip
        for notes, count in noted:
            del notes[count:]
        analysis.forget(edit.graph)
