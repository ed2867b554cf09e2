"""compile and opt: ONNX to a bundle, and ONNX to ONNX."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from optc.compiler.commands import measure
from optc.compiler.commands.common import (
    BisectLimit,
    Check,
    Data,
    Json,
    Model,
    Passes,
    PrintAfter,
    Shape,
    Specialize,
    TimePasses,
    VerifyEach,
    emit,
    megabytes,
    progress,
    table,
)
from optc.compiler.diagnostics import UserError

if TYPE_CHECKING:
    from optc.compiler.api import CompileResult, OptResult
    from optc.compiler.instrument import Outcome
    from optc.compiler.instrument import TimePasses as Timer
    from optc.compiler.measure.limits import Limits
    from optc.compiler.runner import Options, Report

BUDGETS = "Budgets"
NONE = "none"
"""An option's value that undoes what a recipe says, as in the text of passes."""


def compile_(
    model: Model,
    output: Annotated[Path, typer.Option("-o", "--output", help="The bundle to write.", show_default=False)],
    target: Annotated[
        str | None, typer.Option("--target", help="What to compile for; see `optc targets`.", show_default="cpu")
    ] = None,
    level: Annotated[
        int | None,
        typer.Option(
            "-O",
            min=2,
            max=3,
            metavar="N",
            help="2: kernels by analysis alone; 3: measure where it leaves candidates.",
            show_default="2",
        ),
    ] = None,
    passes: Passes = None,
    recipe: Annotated[Path | None, typer.Option("--recipe", help="A TOML recipe instead of options.", show_default=False)] = None,
    shape: Shape = None,
    specialize: Specialize = None,
    data: Data = None,
    labels: measure.Labels = "",
    slice: measure.Slice = "",
    batch: measure.Batch = None,
    limit: measure.Limit = None,
    seed: measure.Seed = None,
    allow_code: measure.AllowCode = False,
    metric: measure.Metrics = None,
    max_drop: measure.MaxDrop = None,
    max_slice_drop: measure.MaxSliceDrop = None,
    metric_output: Annotated[
        str | None,
        typer.Option("--metric-output", help="The output to measure.", show_default="the first", rich_help_panel=measure.PANEL),
    ] = None,
    max_latency: Annotated[
        str | None, typer.Option("--max-latency", help="p99=20ms, p50=5ms, none.", show_default=False, rich_help_panel=BUDGETS)
    ] = None,
    max_size: Annotated[
        str | None,
        typer.Option("--max-size", help="Bytes needed to run: 5MB, none.", show_default=False, rich_help_panel=BUDGETS),
    ] = None,
    max_memory: Annotated[
        str | None,
        typer.Option("--max-memory", help="Peak of a fresh process: 200MB, none.", show_default=False, rich_help_panel=BUDGETS),
    ] = None,
    min_speedup: Annotated[
        float | None,
        typer.Option(
            "--min-speedup", help="Against onnxruntime on the source; 0: none.", show_default=False, rich_help_panel=BUDGETS
        ),
    ] = None,
    measured: Annotated[
        bool | None,
        typer.Option(
            "--measure/--no-measure",
            help="Measure every pass on the target, as budgets do.",
            show_default=False,
            rich_help_panel=BUDGETS,
        ),
    ] = None,
    keep_neutral: Annotated[
        bool | None,
        typer.Option(
            "--keep-neutral/--drop-neutral",
            help="Keep lossy passes that bring nothing here.",
            show_default=False,
            rich_help_panel=BUDGETS,
        ),
    ] = None,
    report: Annotated[
        list[Path] | None,
        typer.Option(
            "--report",
            help="Tell it in a file too, also where a budget is missed: .html, .xml (JUnit), .sarif or .json.",
            metavar="FILE",
            show_default=False,
            rich_help_panel=BUDGETS,
        ),
    ] = None,
    decisions: Annotated[
        Path | None,
        typer.Option("--decisions", help="A bundle's decisions.json: decide as it did, measure nothing.", show_default=False),
    ] = None,
    cache: Annotated[
        bool, typer.Option("--cache/--no-cache", help="Take an earlier, identical compilation from the cache.")
    ] = True,
    cache_dir: Annotated[
        Path | None, typer.Option("--cache-dir", help="Where the cache is.", envvar="OPTC_CACHE", show_default="~/.cache/optc")
    ] = None,
    fallback: Annotated[
        bool,
        typer.Option("--fallback/--no-fallback", help="Run nodes that the target refuses in onnxruntime, inside the bundle."),
    ] = True,
    keep_onnx: Annotated[bool, typer.Option("--keep-onnx", help="Put the optimized model into the bundle as ONNX too.")] = False,
    json: Json = False,
    check: Check = False,
    verify_each: VerifyEach = False,
    print_ir_after: PrintAfter = None,
    time_passes: TimePasses = False,
    bisect_limit: BisectLimit = None,
) -> None:
    """Compile an ONNX model into a bundle of native code, checked against the model it came from."""
    from optc.compiler import api
    from optc.compiler.instrument import Progress
    from optc.compiler.variants import text

    if cache_dir is not None:
        os.environ["OPTC_CACHE"] = str(cache_dir)
    with progress(json) as tell:
        options, timer = _options(check, verify_each, print_ir_after, time_passes, bisect_limit)
        options = api.watched(options, Progress(tell))
        result = api.compile(
            model,
            output,
            target=target,
            level=level,
            passes=passes,
            recipe=recipe,
            shapes=api.parse_shapes(shape),
            specialize=api.parse_specialize(specialize),
            data=measure.source(data, recipe, labels, batch, limit, seed, optional=True, slice=slice, allow_code=allow_code),
            budgets=_budgets(
                recipe,
                metrics=metric,
                max_drop=max_drop,
                max_slice_drop=max_slice_drop,
                output=metric_output,
                max_latency=max_latency,
                max_size=max_size,
                max_memory=max_memory,
                min_speedup=min_speedup,
                measure=measured,
                keep_neutral=keep_neutral,
            ),
            decisions=decisions,
            cache=cache and bisect_limit is None and print_ir_after is None,
            keep_onnx=keep_onnx,
            fallback=None if fallback else False,
            options=options,
            reports=report or (),
            tell=tell,
        )
    if json:
        emit(result.document())
        return
    _time(timer)
    _warn(result.broken, (*_notes(result), *(f"'{o.text}': {o.reason}" for o in result.outcomes if o.kept and o.reason)))
    where = "from the cache" if result.cached else f"in {result.seconds:.1f} s"
    print(f"{output}: compiled for {result.target} {where}")
    print(f"  {_shrunk(result)}")
    print(f"  largest relative error against the source: {result.error:.1e} on {result.samples} {result.data} samples")
    if result.fallback is not None:
        print(f"  {fallback_line(result.fallback)}")
    for v in result.variants:
        print(f"  fast path {text(v['dims'])}: largest relative error against the general program {v['error']:.1e}")
    for b in result.budgets:
        interval = f" [{b['low']:.4g}, {b['high']:.4g}]" if b["low"] != b["high"] else ""
        most = f"{b['limit']:.4g} {b['unit']}".rstrip()
        print(f"  {b['name']} {most}: held, {b['value']:.4g}{interval}")
    if result.speed is not None:
        s = result.speed
        print(f"  speed: {s['value']:.2f} [{s['low']:.2f}, {s['high']:.2f}] times onnxruntime's on the source")
        print(f"  why and how: {output}/report.html")
    print(f"  run it: optc run {output} --random; optc bench {output} {model}")


