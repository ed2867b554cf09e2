"""`python -m optc.testing PASSES`: every check that a pass must pass, for its author; and the determinism of its results."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import onnx
import typer

from optc.compiler import inputs, load, save
from optc.compiler.diagnostics import OptcError, UserError, nearest
from optc.compiler.edit import Editor
from optc.compiler.testing import campaign, golden, shrink
from optc.compiler.testing.campaign import Found, Plan, Tally
from optc.compiler.testing.checks import CHECKS, Failure, Subject, examine, run

SHOWN = 5
"""Failures of so many kinds are made small and shown."""
FRESH = 60
"""Graphs whose results are compared between two processes with other hash seeds."""

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def test(
    passes: Annotated[str, typer.Argument(help="A pass or a pipeline, `a,b{key=value}`.", metavar="PASSES")],
    load: Annotated[
        list[str] | None,
        typer.Option("--load", help="A file or module with passes that no installed package registers.", metavar="FILE.py"),
    ] = None,
    graphs: Annotated[int, typer.Option("--graphs", min=0, help="Random graphs.")] = 1000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The first seed of the graphs.")] = 0,
    golden: Annotated[
        Path | None, typer.Option("--golden", help="A folder of golden cases, .txt files.", show_default=False)
    ] = None,
    update_golden: Annotated[bool, typer.Option("--update-golden", help="Write the results into the golden cases.")] = False,
    model: Annotated[list[Path] | None, typer.Option("--model", help="An ONNX file to try the passes on, too.")] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Processes.")] = 2,
    skip: Annotated[list[str] | None, typer.Option("--skip", help=f"A check to leave out: {', '.join(CHECKS)}.")] = None,
    out: Annotated[Path, typer.Option("--out", help="Where reproducers go.")] = Path("optc-failures"),
    digests: Annotated[bool, typer.Option("--digests", hidden=True)] = False,
) -> None:
    """Test passes: golden cases, given models, random graphs, and the same result in every process. Exit code 1 on failure."""
    for name in skip or ():
        if name not in CHECKS:
            raise UserError(f"no check '{name}'", place="--skip", hint=nearest(name, CHECKS))
    plan = Plan((passes,), tuple(load or ()), tuple(c for c in CHECKS if c not in (skip or ())))
    pipeline = plan.parse(passes)
    if not pipeline.passes:
        raise UserError("no pass is given", hint="python -m optc.testing canonicalize")
    plan = replace(plan, pipelines=(str(pipeline),))
    if digests:
        print("\n".join(_digests(range(seed, seed + graphs), plan)))
        return
    failures = [*(_golden(golden, plan, update_golden) if golden is not None else []), *_models(model or [], plan, out)]
    tally = campaign.run(range(seed, seed + graphs), plan, jobs)
    print(tally)
    failures += report(tally, plan, out)
    if "determinism" in plan.checks and graphs:
        failures += _fresh_processes(range(seed, seed + min(graphs, FRESH)), plan)
    if not tally.rewrites and graphs:
        print("note: no random graph has what these passes look for; give models that have it with --model")
    print(f"{len(failures)} kinds of failure" if failures else "every check passed")
    if failures:
        raise typer.Exit(1)


def report(tally: Tally, plan: Plan, out: Path) -> list[str]:
    """Show the first failure of each kind with a small model and the command that replays it; a line for each kind."""
    kinds: dict[tuple[str, str], list[Found]] = {}
    for found in tally.failures:
        kinds.setdefault((found.failure.check, _kind(found.failure.message)), []).append(found)
    for number, alike in enumerate(kinds.values()):
        first = alike[0]
        print(f"\nFAILED {first.failure}\n  {len(alike)} graphs, the first of seed {first.seed}")
        if number < SHOWN and first.failure.check not in ("load", "prefix") and "the process died" not in first.failure.message:
            print(f"  replay: {reproduce(campaign.subject(first.seed, plan), first.failure, plan, out, f'seed{first.seed}')}")
    return [f"{check}: {message}" for check, message in kinds]


def _kind(message: str) -> str:
    """A message without names and numbers."""
    return re.sub(r"'[^']*'|[0-9.]+(e[-+]\d+)?|\[[^]]*\]", "_", message)[:100]


def reproduce(subject: Subject, failure: Failure, plan: Plan, out: Path, name: str) -> str:
    """Shrink a failing model, write it, and return the command that shows the failure again."""
    pipeline = plan.parse(failure.passes)

    def fails(proto: onnx.ModelProto, feeds: shrink.Feeds) -> bool:
        found = examine(Subject(proto, feeds), pipeline.passes, (failure.check,))
        return any(f.check == failure.check for f in found.failures)

    subject.expected  # noqa: B018  # drops the feeds that the model does not take
    small, feeds = shrink.shrink(subject.proto, subject.feeds, fails)
    own = "".join(f" --load {place}" for place in plan.own)
    command = f"python -m optc.testing '{pipeline}'{own} --graphs 0 --model {{model}}"
    return shrink.write(out, f"{name}-{failure.check}", small, feeds, command)


def _golden(folder: Path, plan: Plan, update: bool) -> list[str]:
    failed = []
    names = golden.cases(folder)
    for name in names:
        path = folder / f"{name}.txt"
        case = replace(golden.Case.read(path), name=name)
        now, failures = golden.examine(case, plan.parse)
        if update:
            now.write(path)
        for failure in failures + ([] if update else golden.compare(case, now)):
            print(f"FAILED golden case {name}: {failure}")
            failed.append(f"golden: {name}")
    print(f"{len(names)} golden cases{' written' if update else ''}")
    return failed


def _models(paths: Sequence[Path], plan: Plan, out: Path) -> list[str]:
    failed = []
    for path in paths:
        proto = load.read(path)
        onnx.load_external_data_for_model(proto, str(path.parent))
        feeds = shrink.read_feeds(path) or inputs.generate(load.load(path))
        subject = Subject(proto, feeds)
        outcome = examine(subject, plan.parse(plan.pipelines[0]).passes, plan.checks)
        made = ", ".join(f"{name} {count}" for name, count in outcome.rewrites.items())
        print(f"{path}: {made or 'no'} rewrites, {'failed' if outcome.failures else 'every check passed'}")
        for failure in outcome.failures:
            print(f"FAILED {failure}")
            if proto.ByteSize() < 1 << 24 and not path.with_suffix(".npz").is_file():
                print(f"  replay: {reproduce(subject, failure, plan, out, path.stem)}")
            failed.append(f"{path}: {failure.check}")
    return failed


def _digests(seeds: range, plan: Plan) -> list[str]:
    """A line for each graph: the digest of the bytes that its result is saved as."""
    lines = []
    for seed in seeds:
        try:
            model = campaign.subject(seed, plan).loaded
            run(Editor(model), plan.parse(plan.pipelines[0]).passes)
            lines.append(f"{seed} {hashlib.sha256(save.to_bytes(model)).hexdigest()}")
        except OptcError as error:
            lines.append(f"{seed} {error.message}")
    return lines


def _fresh_processes(seeds: range, plan: Plan) -> list[str]:
    """Compare the results of two fresh processes, in which sets of texts have other orders."""
    command = [sys.executable, "-m", "optc.testing", plan.pipelines[0], "--digests", "--graphs", str(len(seeds))]
    command += ["--seed", str(seeds.start), *(part for place in plan.own for part in ("--load", place))]
    lines = []
    for value in ("1", "2"):
        done = subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": value}, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"FAILED determinism: a fresh process failed\n{done.stderr}")
            return ["determinism"]
        lines.append(done.stdout.splitlines())
    other = [a.split()[0] for a, b in zip(*lines, strict=True) if a != b]
    if other:
        print(f"FAILED determinism: {plan.pipelines[0]}: other bytes in another process, of the graphs {', '.join(other[:10])}")
        return ["determinism"]
    return []


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code: 0 every check passed, 1 a check failed, 2 the input is wrong."""
    try:
        app(args=arguments, standalone_mode=True)
    except OptcError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
