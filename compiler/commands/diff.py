"""diff: which nodes became which, and by which passes; or two texts."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from optc.compiler.commands.common import Json, Passes, Shape, emit, table
from optc.compiler.diagnostics import UserError

if TYPE_CHECKING:
    from optc.compiler.lineage import Change, Lineage

KINDS = 6
"""Operators of a side of a change that are named on the screen."""


def diff(
    before: Annotated[Path, typer.Argument(help="An ONNX file; or a bundle, beside its source.", show_default=False)],
    after: Annotated[
        Path | None,
        typer.Argument(
            help="What became of it: an ONNX file or a bundle; without it, BEFORE after --passes.", show_default=False
        ),
    ] = None,
    passes: Passes = None,
    shape: Shape = None,
    text: Annotated[bool, typer.Option("--text", help="The two models as text, line by line.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Each change with the names of its nodes, not one line a kind.")] = False,
    json: Json = False,
) -> None:
    """Show what passes change in a model, or how two models differ: which nodes became which nodes, by which passes."""
    from optc.compiler import api, why

    if passes is not None and after is not None:
        raise UserError("--passes are run on BEFORE alone", hint="leave AFTER out")
    if text:
        _text(before, after, passes, shape)
        return
    found = why.lineage_between(before, after, passes, api.parse_shapes(shape))
    if json:
        emit(_document(found))
    elif every:
        _each(found)
    else:
        _kinds(found)


def _text(before: Path, after: Path | None, passes: str | None, shape: list[str] | None) -> None:
    from optc.compiler import api, printer, why

    old, new = why.both(before, after, passes, api.parse_shapes(shape))
    a, b = (printer.text(m).splitlines() for m in (old, new))
    lines = list(difflib.unified_diff(a, b, str(before), str(after or "after passes"), lineterm="", n=1))
    print("\n".join(lines) if lines else "no difference")


def _document(found: Lineage) -> dict[str, Any]:
    from optc.compiler import lineage

    def named(names: Sequence[str], operators: Mapping[str, str]) -> list[dict[str, str]]:
        return [{"name": name, "operator": operators[name]} for name in names]

    made = {name: node.operator for name, node in found.nodes.items()}
    return {
        "format": lineage.FORMAT,
        "nodes": {"before": len(found.source), "after": len(found.nodes), "unchanged": lineage.unchanged(found)},
        "changes": [
            {"sources": named(c.sources, found.source), "results": named(c.results, made), "passes": list(c.passes)}
            for c in lineage.changes(found)
        ],
        "removed": [
            {"name": name, "operator": gone.operator, "pass": gone.by, "why": gone.why} for name, gone in found.removed.items()
        ],
    }


def _summary(found: Lineage) -> str:
    from optc.compiler import lineage

    same = lineage.unchanged(found)
    return f"{len(found.source)} nodes became {len(found.nodes)}; {same} are as they were, {len(found.removed)} left none"


def _kinds(found: Lineage) -> None:
    """A line for each kind of change and of removal, the most frequent first."""
    from optc.compiler import lineage

    print(_summary(found))
    kinds: dict[tuple[str, str, str], list[Change]] = {}
    for change in lineage.changes(found):
        old = _operators(found.source[name] for name in change.sources) or "(nobody noted)"
        new = _operators(found.nodes[name].operator for name in change.results)
        kinds.setdefault((old, new, ", ".join(change.passes)), []).append(change)
    rows = [[len(c), old, new, by, c[0].results[0]] for (old, new, by), c in sorted(kinds.items(), key=lambda k: -len(k[1]))]
    if rows:
        table("", ["times", "source nodes", "became", "by passes", "first at"], rows)
    gone: dict[tuple[str, str, str], list[str]] = {}
    for name, g in found.removed.items():
        gone.setdefault((g.operator, g.by or "(nobody noted)", re.sub(r" ?(at )?'.*", "", g.why)), []).append(name)
    rows = [[len(names), *kind, names[0]] for kind, names in sorted(gone.items(), key=lambda k: -len(k[1]))]
    if rows:
        table("", ["times", "removed", "by pass", "why", "first"], rows)


def _operators(names: Iterable[str]) -> str:
    """`2 Add + Mul`."""
    counts = [kind if n == 1 else f"{n} {kind}" for kind, n in Counter(names).items()]
    return " + ".join(counts[:KINDS]) + (f" + {len(counts) - KINDS} other kinds" if len(counts) > KINDS else "")


def _each(found: Lineage) -> None:
    """A tree: each change by itself."""
    from optc.compiler import lineage

    print(_summary(found))
    for change in lineage.changes(found):
        print(f"\n{', '.join(change.passes) or 'nobody noted how'}")
        print(*(f"  - '{name}' ({found.source[name]})" for name in change.sources), sep="\n")
        print(*(f"  + '{name}' ({found.nodes[name].operator})" for name in change.results), sep="\n")
    for name, gone in found.removed.items():
        print(f"\n{gone.by or 'nobody noted how'}{': ' if gone.why else ''}{gone.why}\n  - '{name}' ({gone.operator})")
