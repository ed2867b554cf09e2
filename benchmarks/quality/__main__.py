"""The zoo's quality figures, and what passes or a bundle do to them.

python -m benchmarks.quality                                    the source model of each entry
python -m benchmarks.quality fashion_cnn --count 1000
python -m benchmarks.quality ppocr_rec --passes "quantize-weights"
python -m benchmarks.quality lcnet_orientation --bundle lcnet.optc
python -m benchmarks.quality fashion_cnn --save data            data/fashion_cnn.npz, for `optc compile --data`
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import onnx
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import optc
from benchmarks import zoo
from benchmarks.command import run
from benchmarks.quality import SAMPLES, catalogue, figures
from benchmarks.quality.figures import Figure
from benchmarks.quality.samples import Samples
from optc.compiler import api
from optc.compiler.diagnostics import UserError
from optc.compiler.load import load
from optc.compiler.measure.evaluate import Run
from optc.compiler.measure.statistics import Interval
from optc.compiler.reference import Reference

WIDTH = 150  # of the table, also where the output is no terminal


@contextmanager
def _folder(save: Path | None) -> Iterator[Path]:
    """Where samples are written: the folder that was asked for, else one beside the cache that goes away."""
    if save is not None:
        save.mkdir(parents=True, exist_ok=True)
        yield save
        return
    zoo.cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=zoo.cache_folder()) as scratch:
        yield Path(scratch)


def figure(name: str, s: Samples, folder: Path, count: int | None, seed: int, bundle: Path | None, passes: str | None) -> Figure:
    """Make the samples in `folder`, and measure the source model and the result of passes or of a bundle, if any."""
    model, file = zoo.fetch(s.model), folder / f"{name}.npz"
    if s.wrap is not None:
        wrapped = s.wrap(onnx.load(model))
        model = folder / f"{name}.onnx"
        onnx.save(wrapped, model)
    figures.save(s, count or s.count, seed, file)
    result: Run | None = None
    if bundle is not None:
        result = optc.load(bundle).run
    elif passes is not None:
        result = Reference(api.optimized(model, passes)[0]).run
    return figures.measure(name, s, load(model), file, result)


def row(f: Figure) -> list[str]:
    """The line of the table."""
    own = f"{f.source.value:.4g} {_bounds(f.source)}" if f.source else "fidelity"
    published = "" if f.published is None else f"{f.published:g}"
    beside = (
        []
        if f.result is None or f.difference is None
        else [f"{f.result:.4g}", f"{f.difference.value:+.4g} {_bounds(f.difference)}"]
    )
    slices = ", ".join(f"{name} {value:.3g}" for name, value in f.slices.items())
    return [f.name, str(f.samples), f.metric, own, published, *beside, slices]


def _bounds(i: Interval) -> str:
    """Without any where the interval has none."""
    return f"[{i.low:.4g}, {i.high:.4g}]" if math.isfinite(i.low) and math.isfinite(i.high) else f"({i.method})"


def main(
    names: Annotated[
        list[str] | None, typer.Argument(help="Models, as the table of benchmarks.quality names them; or all.")
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="How many samples; else as many as each entry says.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="What the samples are made from.")] = 0,
    bundle: Annotated[Path | None, typer.Option(help="Measure this compiled model beside its source.")] = None,
    passes: Annotated[str | None, typer.Option(help="Measure the source after these passes beside itself.")] = None,
    save: Annotated[Path | None, typer.Option(help="Keep the samples in this folder, as NAME.npz.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one document instead of a table.")] = False,
) -> None:
    """Measure the quality of the zoo's models on data that can be had anywhere."""
    if bundle is not None and passes is not None:
        raise UserError("--bundle and --passes are both given", hint="measure one at a time")
    chosen = {own: samples for name in names or SAMPLES for own, samples in catalogue.find(name).items()}
    if bundle is not None and len(chosen) != 1:
        raise UserError("a bundle is of one model", place=f"--bundle {bundle}", hint=f"name one of {', '.join(chosen)}")
    console, missing = Console(stderr=True), False
    found = []
    with _folder(save) as folder:
        for name, samples in chosen.items():
            console.print(f"{name} ...", style="dim", highlight=False)
            try:
                found.append(figure(name, samples, folder, count, seed, bundle, passes))
            except zoo.ZooError as error:  # others can be measured without what is missing here
                missing = True
                console.print(f"{name}: {error}", style="yellow", soft_wrap=True, highlight=False, markup=False)
    _print(found, json_, bundle is not None or passes is not None)
    raise typer.Exit(2 if missing and names else 0)


def _print(found: list[Figure], as_json: bool, beside: bool) -> None:
    if as_json:
        json.dump([f.document() for f in found], sys.stdout, indent=2)
        print()
        return
    console = Console()
    console.width = max(console.width, WIDTH)
    columns = ("result", "difference [95 %]") if beside else ()
    table = Table("model", "samples", "metric", "source [95 %]", "published", *columns, "slices", title="quality of the zoo")
    for f in found:
        table.add_row(*map(escape, row(f)))
    console.print(table)
    for f in found:
        if f.note:
            console.print(f"{f.name}: {f.note}", style="dim", soft_wrap=True, highlight=False, markup=False)


if __name__ == "__main__":
    run(main)
