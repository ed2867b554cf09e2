"""print, check, bisect: for people who ask why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from optc.compiler.commands import measure, values
from optc.compiler.commands.common import Data, Json, Model, Passes, Shape, emit
from optc.compiler.diagnostics import ContractError, UserError

if TYPE_CHECKING:
    from optc.compiler import ir

Tolerance = Annotated[float, typer.Option("--tolerance", min=0.0, help="Largest relative error allowed.")]


def print_(
    model: Model,
    passes: Annotated[str, typer.Option("--passes", help="Run these passes first.", metavar="TEXT", show_default="none")] = "",
    shape: Shape = None,
    whole: Annotated[bool, typer.Option("--whole", help="Print every element of every weight.")] = False,
) -> None:
    """Print a model as text, after passes if you like."""
    from optc.compiler import printer

    print(printer.text(_optimized(model, passes, shape), whole=whole), end="")


def check(
    before: Annotated[Path, typer.Argument(help="The source: an ONNX file.", show_default=False)],
    after: Annotated[
        Path | None,
        typer.Argument(
            help="What became of it: an ONNX file or a bundle. With --values, BEFORE itself if absent.", show_default=False
        ),
    ] = None,
    data: Data = None,
    tolerance: Tolerance = 1e-4,
    value_by_value: values.Values = False,
    worst_rows: values.Worst = 20,
    passes: values.Passes = None,
    saturation: values.Saturation = "1%",
    metric: measure.Metrics = None,
    max_drop: measure.MaxDrop = None,
    max_slice_drop: measure.MaxSliceDrop = None,
    labels: measure.Labels = "",
    slice: measure.Slice = "",
    output: measure.Output = None,
    batch: measure.Batch = None,
    limit: measure.Limit = None,
    seed: measure.Seed = None,
    recipe: measure.RecipeData = None,
    allow_code: measure.AllowCode = False,
    json: Json = False,
) -> None:
    """Compare two models, or a bundle with its source, on the same inputs; also verify a bundle's files.

    With --metric or --max-drop: measure both on the data instead, with paired 95 % intervals. With --values: compare every value
    inside, show the first place where they part, and what holds NaN, infinities or saturates.
    """
    from optc.compiler import api
    from optc.compiler.numerics import Numerics

    source = measure.source(data, recipe, labels, batch, limit, seed, slice=slice, allow_code=allow_code)
    if passes is not None and not value_by_value:
        raise UserError("--passes goes with --values", hint=f"optc check {before} --values --passes '{passes}'")
    if value_by_value and (metric or max_drop or max_slice_drop or output):
        raise UserError("--values compares numbers, metrics are another question", hint="ask for one at a time")
    if value_by_value:
        values.report(before, after, source, passes, tolerance, saturation, worst_rows, json)
        return
    if after is None:
        raise UserError("name two models to compare", hint=f"optc check {before} AFTER, or --values [--passes TEXT]")
    if metric or max_drop or max_slice_drop:
        measure.report(before, after, source, metric or [], max_drop or [], output, json, max_slice_drop or [])
        return
    if output is not None:
        raise UserError("--output says what metrics look at", hint="name one: --metric agreement")
    worst, samples = api.compare_models(before, after, source)
    holds = worst.meets(Numerics.REASSOCIATED, tolerance)
    if json:
        emit(
            {
                "holds": holds,
                "output": worst.output,
                "relative_error": worst.error,
                "l2": worst.l2,
                "problem": worst.problem,
                "samples": samples,
            }
        )
    else:
        print(
            f"{worst}, {samples} {'generated samples' if source is None else 'samples'}, tolerance {worst.allowed(tolerance):.1e}"
        )
    if not holds and json:
        raise typer.Exit(ContractError.exit_code)  # the one document has been printed
    if not holds:
        raise ContractError(
            f"the models differ: {worst}",
            place=f"{before} and {after}",
            hint="`--values` finds the first value that differs, `optc bisect` the rewrite that is guilty",
        )


def bisect(
    model: Model, passes: Passes = None, shape: Shape = None, data: Data = None, tolerance: Tolerance = 1e-4, json: Json = False
) -> None:
    """Find the first rewrite after which a model's outputs differ."""
    from optc.compiler import api, printer
    from optc.compiler.recipe import DEFAULT_PASSES

    text = DEFAULT_PASSES if passes is None else passes
    found = api.bisect(model, text, api.parse_shapes(shape), data, tolerance)
    if found is None:
        emit({"culprit": None}) if json else print("all rewrites keep the model's outputs")
        return
    culprit, source = found
    lines = [line for n in source.graph if n.name in culprit.step.origin.sources for line in printer.neighbourhood(n)]
    if json:
        emit(
            {
                "culprit": {
                    "pass": str(culprit.owner),
                    "node": culprit.step.node,
                    "limit": culprit.limit,
                    "sources": culprit.step.origin.sources,
                }
            }
        )
        return
    at = f"node '{culprit.step.node}' ({culprit.step.op_type})"
    print(f"rewrite {culprit.limit}, by pass '{culprit.owner}' at {at}, changes the outputs")
    print("from source nodes " + ", ".join(culprit.step.origin.sources), *lines, sep="\n")
    print(f"see it: optc diff {model} --passes '{text}'; stop before it: optc opt ... --bisect-limit={culprit.limit - 1}")


def _optimized(model: Path, passes: str, shape: list[str] | None) -> ir.Model:
    from optc.compiler import api

    return api.optimized(model, passes, api.parse_shapes(shape))[0]