def _notes(result: CompileResult) -> list[str]:
    """What the bundle notes, with the nodes that run elsewhere in groups where they are many; the bundle names each."""
    from optc.compiler import bundle, elsewhere

    program = bundle.read(result.path).program
    each, told = elsewhere.each(program), elsewhere.summary(program)
    where = [f"each node, where it runs and why: optc inspect {result.path}"] if told != each else []
    return [*told, *where, *(note for note in result.notes if note not in set(each))]


def fallback_line(found: Mapping[str, Any]) -> str:
    """What runs in another engine, in a line."""
    nodes = "1 node runs" if found["nodes"] == 1 else f"{found['nodes']} nodes run"
    return f"{nodes} in {found['engine']}, {found['share']:.0%} of the time"


def _budgets(recipe: Path | None, **given: Any) -> Limits:
    """The budgets that options name, over those of the recipe; `none` undoes what the recipe says."""
    from optc.compiler.measure.limits import Limits
    from optc.compiler.recipe import Recipe

    base = Recipe.read(recipe).budgets if recipe is not None else Limits()
    chosen: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items() if v is not None}
    chosen |= {k: getattr(Limits(), k) for k, v in chosen.items() if v in (NONE, (NONE,))}
    try:
        return replace(base, **chosen)
    except ValueError as error:
        raise UserError(str(error)) from error


