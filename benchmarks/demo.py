"""`make demo`: a real model from PyPI to native code, checked against onnxruntime and raced with it.

The model is PP-LCNet, which tells how a page of text is rotated. Nothing but its package is downloaded.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

import optc
from benchmarks import pages, zoo
from benchmarks.command import run
from benchmarks.peers import onnxruntime_runner, warn_if_busy
from optc.compiler.measure.latency import interleaved
from optc.compiler.numerics import TOLERANCE, compare


def main(
    threads: Annotated[int, typer.Option(help="Threads of both engines.")] = 2,
    seconds: Annotated[float, typer.Option(help="How long to measure latency.")] = 10.0,
) -> None:
    """Compile PP-LCNet for this CPU and print what came of it."""
    console = Console()
    model = zoo.fetch("lcnet_orientation")
    inputs = {degrees: pages.orientation_input(pages.rotated(pages.page(), degrees)) for degrees in pages.ROTATIONS}
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "lcnet.optc"
        console.print("compiling PP-LCNet (page orientation) for this CPU ...")
        result = optc.compile(model, bundle, target="cpu", cache=False)
        ours = optc.load(bundle, threads=threads)
        reference, peer = onnxruntime_runner(model, threads, optimize=False), onnxruntime_runner(model, threads)
        expected = [reference({"x": x}) for x in inputs.values()]
        actual = [ours.run({"x": x}) for x in inputs.values()]
        worst = compare(expected, actual)
        labels = {
            degrees: pages.ROTATIONS[int(np.argmax(out["fetch_name_0"]))] for degrees, out in zip(inputs, actual, strict=True)
        }

        feeds = {"x": inputs[0]}
        warn_if_busy(console)
        race = interleaved({"optc": lambda: ours.run(feeds), "onnxruntime": lambda: peer(feeds)}, seconds=seconds)

    table = Table("", "onnxruntime", "optc", title="PP-LCNet, one page of 3×224×224")
    table.add_row("nodes", str(result.nodes_before), str(result.nodes_after))
    table.add_row("size on disk", f"{result.bytes_before / 1e6:.2f} MB", f"{result.bytes_after / 1e6:.2f} MB")
    table.add_row("compiled in", "", f"{result.seconds:.1f} s")
    table.add_row("largest relative error", "", f"{worst.error:.1e}")
    medians = [f"{race.latencies[name].median_ms:.2f} ms" for name in ("onnxruntime", "optc")]
    table.add_row(f"latency, {threads} threads", *medians)
    table.add_row("speed against onnxruntime [95 %]", "1", str(race.speed("optc", against="onnxruntime")))
    for degrees, label in labels.items():
        table.add_row(f"page rotated by {degrees}°", f"{degrees}°", f"{label}°")
    console.print(table)
    if not worst.meets(result.numerics) or any(degrees != label for degrees, label in labels.items()):
        console.print(f"[red]the compiled model differs from its source ({worst}, allowed {TOLERANCE:.0e})")
        raise typer.Exit(3)


if __name__ == "__main__":
    run(main)
