"""The command `optc`: its commands live in `commands/`, one file a group; here they meet, and errors become exit codes."""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from optc.compiler.commands import about, ask, build, bundles, diff, explain, report, sensitivity
from optc.compiler.diagnostics import InternalError, OptcError
from optc.compiler.stopping import Stopped, stoppable

app = typer.Typer(
    name="optc",
    epilog="Exit codes: 0 done, 1 a bug in optc (with a reproducer), 2 wrong input, 3 contract not met, 4 refused by policy, "
    "130 or 143 stopped by Ctrl-C or SIGTERM.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

COMPILE, BUNDLES, ASK, ABOUT = "Compile", "Use a bundle", "Ask why", "What there is"
app.command("compile", rich_help_panel=COMPILE)(build.compile_)
app.command("opt", rich_help_panel=COMPILE)(build.opt)
app.command("run", rich_help_panel=BUNDLES)(bundles.run)
app.command("bench", rich_help_panel=BUNDLES)(bundles.bench)
app.command("inspect", rich_help_panel=BUNDLES)(bundles.inspect)
app.command("report", rich_help_panel=BUNDLES)(report.report)
app.command("compare", rich_help_panel=BUNDLES)(report.compare)
app.command("print", rich_help_panel=ASK)(ask.print_)
app.command("diff", rich_help_panel=ASK)(diff.diff)
app.command("explain", rich_help_panel=ASK)(explain.explain)
app.command("sensitivity", rich_help_panel=ASK)(sensitivity.sensitivity)
app.command("check", rich_help_panel=ASK)(ask.check)
app.command("bisect", rich_help_panel=ASK)(ask.bisect)
app.command("passes", rich_help_panel=ABOUT)(about.passes)
app.command("targets", rich_help_panel=ABOUT)(about.targets)
app.command("doctor", rich_help_panel=ABOUT)(about.doctor)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"optc {version('optc')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """An optimizing compiler for trained models: ONNX in, a fast native bundle out, the same model within a measured contract."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        with stoppable():
            app(args=arguments, standalone_mode=True)
    except Stopped as stopped:
        _say(str(stopped), stopped.exit_code, arguments)
    except OptcError as error:
        _fail(error, arguments)
    except BrokenPipeError:
        sys.exit(0)  # the reader of our output has seen enough
    except Exception as error:  # what nobody foresaw is a bug of ours: leave what is needed to replay it
        _fail(_unforeseen(error, arguments), arguments)


def _fail(error: OptcError, arguments: list[str]) -> None:
    _say(str(error), error.exit_code, arguments)


def _say(error: str, exit_code: int, arguments: list[str]) -> None:
    if "--json" in arguments:
        print(json.dumps({"error": error, "exit_code": exit_code}))
    print(f"error: {error}", file=sys.stderr)
    sys.exit(exit_code)


def _unforeseen(error: Exception, arguments: list[str]) -> InternalError:
    from optc.compiler import reproducer

    command = reproducer.write_command(Path(), arguments, error)
    trace = traceback.extract_tb(error.__traceback__)[-1]
    return InternalError(
        f"{type(error).__name__}: {error}",
        place=f"{Path(trace.filename).name}:{trace.lineno}",
        hint=f"this is a bug in optc; replay it with\n{command}",
    )


if __name__ == "__main__":
    main()