def opt(
    model: Model,
    output: Annotated[Path, typer.Option("-o", "--output", help="The ONNX file to write.", show_default=False)],
    passes: Passes = None,
    dialect: Annotated[
        str,
        typer.Option(
            "--dialect",
            help="Whose operators: `standard`, or `onnxruntime` to use those of its own (com.microsoft), behind the passes.",
            metavar="standard|onnxruntime",
        ),
    ] = "standard",
    shape: Shape = None,
    data: Data = None,
    lineage: Annotated[
        Path | None,
        typer.Option(
            "--lineage", help="Write where each node comes from, and what was removed by which pass.", show_default=False
        ),
    ] = None,
    json: Json = False,
    check: Check = False,
    verify_each: VerifyEach = False,
    print_ir_after: PrintAfter = None,
    time_passes: TimePasses = False,
    bisect_limit: BisectLimit = None,
) -> None:
    """Optimize an ONNX model into an ONNX model of plain standard operators, or of onnxruntime's."""
    from optc.compiler import api
    from optc.compiler.instrument import Progress

    with progress(json) as tell:
        options, timer = _options(check, verify_each, print_ir_after, time_passes, bisect_limit)
        result = api.optimize(
            model,
            output,
            passes=passes,
            dialect=dialect,
            shapes=api.parse_shapes(shape),
            data=data,
            options=api.watched(options, Progress(tell)),
            lineage_file=lineage,
        )
    if json:
        emit(result.document())
        return
    _time(timer)
    _warn(result.report.broken, (f"'{o.text}': {o.reason}" for o in result.report.outcomes if o.kept and o.reason))
    _passes(result.report)
    print(f"{output}: {_shrunk(result)}")


def _shrunk(result: CompileResult | OptResult) -> str:
    sizes = f"{megabytes(result.bytes_before)} -> {megabytes(result.bytes_after)}"
    return f"nodes {result.nodes_before} -> {result.nodes_after}, {sizes}"


def _options(
    check: bool, verify_each: bool, print_after: str | None, time_passes: bool, limit: int | None
) -> tuple[Options, Timer | None]:
    from optc.compiler.instrument import Instrument, PrintIR, TimePasses
    from optc.compiler.runner import Options

    timer = TimePasses() if time_passes else None
    watchers: list[Instrument] = [w for w in (PrintIR(print_after) if print_after else None, timer) if w is not None]
    return Options(check="each" if check else "group", verify_each=verify_each, bisect_limit=limit, instruments=watchers), timer


def _time(timer: Timer | None) -> None:
    if timer is not None:
        print(timer.report(), file=sys.stderr)


def _warn(broken: list[Outcome], notes: Any) -> None:
    for outcome in broken:
        print(f"warning: rolled back '{outcome.text}': {outcome.reason}", file=sys.stderr)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def _passes(report: Report) -> None:
    rows = [
        [o.text, o.rewrites, f"{o.nodes_before} -> {o.nodes_after}", f"{o.seconds:.3f}", _verdict(o)] for o in report.outcomes
    ]
    table("", ["pass", "rewrites", "nodes", "seconds", ""], rows)


def _verdict(outcome: Outcome) -> str:
    if not outcome.kept:
        return "rolled back"
    return "" if outcome.error is None else f"relative L2 error {outcome.error:.1e}"
