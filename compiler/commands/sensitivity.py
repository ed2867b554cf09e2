"""sensitivity: what a lossy pass does to the outputs and to a metric, layer by layer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from optc.compiler.commands import measure
from optc.compiler.commands.common import Data, Json, Model, Shape, emit, table
from optc.compiler.diagnostics import UserError


def sensitivity(
    model: Model,
    passes: Annotated[
        str,
        typer.Option("--passes", help="The last of these is swept, after the others: `quantize-weights`.", metavar="TEXT"),
    ],
    shape: Shape = None,
    data: Data = None,
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric", help="Measure it too, for each layer.", metavar="NAME", show_default=False, rich_help_panel=measure.PANEL
        ),
    ] = None,
    labels: measure.Labels = "",
    metric_output: measure.Output = None,
    batch: measure.Batch = None,
    limit: measure.Limit = None,
    seed: measure.Seed = None,
    recipe: measure.RecipeData = None,
    allow_code: measure.AllowCode = False,
    output: Annotated[Path | None, typer.Option("-o", help="Write a page with a picture.", show_default=False)] = None,
    json: Json = False,
) -> None:
    """Let a lossy pass change one layer alone, each in turn, and say what it does to the outputs and to a metric."""
    from optc.compiler import api
    from optc.compiler.measure import record

    if metric_output is not None and metric is None:
        raise UserError("--output says what metrics look at", hint="name one: --metric agreement")
    source = measure.source(data, recipe, labels, batch, limit, seed, allow_code=allow_code)
    swept = api.sensitivity(model, passes, api.parse_shapes(shape), source, metric, metric_output)
    rows = [record.layer(layer) for layer in swept.layers]
    document = {"pass": swept.text, "samples": swept.samples, "metric": metric, "layers": rows}
    if output is not None:
        from optc.compiler.measure.report import formats
        from optc.compiler.measure.report import sensitivity as page

        formats.write(page.render(document, model.name), output)
    if json:
        emit(document)
        return
    drop = [f"drop of {metric}, 95 % interval"] if metric else []
    lines = [
        [row["layer"], row["op"], row["elements"], f"{row['error']:.3g}"]
        + ([f"{row['drop']:+.3g} [{row['low']:+.3g}, {row['high']:+.3g}]"] if metric else [])
        for row in rows
    ]
    table(f"{swept.text}, one layer at a time", ["layer", "operator", "elements", "output error (relative L2)", *drop], lines)
    print(f"{swept.samples} {'generated ' if source is None else ''}samples")
    if output is not None:
        print(f"wrote {output}")
