"""Which exact passes earn their place: for each the models on which it made a rewrite, its rewrites, nodes taken away, seconds.

    python -m benchmarks.passes                          all models of the zoo that are here, and a small language model's graph
    python -m benchmarks.passes minilm_l6 my.onnx

The default passes, then behind them those of each vocabulary (`--dialect`), then each alone that runs only when asked for.
A pass may take no node away and still be what lets the next one do so: 'models' tells whether it found anything at all.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks import graph, llm_graph
from benchmarks.command import run
from optc.compiler import api
from optc.compiler.instrument import Outcome
from optc.compiler.recipe import DEFAULT_PASSES, DIALECTS
from optc.compiler.testing.campaign import exact_passes


@dataclass
class Gain:
    """What one pass did, over all models and all its places in the pipelines."""

    models: set[str] = field(default_factory=set)
    rewrites: int = 0
    fewer: int = 0
    seconds: float = 0.0

    def add(self, model: str, outcome: Outcome) -> None:
        if outcome.rewrites:
            self.models.add(model)
        self.rewrites += outcome.rewrites
        self.fewer += outcome.nodes_before - outcome.nodes_after
        self.seconds += outcome.seconds


def pipelines() -> list[tuple[str, int]]:
    """Pipelines that together hold every exact pass, and how many of the first passes of each are counted elsewhere."""
    head = DEFAULT_PASSES.split(",")
    used = {*head, *(name for passes in DIALECTS.values() for name in passes.split(","))}
    asked = [name for name in exact_passes() if name not in used]
    return [(DEFAULT_PASSES, 0), *((f"{DEFAULT_PASSES},{behind}", len(head)) for behind in (*DIALECTS.values(), *asked))]


def tally(models: Mapping[str, Path], told: Console) -> dict[str, Gain]:
    """Run the pipelines on each model and add up what each pass did. Outputs are not compared: tests and `make fuzz` do that."""
    gains = {name: Gain() for name in exact_passes()}
    for model, path in models.items():
        for passes, known in pipelines():
            _, report = api.optimized(path, passes)
            for outcome in report.outcomes[known:]:
                gains[outcome.name].add(model, outcome)
        told.print(model, style="dim", markup=False)
    return gains


def show(gains: Mapping[str, Gain], models: int, told: Console) -> None:
    """The table, passes that found something on most models first, then the names of those that found nothing."""
    table = Table("pass", "models", "rewrites", "nodes fewer", "seconds", title=f"What each exact pass did on {models} models")
    for name, gain in sorted(gains.items(), key=lambda item: (-len(item[1].models), -item[1].fewer, item[0])):
        if gain.models:
            table.add_row(name, str(len(gain.models)), str(gain.rewrites), str(gain.fewer), f"{gain.seconds:.1f}")
    told.print(table)
    told.print(
        f"nothing on any of these models: {_names(name for name, gain in gains.items() if not gain.models)}", soft_wrap=True
    )


def _names(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Names in the zoo, or ONNX files; all of the zoo by default.")] = None,
) -> None:
    """Print what each exact pass did on each model."""
    told = Console(width=120)
    with tempfile.TemporaryDirectory(prefix="optc-passes-") as folder:
        models = graph.chosen_models(names, told)
        if not names:
            size = llm_graph.Size(layers=2, hidden=64, vocabulary=256)
            models["llm of 2 layers"] = llm_graph.build(Path(folder) / "llm.onnx", size)
        show(tally(models, told), len(models), told)


if __name__ == "__main__":
    run(main)
