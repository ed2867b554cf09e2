"""`python -m benchmarks.conformance`: run the suite, compare with the committed results or write them."""

from __future__ import annotations

import fnmatch
import sys
from typing import Annotated

import typer

from benchmarks import command
from benchmarks.conformance import drive, page, pool, results
from benchmarks.conformance.cases import Case, collect
from optc.compiler.diagnostics import UserError, nearest

ENGINES = (*drive.TARGETS, drive.ITSELF)


def main(
    engine: Annotated[list[str] | None, typer.Option(help=f"run on: {', '.join(ENGINES)} (default: all)")] = None,
    case: Annotated[list[str] | None, typer.Option(help="patterns of cases: 'test_conv*' (default: all)")] = None,
    every: Annotated[int, typer.Option(min=1, help="run each EVERYth of them only")] = 1,
    update: Annotated[bool, typer.Option(help="write the committed results and docs/conformance.md")] = False,
    workers: Annotated[int, typer.Option(min=1)] = 2,
    limit: Annotated[float, typer.Option(help="seconds for one case")] = 120.0,
    verbose: Annotated[bool, typer.Option(help="print the result of each case")] = False,
) -> None:
    """Exit code 1 where a result is another one than is committed, better or worse."""
    for name in engine or ():
        if name not in ENGINES:
            raise UserError(f"unknown engine '{name}'", hint=nearest(name, ENGINES))
    cases = collect()
    keys = [c.key for c in cases]
    chosen = [i for i, key in enumerate(keys) if not case or any(fnmatch.fnmatchcase(key, p) for p in case)][::every]
    changed = 0
    for name in engine or ENGINES:
        found = _run(cases, chosen, name, workers, limit, verbose)
        print(f"{name}: {page.summary([cases[i] for i in chosen], found)}", flush=True)
        held = results.read(results.file(name))
        if update:
            results.write(results.file(name), results.merged(held, found, keys))
            continue
        differences = results.changes(held, found, keys)
        changed += len(differences)
        for line in differences:
            print(f"  {line}")
    if update:
        _write_page(cases)
    elif changed:
        print("results changed: if they should have, write them with --update")
        sys.exit(1)


def _run(cases: list[Case], chosen: list[int], engine: str, workers: int, limit: float, verbose: bool) -> dict[str, str]:
    found: dict[int, str] = {}
    for index, result in pool.run(lambda i: drive.result(cases[i], engine), chosen, workers, limit):
        found[index] = result
        if verbose:
            print(cases[index].key, result, flush=True)
    return {cases[i].key: found[i] for i in chosen}


def _write_page(cases: list[Case]) -> None:
    """The page tells of engines whose results are complete."""
    held = {name: results.read(results.file(name)) for name in ENGINES}
    whole = {name: found for name, found in held.items() if found.keys() == {c.key for c in cases}}
    page.PAGE.write_text(page.page(cases, whole), encoding="utf-8")
    print(f"written: {page.PAGE}; engines: {', '.join(whole) or 'none'}")


if __name__ == "__main__":
    command.run(main)
