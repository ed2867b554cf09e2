"""`optc check --values`: two models compared value by value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from optc.compiler.commands.common import emit, progress, table
from optc.compiler.diagnostics import ContractError, UserError

if TYPE_CHECKING:
    from optc.compiler import ir
    from optc.compiler.api import ValueCheck
    from optc.compiler.measure.data import Source
    from optc.compiler.values import Report, Row

PANEL = "Value by value"
Values = Annotated[
    bool, typer.Option("--values", help="Compare every value inside, paired by lineage and by name.", rich_help_panel=PANEL)
]
Worst = Annotated[int, typer.Option("--worst", min=0, help="Show the N worst values.", metavar="N", rich_help_panel=PANEL)]
Passes = Annotated[
    str | None,
    typer.Option(
        "--passes",
        help="Run these passes on AFTER first; without AFTER, on BEFORE.",
        metavar="TEXT",
        show_default="none; without AFTER, the default pipeline",
        rich_help_panel=PANEL,
    ),
]
Saturation = Annotated[
    str,
    typer.Option(
        "--saturation",
        help="Tell of values with a larger share of elements at the ends of their range.",
        metavar="SHARE",
        rich_help_panel=PANEL,
    ),
]


def report(
    before: Path,
    after: Path | None,
    data: Source | None,
    passes: str | None,
    tolerance: float,
    saturation: str,
    worst: int,
    json: bool,
) -> None:
    """Compare and print. Raises ContractError (with --json: exits with its code) where the models part beyond the tolerance."""
    from optc.compiler import api

    share = _share(saturation)
    with progress(json) as tell:
        tell("comparing value by value")
        found = api.compare_values(before, after, passes=passes, data=data, tolerance=tolerance, saturation=share)
    if json:
        emit(_document(found))
    else:
        _print(found, worst)
    if found.holds:
        return
    if json:
        raise typer.Exit(ContractError.exit_code)
    raise ContractError(_verdict(found), place=f"{before} and {after or 'itself after passes'}", lines=_lines(found))


def _share(text: str) -> float:
    try:
        found = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 1:
        raise UserError(f"'{text}' is no share", place="--saturation", hint="write 1% or 0.01")
    return found


def _document(found: ValueCheck) -> dict[str, Any]:
    code = found.code
    return {
        "holds": found.holds,
        **_part(found.graph, found.after),
        "code": None
        if code is None
        else {
            "outputs": _part(code.outputs, found.after),
            "inner": None if code.inner is None else _part(code.inner, found.after),
            "notes": code.notes,
        },
    }


def _part(held: Report, model: ir.Model) -> dict[str, Any]:
    first = held.first
    return {
        "samples": held.samples,
        "values": held.values,
        "unpaired": held.unpaired,
        "missing": held.missing,
        "first": None if first is None else {**asdict(first), "neighbourhood": _neighbourhood(first, model)},
        "rows": [asdict(row) for row in held.rows],
        "findings": [asdict(f) for f in held.findings],
    }


def _print(found: ValueCheck, worst: int) -> None:
    held = found.graph
    _table("the worst values", held.worst(worst))
    if held.findings:
        columns = ["what", "side", "value", "node", "operator", "share", "in the source", ""]
        shown = held.findings[: worst or None]
        rows = [[f.kind, f.side, f.value, f.node, f.op_type, _percent(f.share), _percent(f.source), f.detail] for f in shown]
        table("what to look at", columns, rows)
        if len(shown) < len(held.findings):
            print(f"and {len(held.findings) - len(shown)} more: --json tells all")
    compared = f"{len(held.rows)} of {held.values} values compared"
    unpaired = f"{held.unpaired} could not be paired, " if held.unpaired else ""
    print(f"{compared}, {unpaired}{held.samples} samples: {'they agree' if held.holds else 'they part'}")
    code = found.code
    if code is None:
        return
    print(f"the bundle's outputs {'agree with' if code.holds else 'part from'} its model's")
    if code.inner is not None and not code.inner.holds:
        _table("the worst values of the bundle's code, all of them exposed", code.inner.worst(worst))
    for note in code.notes:
        print(f"note: {note}")


def _table(title: str, rows: list[Row]) -> None:
    rows = [r for r in rows if r.problem or r.error]
    if not rows:
        return
    columns = ["value", "of the source", "node", "operator", "by", "error", "L2", ""]
    cells = [
        [
            r.value,
            r.source if r.source != r.value else "",
            r.node,
            r.op_type,
            " ".join(r.passes),
            "" if r.problem else f"{r.error:.1e}",
            "" if r.problem else f"{r.l2:.1e}",
            r.problem or ("parts first" if r.first else "parts" if r.parts else ""),
        ]
        for r in rows
    ]
    table(title, columns, cells)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.2%}"


def _parted(found: ValueCheck) -> Row | None:
    """The place to look at: in the graph, else in the code, where it could be found there."""
    if not found.graph.holds or found.code is None:
        return found.graph.first
    inner = found.code.inner
    return inner.first if inner is not None and not inner.holds else found.code.outputs.first


def _verdict(found: ValueCheck) -> str:
    row = _parted(found)
    if row is None:
        return f"outputs of the source are missing or cannot be compared: {', '.join(found.graph.missing)}"
    where = "the models part" if not found.graph.holds else "the bundle's code parts from its model"
    what = row.problem or f"relative error {row.error:.2e}, allowed {row.allowed:.1e}"
    return f"{where}, first at value '{row.value}' of node '{row.node}' ({row.op_type}): {what}"


def _lines(found: ValueCheck) -> list[str]:
    row = _parted(found)
    if row is None:
        return []
    by = f" by {', '.join(row.passes)}" if row.passes else ""
    between = [f"or at one of these, not comparable: {', '.join(row.between)}"] if row.between else []
    return [f"from source nodes {', '.join(row.sources)}{by}", *between, *_neighbourhood(row, found.after)]


def _neighbourhood(row: Row, model: ir.Model) -> list[str]:
    from optc.compiler import printer

    nodes: Mapping[str | None, ir.Node] = {n.name: n for n in model.graph}
    return printer.neighbourhood(nodes[row.node])
