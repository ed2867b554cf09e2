"""How small a graph becomes, and how fast: optc beside onnxslim, onnxsim, onnxscript's optimizer and onnxruntime.

    python -m benchmarks.graph                          every model of the zoo that is here
    python -m benchmarks.graph minilm_l6 my.onnx
    python -m benchmarks.graph --llm                    a language model of 30 layers and 170 million weights
    python -m benchmarks.graph --scale                  optc's seconds for 1,000 to 100,000 nodes, and docs/scale.svg
    python -m benchmarks.graph --external               optc's peak memory on 4 GB of external weights

Nodes are counted in the same way for all: those of the graph and of every body, local functions inlined, Constant nodes left out.
Every engine has its own process for each model and does its default, all in one call. It needs `pip install 'optc[peers]'`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks import graph_engines as engines
from benchmarks import graph_scale, llm_graph, zoo
from benchmarks.command import run
from benchmarks.peers import warn_if_busy
from benchmarks.recipes import RECIPES
from optc.compiler.diagnostics import UserError

WIDTH = 170
HIDDEN, VOCABULARY = 576, 49152
"""Of a small language model that people use."""


def rows(
    models: Mapping[str, Path], chosen: Sequence[str], timeout: float
) -> Iterator[tuple[str, int, dict[str, engines.Optimized]]]:
    """For each model its name, its nodes, and what every engine made of it."""
    for name, path in models.items():
        yield name, engines.count(path), {engine: engines.run(engine, path, timeout) for engine in chosen}


def cell(made: engines.Optimized) -> str:
    """Nodes and seconds."""
    return "failed" if made.problem else f"{made.nodes} · {made.seconds:.2f} s"


def verdict(found: Mapping[str, engines.Optimized], ours: str, theirs: Sequence[str]) -> str:
    """How `ours` compares with the best of `theirs`, in nodes; '' where either is missing."""
    counts = [found[name].nodes for name in theirs if name in found and not found[name].problem]
    if ours not in found or found[ours].problem or not counts:
        return ""
    difference = found[ours].nodes - min(counts)
    return "fewer" if difference < 0 else "as many" if not difference else f"{difference} more"


def table(models: Mapping[str, Path], chosen: Sequence[str], timeout: float, console: Console) -> None:
    """Print nodes and seconds of every engine on every model, then what is to be said of them together."""
    shown = Table("model", "source", *chosen, "optc, peers", "dialect, onnxruntime", title="nodes left · seconds")
    notes, standard, dialect = list[str](), list[str](), list[str]()
    for name, nodes, found in rows(models, chosen, timeout):
        standard.append(verdict(found, "optc", engines.PEERS))
        dialect.append(verdict(found, engines.DIALECT, ("onnxruntime",)))
        line = [name, str(nodes), *map(cell, found.values()), standard[-1], dialect[-1]]
        console.print(" | ".join(line), style="dim", soft_wrap=True, markup=False, highlight=False)
        shown.add_row(*line)
        notes += [f"{engine} on {name}: {made.problem}" for engine, made in found.items() if made.problem]
    console.print(shown)
    for told, what in (
        (standard, "standard operators, beside the best peer"),
        (dialect, "onnxruntime's, beside its extended level"),
    ):
        if known := [verdict for verdict in told if verdict]:
            good = sum("more" not in verdict for verdict in known)
            console.print(f"{what}: at most as many nodes on {good} of {len(known)} models")
    for note in notes:
        console.print(note, markup=False, soft_wrap=True)


def chosen_models(names: Sequence[str] | None, console: Console) -> dict[str, Path]:
    """Files and names of the zoo; without any, all of the zoo that can be had."""
    found: dict[str, Path] = {}
    for name in names or RECIPES:
        path = Path(name)
        if path.suffix == ".onnx":
            if not path.is_file():
                raise UserError("no such file", place=name)
            found[path.stem if path.stem not in found else name] = path
            continue
        try:
            found[name] = zoo.fetch(name)
        except zoo.ZooError as error:
            if names:
                raise
            console.print(f"{name}: {error}", style="yellow", markup=False, soft_wrap=True)
    return found


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Names in the zoo, or ONNX files; all of the zoo by default.")] = None,
    engine: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(engines.ENGINES)}; all by default.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds that an engine may take on a model.")] = 300,
    llm: Annotated[bool, typer.Option("--llm", help="A large language model's graph instead.")] = False,
    layers: Annotated[int, typer.Option(help="Layers of that graph.")] = llm_graph.Size.layers,
    hidden: Annotated[int, typer.Option(help="Width of that model.")] = HIDDEN,
    vocabulary: Annotated[int, typer.Option(help="Rows of its embedding.")] = VOCABULARY,
    scale: Annotated[bool, typer.Option("--scale", help="optc's seconds for 1,000 to 100,000 nodes.")] = False,
    largest: Annotated[int, typer.Option(help="The largest number of nodes of --scale.")] = graph_scale.SIZES[-1],
    plot: Annotated[Path, typer.Option(help="Where --scale draws: .svg or .png.")] = graph_scale.PLOT,
    external: Annotated[bool, typer.Option("--external", help="optc's peak memory on external weights.")] = False,
    gigabytes: Annotated[float, typer.Option(help="Weights of --external.")] = 4.0,
) -> None:
    """Print nodes left and seconds of optc and its peers."""
    console = Console(width=WIDTH)
    warn_if_busy(console)
    if scale:
        graph_scale.scale(largest, plot, timeout, console)
        return
    if external:
        graph_scale.external(gigabytes, timeout, console)
        return
    chosen = engine or [name for name in engines.ENGINES if name != engines.DIALECT or engines.has_dialect()]
    engines.check(chosen)
    with tempfile.TemporaryDirectory(prefix="optc-llm-") as folder:
        if llm:
            size = llm_graph.Size(layers, hidden, vocabulary=vocabulary)
            models = {f"llm of {layers} layers": llm_graph.build(Path(folder) / "llm.onnx", size)}
        else:
            models = chosen_models(names, console)
        table(models, chosen, timeout, console)


if __name__ == "__main__":
    run(main)
