"""Real models compiled with real data within a budget: what was kept, what it cost and brought. One command a row:

    python -m benchmarks.budgets                                 the five models below
    python -m benchmarks.budgets fashion_cnn --keep bundles      with their reports

Each runs the default passes and then quantize-weights; the data and metrics are those of `benchmarks.quality`.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import onnx
import typer
from rich.console import Console
from rich.table import Table

from benchmarks import zoo
from benchmarks.command import run
from benchmarks.quality import catalogue, figures
from optc.compiler import api
from optc.compiler.diagnostics import ContractError, UserError, nearest
from optc.compiler.measure.data import Source, arrays
from optc.compiler.measure.limits import Limits
from optc.compiler.recipe import DEFAULT_PASSES

OLD_OPSET = "quantize-weights{per-channel=false}"
"""For models of an opset before 13, which has no scales for channels."""
WIDTH = 150


@dataclass(frozen=True)
class Case:
    """A model (by its name in `benchmarks.quality`), its target, how many samples, what it may lose, and the lossy pass."""

    samples: str
    target: str
    count: int
    max_drop: str
    max_slice_drop: str = ""
    lossy: str = "quantize-weights"


CASES = {
    "fashion_cnn": Case("fashion_cnn", "cpu", 10_000, "top1=0.5%", "top1=2%"),
    "lcnet_orientation": Case("lcnet_orientation", "cpu", 2400, "top1=1%", "top1=4%"),
    "ppocr_cls": Case("ppocr_cls", "cpu", 3000, "top1=1%", "top1=2%", OLD_OPSET),
    "ppocr_rec": Case("ppocr_rec", "onnxruntime", 600, "cer=1%", "cer=3%"),
    "minilm_l6": Case("minilm_l6-pearson", "onnxruntime", 400, "pearson=0.02"),
}


def compiled(name: str, case: Case, folder: Path) -> dict[str, Any]:
    """Compile into NAME.optc in a folder; the record, with the seconds it took. Raises ContractError where a budget is missed."""
    (samples,) = catalogue.find(case.samples).values()
    model, data = zoo.fetch(samples.model), folder / f"{name}.npz"
    if samples.wrap is not None:
        wrapped = samples.wrap(onnx.load(model))
        model = folder / f"{name}.onnx"
        onnx.save(wrapped, model)
    figures.save(samples, case.count, 0, data)
    held = arrays.read(data)
    slices = "slice" if case.max_slice_drop and "slice" in held else ""
    limits = Limits(
        max_drop=(case.max_drop,),
        max_slice_drop=(case.max_slice_drop,) if slices else (),
        output=samples.output,
    )
    output = folder / f"{name}.optc"
    source = Source(data, labels="label", slice=slices)
    done = api.compile(
        model, output, target=case.target, passes=f"{DEFAULT_PASSES},{case.lossy}", data=source, budgets=limits, cache=False,
        reports=[folder / f"{name}.html"],
    )  # fmt: skip
    record: dict[str, Any] = json.loads((output / "measurements.json").read_bytes())
    return {**record, "seconds": done.seconds}


def row(name: str, case: Case, record: dict[str, Any]) -> list[str]:
    """The line of the table."""
    (m,) = record["metrics"]
    harm, steps = next(b for b in record["decision"]["limits"] if b["name"].startswith("max-drop")), record["steps"]
    lossy = steps[-1]
    fewer = f", {len(lossy['skipped'])} layers left alone" if lossy["skipped"] else ""
    sizes = [record[key]["bytes"] / 1e6 for key in ("baseline", "result")]
    memory = [record[key]["memory_mb"] for key in ("baseline", "result")]
    speed = record["speed"]
    return [
        name,
        case.target,
        f"{record['data']['samples']:,}",
        f"{m['metric']} {m['source']:.4f} -> {m['result']:.4f}",
        f"{harm['value']:.4f} [{harm['low']:.4f}, {harm['high']:.4f}] of {harm['limit']:g}",
        ("rolled back" if not lossy["kept"] else "kept" if lossy["rewrites"] else "changed nothing") + fewer,
        f"{steps[0]['nodes']} -> {lossy['nodes']}" if "nodes" in steps[0] else str(lossy["nodes"]),
        f"{sizes[0]:.2f} -> {sizes[1]:.2f}",
        f"{memory[0]:.0f} -> {memory[1]:.0f}",
        f"{speed['value']:.2f} [{speed['low']:.2f}, {speed['high']:.2f}]",
        f"{record['seconds']:.0f}",
    ]


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
        return
    with tempfile.TemporaryDirectory() as scratch:
        yield Path(scratch)


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Models, of those above; or all.")] = None,
    keep: Annotated[Path | None, typer.Option(help="Keep data, bundles and reports in this folder.")] = None,
) -> None:
    """Compile models with data and a budget, and print what came of it."""
    for name in names or ():
        if name not in CASES:
            raise UserError(f"no case '{name}'", hint=nearest(name, CASES))
    console, missed = Console(width=WIDTH), False
    table = Table(
        "model", "target", "samples", "metric", "worse by, of the budget", "quantize-weights", "nodes", "MB", "memory MB",
        "speed", "s", title="within a budget; speed beside onnxruntime on the source, all cores",
    )  # fmt: skip
    with _folder(keep) as folder:
        for name in names or CASES:
            try:
                table.add_row(*row(name, CASES[name], compiled(name, CASES[name], folder)))
            except ContractError as error:
                missed = True
                console.print(f"{name}: {error}", markup=False, highlight=False, soft_wrap=True)
    console.print(table)
    raise typer.Exit(ContractError.exit_code if missed else 0)


if __name__ == "__main__":
    run(main)
