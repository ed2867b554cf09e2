"""What the commands share: options that mean the same everywhere, tables, progress, and JSON."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

Model = Annotated[Path, typer.Argument(help="An ONNX file.", show_default=False)]
Bundle = Annotated[Path, typer.Argument(help="A bundle that `optc compile` wrote.", show_default=False)]
Passes = Annotated[
    str | None,
    typer.Option(
        "--passes",
        help="Passes as text, `a,b{key=value}`; see `optc passes`.",
        show_default="the default pipeline",
        metavar="TEXT",
    ),
]
Shape = Annotated[
    list[str] | None,
    typer.Option("--shape", help="Fix or name dimensions of an input: x=1x3x224x224.", metavar="NAME=SHAPE", show_default=False),
]
Specialize = Annotated[
    list[str] | None,
    typer.Option(
        "--specialize",
        help="Add a fast path for sizes of free dimensions: N=1,S=128. Calls of other sizes run in the general program.",
        metavar="DIM=N,...",
        show_default=False,
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="Samples to check on: a file or a folder of arrays (.npz, .npy, .safetensors), rows (.parquet, .arrow) or texts "
        "(.jsonl, .csv, .txt), a folder of images or .wav sounds, or module:callable. Generated if absent.",
        show_default=False,
    ),
]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Threads to run with.", show_default="all cores")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
PrintAfter = Annotated[
    str | None,
    typer.Option("--print-ir-after", metavar="all|changed|NAME", help="Print the IR after passes.", show_default=False),
]
TimePasses = Annotated[bool, typer.Option("--time-passes", help="Print the time of each pass.")]
VerifyEach = Annotated[bool, typer.Option("--verify-each", help="Verify the model after each pass.")]
Check = Annotated[bool, typer.Option("--check", help="Compare the outputs after each pass, not once a group.")]
BisectLimit = Annotated[
    int | None, typer.Option("--bisect-limit", min=0, help="Make only the first N rewrites.", metavar="N", show_default=False)
]


def emit(document: Any) -> None:
    """The one JSON document of `--json`."""
    print(json.dumps(_finite(document), indent=2, default=str, allow_nan=False))


def _finite(document: Any) -> Any:
    """JSON has no NaN and no infinities: they become the strings that name them."""
    if isinstance(document, float):
        return document if math.isfinite(document) else str(document)
    if isinstance(document, dict):
        return {key: _finite(value) for key, value in document.items()}
    return [_finite(value) for value in document] if isinstance(document, list | tuple) else document


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table for people; numbers are aligned right."""
    from rich.console import Console
    from rich.table import Table

    cells = [[str(c) for c in row] for row in rows]
    shown = Table(title=title or None, title_justify="left", title_style="bold")
    for i, name in enumerate(columns):
        numeric = all(row[i][:1].isdigit() or row[i] in ("", "-") for row in cells)
        shown.add_column(name, justify="right" if numeric and cells else "left", overflow="fold")
    for row in cells:
        shown.add_row(*row)
    console = Console()
    console.print(shown) if console.is_terminal else Console(width=160).print(shown)


@contextmanager
def progress(quiet: bool) -> Iterator[Callable[[str], None]]:
    """A callback that shows what is being done, on a terminal only."""
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=Console(stderr=True), transient=True
    ) as bar:
        task = bar.add_task("starting")
        yield lambda text: bar.update(task, description=text)


def megabytes(size: int) -> str:
    return f"{size / 1e6:.2f} MB"
