"""`optc check --metric`: metrics of two models on the user's data, and whether they stay within budgets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from optc.compiler.commands.common import emit, table
from optc.compiler.diagnostics import ContractError, UserError
from optc.compiler.measure.metrics import BY_LABELS, BY_SOURCE

if TYPE_CHECKING:
    from optc.compiler.measure.data import Source
    from optc.compiler.measure.evaluate import Evaluation, Measured
    from optc.compiler.measure.slices import SliceMeasured

PANEL = "Metrics"
VERDICTS = {"keep": "within", "reject": "beyond"}
Labels = Annotated[
    str,
    typer.Option(
        "--labels", help="The array of the data that holds the labels.", metavar="NAME", show_default=False, rich_help_panel=PANEL
    ),
]
Slice = Annotated[
    str,
    typer.Option(
        "--slice",
        help="The array (or column) that tells kinds of samples apart: a budget must hold for each. May be the labels.",
        metavar="NAME",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]
MaxSliceDrop = Annotated[
    list[str] | None,
    typer.Option(
        "--max-slice-drop",
        help="What each slice may lose, where that is not what all samples may: top1=2%.",
        metavar="NAME=AMOUNT",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]
Metrics = Annotated[
    list[str] | None,
    typer.Option(
        "--metric",
        help=f"By labels: {', '.join(BY_LABELS)}. By the source's outputs: {', '.join(BY_SOURCE)}. "
        "Or a package's own (entry point group optc.metrics).",
        metavar="NAME",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]
MaxDrop = Annotated[
    list[str] | None,
    typer.Option(
        "--max-drop",
        help="Fail unless a metric gets worse by no more, judged on the 95 % interval: top1=0.5% (points), perplexity=1% "
        "(of the source's), relative-l2=0.01.",
        metavar="NAME=AMOUNT",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]
Output = Annotated[
    str | None,
    typer.Option("--output", help="The output to measure.", metavar="NAME", show_default="the first", rich_help_panel=PANEL),
]
Batch = Annotated[
    int | None,
    typer.Option(
        "--batch",
        min=0,
        help="The arrays' leading axis counts samples: run N at once. 0: a file is one feed.",
        metavar="N",
        show_default="the model's, or 32, with metrics; else 0",
        rich_help_panel=PANEL,
    ),
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", min=1, help="Draw N samples of the data.", metavar="N", show_default="all", rich_help_panel=PANEL),
]
Seed = Annotated[
    int | None, typer.Option("--seed", min=0, help="Draw them by this seed.", show_default="0", rich_help_panel=PANEL)
]
AllowCode = Annotated[
    bool, typer.Option("--allow-code", help="Let --data module:callable run, if you trust it.", rich_help_panel=PANEL)
]
RecipeData = Annotated[
    Path | None,
    typer.Option(
        "--recipe", help="Take the data and their preparation from a recipe.", show_default=False, rich_help_panel=PANEL
    ),
]


def source(
    data: Path | None,
    recipe: Path | None,
    labels: str,
    batch: int | None,
    limit: int | None,
    seed: int | None,
    optional: bool = False,
    slice: str = "",
    allow_code: bool = False,
) -> Source | None:
    """The data that options name, over those of a recipe; None where neither names any (an error unless `optional`)."""
    from optc.compiler.measure.data import Source
    from optc.compiler.recipe import Recipe

    base = Recipe.read(recipe).data if recipe is not None else None
    if recipe is not None and base is None and data is None and not optional:
        raise UserError("the recipe names no data", place=str(recipe), hint='[data] with path = "samples.npz"')
    given = {"labels": labels or None, "slice": slice or None, "batch": batch, "limit": limit, "seed": seed, "path": data}
    given["allow_code"] = allow_code or None  # of the command alone: a recipe has no such option
    chosen = {name: value for name, value in given.items() if value is not None}
    if base is None and data is None:
        if chosen:
            option = next(iter(chosen)).replace("_", "-")
            raise UserError(f"--{option} speaks of data, there are none", hint="--data FILE, or --recipe")
        return None
    return replace(base, **chosen) if base is not None else Source(**chosen)  # type: ignore[arg-type]


def report(
    before: Path,
    after: Path,
    data: Source | None,
    metrics: Sequence[str],
    max_drop: Sequence[str],
    output: str | None,
    json: bool,
    max_slice_drop: Sequence[str] = (),
) -> None:
    """Measure and print. Raises ContractError (with --json: exits with its code) where a budget is not surely met."""
    from optc.compiler import api
    from optc.compiler.measure.gate import why

    found = api.measure(before, after, data, metrics, max_drop, output, max_slice_drop)
    if json:
        emit(found.document())
    else:
        _print(found, generated=data is None)
    if found.holds:
        return
    broken = [m for m in found.measured if m.decision not in (None, "keep")]
    if json:
        raise typer.Exit(ContractError.exit_code)
    raise ContractError("; ".join(why(m, found.samples) for m in broken), place=f"{before} and {after}")


def _slice(m: Measured, part: SliceMeasured) -> list[str]:
    """The row of the worst slice."""
    d = part.difference
    row = [f"{part.source:.5g}", f"{part.result:.5g}", f"{d.value:+.3g} [{d.low:+.3g}, {d.high:+.3g}]"]
    limit = "" if part.limit is None else f"{part.limit:.4g}"
    return [f"  worst slice: {part.name} ({part.samples})", *row, limit, VERDICTS.get(part.decision or "", part.decision or "")]


def _print(found: Evaluation, generated: bool) -> None:
    rows = []
    for m in found.measured:
        d = m.difference
        verdict = VERDICTS.get(m.decision or "", m.decision or "")
        limit = "" if m.limit is None else f"{m.limit:.4g}"
        rows.append(
            [m.metric, f"{m.source:.5g}", f"{m.result:.5g}", f"{d.value:+.3g} [{d.low:+.3g}, {d.high:+.3g}]", limit, verdict]
        )
        rows += [_slice(m, m.worst)] if m.worst is not None else []
    table("", ["metric", "source", "result", "difference, 95 % interval", "budget", ""], rows)
    kind = "generated samples, which prove little" if generated else "samples"
    print(f"{found.samples} {kind}, sha256 {found.digest[:16]}")
