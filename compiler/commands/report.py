"""report, compare: what a compilation measured, for people and for CI."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from optc.compiler.commands.common import Bundle, Json, emit, table
from optc.compiler.diagnostics import UserError

Output = Annotated[Path | None, typer.Option("-o", "--output", help="Write to this file.", show_default=False)]


def report(
    bundle: Bundle,
    output: Output = None,
    format: Annotated[
        str | None, typer.Option("--format", help="html, junit, sarif or json.", show_default="by the file's name")
    ] = None,
) -> None:
    """Tell what compiling a bundle measured and decided: a summary, a page, or JUnit XML, SARIF and JSON for CI."""
    from optc.compiler.measure.report import formats
    from optc.compiler.measure.report.read import read

    document = read(bundle)
    if output is not None:
        formats.write(formats.render(document, format or formats.of_file(output)), output)
        print(f"wrote {output}")
    elif format is None:
        _summary(document)
        print(f"the page: {bundle / 'report.html'}")
    else:
        print(formats.render(document, format), end="")


def compare(
    bundles: Annotated[list[Path], typer.Argument(help="Two or more bundles.", show_default=False)],
    output: Output = None,
    json: Json = False,
) -> None:
    """Show the measurements of bundles side by side, against the first one."""
    from optc.compiler.measure.report import compare as side_by_side
    from optc.compiler.measure.report import formats
    from optc.compiler.measure.report.read import read
    from optc.compiler.measure.report.text import NONE

    if len(bundles) < 2:
        raise UserError("nothing to compare with", place=str(bundles[0]), hint="give two or more bundles")
    if len(set(bundles)) < len(bundles):
        raise UserError("a bundle is given twice", place=" ".join(map(str, bundles)))
    found = side_by_side.compare({str(b): read(b) for b in bundles})
    if output is not None:
        formats.write(side_by_side.render(found), output)
    if json:
        emit({**found, "rows": [{k: v for k, v in r.items() if k not in ("shown", "against")} for r in found["rows"]]})
    elif output is not None:
        print(f"wrote {output}")
    else:
        for warning in found["warnings"]:
            print(f"warning: {warning}")
        rows = [
            [
                r["figure"],
                r["shown"][0],
                *(f"{v} ({a})" if a != NONE else v for v, a in zip(r["shown"][1:], r["against"], strict=True)),
            ]
            for r in found["rows"]
        ]
        table("in brackets: against the first, of metrics the difference", ["", *found["columns"]], rows)


def _summary(document: dict[str, Any]) -> None:
    from optc.compiler.measure.report import figures
    from optc.compiler.measure.report.steps import state
    from optc.compiler.measure.report.text import dig, entries, interval, word

    print(dig(document, "decision", "text") or "No decision was recorded.")
    if dig(document, "data", "kind") == "generated":
        print("note: the data were generated, which proves little")
    rows = [[r["name"], r["baseline"], r["result"], r["ratio"]] for r in figures.rows(document)]
    if rows:
        table("", ["", "baseline", "result", "ratio"], rows)
    for m in entries(document, "metrics"):
        said = f"{word(m.get('metric'))}: {interval(m.get('source'))} -> {interval(m.get('result'))}"
        print(f"{said}, difference {interval(m.get('difference'))}")
    for s in entries(document, "steps"):
        if not s.get("kept"):
            print(f"'{word(s.get('pass'))}' was {state(s)}: {s.get('reason') or 'no reason was recorded'}")
        elif s.get("skipped"):
            print(f"'{word(s.get('pass'))}' left alone: {', '.join(map(str, s['skipped']))}")
