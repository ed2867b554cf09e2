"""What an optimized graph gains for those who stay on onnxruntime: the source, `optc opt`'s result in standard operators, and in
onnxruntime's vocabulary, all run by onnxruntime with all of its own optimizations, in the same rounds.

    python -m benchmarks.graph_speed                   all models of the zoo
    python -m benchmarks.graph_speed minilm_l6 --threads 1
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks import zoo
from benchmarks.command import run
from benchmarks.coverage import CASES, Case, samples
from benchmarks.peers import onnxruntime_runner, warn_if_busy
from optc.compiler import api, ir
from optc.compiler.diagnostics import UserError, nearest
from optc.compiler.load import load
from optc.compiler.measure.latency import interleaved

DIALECTS = ("standard", "onnxruntime")


def row(case: Case, folder: Path, threads: int, seconds: float) -> list[str]:
    """The line of a model: nodes of the three, and the speed of the two results beside the source."""
    source = zoo.fetch(case.name)
    files = {"source": source}
    for dialect in DIALECTS:
        files[dialect] = folder / f"{case.name}-{dialect}.onnx"
        api.optimize(source, files[dialect], dialect=dialect)
    feeds = samples(source, case, case.sizes[0])
    raced = interleaved(
        {name: partial(onnxruntime_runner(path, threads), feeds) for name, path in files.items()}, seconds=seconds
    )
    speeds = [raced.speed(dialect, against="source") for dialect in DIALECTS]
    slower = [dialect for dialect, speed in zip(DIALECTS, speeds, strict=True) if speed.high < 1]
    nodes = [str(ir.count_nodes(load(path))) for path in files.values()]
    return [case.name, *nodes, *map(str, speeds), f"slower: {', '.join(slower)}" if slower else ""]


def main(
    models: Annotated[list[str] | None, typer.Argument(help="Names of the zoo; all without.", show_default=False)] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Threads of onnxruntime.")] = 2,
    seconds: Annotated[float, typer.Option("--seconds", min=0.1, help="How long each program is measured.")] = 4.0,
) -> None:
    """Race the source and what optc makes of it under onnxruntime."""
    names = [case.name for case in CASES]
    for name in models or ():
        if name not in names:
            raise UserError(f"no model '{name}'", hint=nearest(name, names))
    console = Console()
    warn_if_busy(console)
    table = Table(title=f"Speed under onnxruntime, {threads} threads, source = 1 (median, 95 % interval)")
    for title in ("model", "nodes", "standard", "dialect", "speed of standard", "speed of dialect", ""):
        table.add_column(title)
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            if not models or case.name in models:
                cells = row(case, Path(folder), threads, seconds)
                table.add_row(*cells)
                print(" | ".join(cells), flush=True)
    console.print(table)


if __name__ == "__main__":
    run(main)
