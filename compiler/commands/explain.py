"""explain: what passes did, and why not more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from optc.compiler.commands.common import Json, Model, Passes, Shape, emit, table

if TYPE_CHECKING:
    from optc.compiler.explain import Fired, Group

SHOWN = 10
"""Groups of near misses on the screen, without --all."""

WIDTH, READERS = 150, 3
"""Of the neighbourhood on the screen: how long a line is, and how many readers are shown."""


def explain(
    model: Model,
    passes: Passes = None,
    shape: Shape = None,
    pattern: Annotated[
        str | None,
        typer.Option(
            "--pattern",
            "--pass",
            help="Only this pass, which then runs behind the others if it is not one of them, or only this rule of a pass.",
            show_default=False,
            metavar="NAME",
        ),
    ] = None,
    node: Annotated[
        str | None, typer.Option("--node", help="Only at nodes whose name holds this.", show_default=False, metavar="TEXT")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every near miss, also where only the first operator of a rule was there.")
    ] = False,
    json: Json = False,
) -> None:
    """Say what passes did, and where rewrites nearly happened: how far they got, and what stood in their way."""
    from optc.compiler import api, why
    from optc.compiler import explain as explaining
    from optc.compiler.recipe import DEFAULT_PASSES

    found = why.explain(model, DEFAULT_PASSES if passes is None else passes, api.parse_shapes(shape), pattern, node, every)
    if json:
        emit(
            {
                "format": explaining.FORMAT,
                "passes": [f.document() for f in found.fired],
                "misses": [g.document() for g in found.groups],
                "absent": found.absent,
            }
        )
        return
    _fired(found.fired, found.about)
    _groups(found.groups if every else found.groups[:SHOWN], bool(pattern))
    if len(found.groups) > SHOWN and not every:
        print(f"... and {len(found.groups) - SHOWN} more, which got less far: --all")
    if not found.groups and found.absent:
        print(f"the model has no {', no '.join(found.absent)}, with which what was asked for ends")
    elif not found.groups and any(f.outcome.name == found.about and f.outcome.rewrites for f in found.fired):
        print("it did all there was to do: nowhere else did it come near")
    elif not found.groups:
        print("nowhere was there more than the last operator of what was asked for" if pattern else "no rewrite nearly happened")


def _fired(fired: Sequence[Fired], about: str) -> None:
    """A line for each pass that did something, or that is asked about."""
    rows = []
    for f in fired:
        if f.outcome.rewrites or f.outcome.name == about:
            rules = ", ".join(f"{rule} ×{count}" for rule, count in list(f.rules.items())[:3])
            more = f", and {len(f.rules) - 3} more" if len(f.rules) > 3 else ""
            rows.append(
                [f.outcome.text, f.outcome.rewrites, f"{f.outcome.nodes_before} -> {f.outcome.nodes_after}", rules + more]
            )
    table("", ["pass", "rewrites", "nodes", "by rule"], rows) if rows else print("no pass changed anything")


def _around(lines: Sequence[str]) -> Sequence[str]:
    at = next((i for i, line in enumerate(lines) if line.startswith("->")), 0)
    left = len(lines) - at - 1 - READERS
    return lines if left <= 0 else [*lines[: at + 1 + READERS], f"   ... and {left} more that read it"]


def _short(line: str) -> str:
    return line if len(line) <= WIDTH else f"{line[:WIDTH]} ..."


def _groups(groups: Sequence[Group], asked: bool) -> None:
    for group in groups:
        first, count = group.first, len(group.nodes)
        rule = first.rule if first.rule in ("", first.owner) else f"{first.owner}, rule {first.rule}"
        far = f"{first.matched} of {first.operators} operators matched" if first.operators else "refused"
        times = (
            f"at '{first.node}' ({first.op_type})" if count == 1 else f"{count} times, first at '{first.node}' ({first.op_type})"
        )
        print(f"\n{rule or first.owner}: {far}, {times}")
        print(f"  {first.reason}")
        print(*(f"  | {_short(line)}" for line in _around(first.lines)), sep="\n")
        if group.hint:
            print(f"  help: {group.hint}")
