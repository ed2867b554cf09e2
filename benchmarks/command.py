"""How the programs of this folder are run: as commands whose errors are one message and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable

import typer

from optc.compiler.diagnostics import OptcError


def run(main: Callable[..., None]) -> None:
    """Run `main` with the arguments of the command line; its annotations are the options."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    try:
        app()
    except OptcError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
