"""The Python face: compile a model into a bundle, optimize it as ONNX, compare models, find a guilty rewrite."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from optc.compiler import (
    atomic,
    bundle,
    bundling,
    collector,
    inputs,
    ir,
    lineage,
    load,
    native,
    ops,
    recreate,
    runner,
    runtime,
    save,
    sources,
    values,
    watch,
)
from optc.compiler import bisect as bisection
from optc.compiler.diagnostics import UserError
from optc.compiler.instrument import Instrument, Outcome
from optc.compiler.interface import Shapes
from optc.compiler.measure import data as samples
from optc.compiler.measure import evaluate
from optc.compiler.measure import sweep as sweeping
from optc.compiler.measure.evaluate import Budget, Evaluation, Run
from optc.compiler.measure.gate import streams
from optc.compiler.measure.limits import Limits
from optc.compiler.numerics import TOLERANCE, Array, Comparison, Numerics, compare
from optc.compiler.pipeline import Pipeline
from optc.compiler.recipe import DEFAULT_PASSES, DIALECTS, Recipe, parse_shapes, parse_specialize
from optc.compiler.reference import Reference
from optc.compiler.target import Target
from optc.compiler.values import Report

__all__ = [
    "CompileResult",
    "OptResult",
    "ValueCheck",
    "bisect",
    "compare_models",
    "compare_values",
    "compile",
    "measure",
    "optimize",
    "optimized",
    "parse_shapes",
    "parse_specialize",
    "sensitivity",
    "watched",
]

Tell = Callable[[str], None]


@dataclass(frozen=True)
class CompileResult:
    """What `compile` made. `error` is the largest relative error of any output against the source on `samples` samples.

    `budgets` are those that were asked for, with what was measured and its interval (`record.Limit`); `speed` is how many times
    as fast as onnxruntime on the source it is, with the interval, where it was measured. `fallback` says how many `nodes` run in
    another engine than the target's, and their `share` of the time; None where none does. `variants` are the fast paths: `dims`,
    the largest relative error of any output against the general program's, and the `samples` that it was taken on."""

    path: Path
    target: str
    nodes_before: int
    nodes_after: int
    bytes_before: int
    bytes_after: int
    numerics: Numerics
    error: float
    samples: int
    data: str
    seconds: float
    cached: bool
    outcomes: list[Outcome] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    budgets: tuple[dict[str, Any], ...] = ()
    speed: dict[str, float] | None = None
    fallback: dict[str, Any] | None = None
    variants: tuple[dict[str, Any], ...] = ()

    @property
    def broken(self) -> list[Outcome]:
        """Passes that were rolled back."""
        return [o for o in self.outcomes if not o.kept]

    def document(self) -> dict[str, Any]:
        return {**asdict(self), "path": str(self.path), "numerics": self.numerics.value}


@dataclass(frozen=True)
class OptResult:
    """What `optimize` made, with the report of its passes."""

    path: Path
    nodes_before: int
    nodes_after: int
    bytes_before: int
    bytes_after: int
    report: runner.Report

    def document(self) -> dict[str, Any]:
        rest = {k: v for k, v in vars(self).items() if k not in ("report", "path")}
        return {"path": str(self.path), **rest, "passes": [asdict(o) for o in self.report.outcomes]}


def compile(
    model: str | Path,
    output: str | Path,
    *,
    target: str | None = None,
    level: int | None = None,
    passes: str | None = None,
    recipe: str | Path | Recipe | None = None,
    shapes: Shapes | None = None,
    specialize: Sequence[Mapping[str, int]] | None = None,
    data: str | Path | samples.Source | None = None,
    budgets: Limits | None = None,
    decisions: str | Path | None = None,
    cache: bool = True,
    keep_onnx: bool = False,
    fallback: bool | None = None,
    options: runner.Options | None = None,
    reports: Sequence[str | Path] = (),
    tell: Tell = lambda _: None,
) -> CompileResult:
    """Compile an ONNX file into the bundle `output`, checked on the target against the source model.

    `recipe` gives what the other arguments do not. `level` 3 measures kernels where analysis (2) leaves several candidates.
    With `budgets` every pass is measured and judged. `reports` are files to tell it in (.html, .xml for JUnit, .sarif, .json);
    they are written also where a budget is missed. `fallback=False`: UserError where the target refuses a node, instead of
    another engine for it inside the bundle. `specialize`: sizes of free dimensions by name, `{"N": 1, "S": 128}`; for each the
    bundle has a fast path, which calls of exactly these sizes take (see `Program`).
    Raises UserError for wrong input, ContractError where the result is not the source model within its contract or a budget is
    missed (nothing is written), InternalError with a reproducer for a bug of ours.
    """
    base = recipe if isinstance(recipe, Recipe) or recipe is None else Recipe.read(Path(recipe))
    given: dict[str, Any] = {} if base is None else vars(base).copy()
    given |= {"pipeline": Pipeline.parse(passes)} if passes is not None else {}
    given |= {"target": Target.parse(target)} if target is not None else {}
    given |= {"shapes": shapes} if shapes else {}
    given |= {"specialize": tuple(specialize)} if specialize is not None else {}
    if data is not None:
        path = data if isinstance(data, samples.Source) else Path(data)
        again = base.data if base is not None and isinstance(path, Path) else None
        given["data"] = path if isinstance(path, samples.Source) else replace(again or samples.Source(path), path=path)
    given |= {"budgets": budgets} if budgets is not None else {}
    given |= {"fallback": fallback} if fallback is not None else {}
    asked = Recipe(**given)
    asked = asked if level is None else replace(asked, target=asked.target.at_level(level))
    kept = Path(decisions) if decisions is not None else None
    files = tuple(map(Path, reports))
    job = bundling.Job(Path(model), Path(output), asked, kept, keep_onnx, options or runner.Options(), tell, files)
    keyed = asked.data is None or not asked.data.code  # what code gives has no file whose digest could be a key
    return CompileResult(**bundling.run(job, cache and keyed))


def optimize(
    model: str | Path,
    output: str | Path,
    *,
    passes: str | None = None,
    dialect: str = "standard",
    shapes: Shapes | None = None,
    data: str | Path | None = None,
    options: runner.Options | None = None,
    lineage_file: str | Path | None = None,
) -> OptResult:
    """Optimize an ONNX file into an ONNX file of plain standard operators, or (`dialect="onnxruntime"`) with those of its own.

    `lineage_file` tells where each node comes from.
    """
    output = Path(output)
    if dialect not in DIALECTS:
        raise UserError(f"no dialect '{dialect}'", place="--dialect", hint=f"there are: {', '.join(DIALECTS)}")
    if output.is_dir():
        raise UserError("the output is a folder", place=str(output), hint="give the name of an .onnx file")
    written = [f for f in (output, save.data_file(output)) if f.exists()]
    if written and any(f.samefile(g) for f in written for g in sources.files(Path(model))):
        raise UserError("the output is the source, which is never modified", place=str(output), hint="name another file")
    if lineage_file is not None:
        atomic.check_writable(Path(lineage_file))
    text = passes or ""
    if passes is None or dialect != "standard":
        text = ",".join(filter(None, (DEFAULT_PASSES if passes is None else passes, DIALECTS[dialect])))
    with collector.paused():
        source, report, before, origins = _run(Path(model), text, shapes, data, options, lineage_file is not None)
        ops.expand(source)
        after = sum(f.stat().st_size for f in save.save(source, output))
    if lineage_file is not None and origins is not None:
        lineage.write(Path(lineage_file), lineage.of(origins, source, report.removals))
    return OptResult(output, before, ir.count_nodes(source), sources.size(Path(model)), after, report)


def optimized(model: str | Path, passes: str, shapes: Shapes | None = None) -> tuple[ir.Model, runner.Report]:
    """A model after passes, and what they did; outputs are not compared."""
    source, report, *_ = _run(Path(model), passes, shapes, None, runner.Options(check="off", far=True))
    return source, report


def _run(
    path: Path,
    passes: str,
    shapes: Shapes | None,
    data: str | Path | None,
    options: runner.Options | None,
    traced: bool = False,
) -> tuple[ir.Model, runner.Report, int, lineage.Source | None]:
    pipeline = Pipeline.parse(passes)
    source = load.load(path, shapes)
    before, origins = ir.count_nodes(source), lineage.Source.of(source) if traced else None
    options = options or runner.Options()
    if data is not None:
        options = replace(options, feeds=samples.read(Path(data), source))
    return source, runner.run(pipeline, source, options), before, origins


@dataclass(frozen=True)
class ValueCheck:
    """What `compare_values` found: of the models, and of the code where the result is a bundle. `after` is the model compared."""

    graph: Report
    after: ir.Model
    code: native.Native | None = None

    @property
    def holds(self) -> bool:
        return self.graph.holds and (self.code is None or self.code.holds)


def compare_values(
    before: Path,
    after: Path | None = None,
    *,
    passes: str | None = None,
    data: Path | samples.Source | None = None,
    tolerance: float = TOLERANCE,
    saturation: float = watch.SATURATION,
) -> ValueCheck:
    """Compare two models value by value. `after`: an ONNX file, a bundle, or None for `before` itself; `passes` run on it first.

    Of a bundle the optimized model is made again (see `recreate`), and then its code is compared with that model.
    """
    if after is not None and (after / "manifest.json").is_file():
        if passes is not None:
            raise UserError("a bundle's passes have been run", place="--passes", hint="leave AFTER out to try other passes")
        made = recreate.recreate(before, after)
        feeds = _streamed(data, made.source)
        graph = values.compare_values(made.source, made.lowered, feeds, tolerance, saturation)
        return ValueCheck(graph, made.lowered, native.compare_native(made, after, feeds, tolerance))
    source = load.load(before)
    text = passes if passes is not None else "" if after is not None else DEFAULT_PASSES
    result, _ = optimized(after or before, text)
    _same_inputs(source, result, before, after or before)
    return ValueCheck(values.compare_values(source, result, _streamed(data, source), tolerance, saturation), result)


@dataclass(frozen=True)
class _Streamed:
    """The feeds of a data set, one in memory at a time."""

    dataset: samples.Dataset

    def __iter__(self) -> Iterator[dict[str, Array]]:
        return (batch.feeds for batch in self.dataset)


def _streamed(data: Path | samples.Source | None, model: ir.Model) -> values.Samples:
    if data is None:
        return inputs.generate(model)
    source = data if isinstance(data, samples.Source) else samples.Source(data)
    return _Streamed(samples.Dataset(source, model, source.batch or 0))


def compare_models(before: Path, after: Path, data: Path | samples.Source | None = None) -> tuple[Comparison, int]:
    """The worst output of two models (`after`: an ONNX file or a bundle) on the same samples, and how many there were."""
    source = load.load(before)
    feeds = samples.read(data, source) if data is not None else inputs.generate(source)
    expected, run = Reference(source).run_all(feeds), _runner(source, before, after)
    return compare(expected, [run(f) for f in feeds]), len(feeds)


def measure(
    before: Path,
    after: Path,
    data: samples.Source | None,
    metrics: Sequence[str] = (),
    max_drop: Sequence[str] = (),
    output: str | None = None,
    max_slice_drop: Sequence[str] = (),
) -> Evaluation:
    """Metrics of two models (`after`: an ONNX file or a bundle), streamed over the same samples; `max_drop`: `top1=0.5%`.

    Raises UserError for data or metrics that do not fit, before any long work.
    """
    budgets = Budget.parse_all(max_drop, max_slice_drop)
    for name in (*metrics, *budgets):
        evaluate.find(name)
    source = load.load(before)
    streamed, _ = streams(source, data)
    run = _runner(source, before, after)
    return evaluate.evaluate(Reference(source).run, run, streamed, metrics, budgets, output)


def sensitivity(
    model: str | Path,
    passes: str,
    shapes: Shapes | None = None,
    data: samples.Source | None = None,
    metric: str | None = None,
    output: str | None = None,
) -> sweeping.Swept:
    """What the last of the passes, a lossy one, does to the outputs and to a metric when it changes one layer alone."""
    return sweeping.sweep(load.load(Path(model), shapes), Pipeline.parse(passes), data, metric, output)


def _runner(source: ir.Model, before: Path, after: Path) -> Run:
    """What runs `after`, an ONNX file or a bundle whose files are verified, on feeds of `source`."""
    if (after / "manifest.json").is_file():
        bundle.verify(after)
        return runtime.load(after).run
    other = load.load(after)
    _same_inputs(source, other, before, after)
    return Reference(other).run


def _same_inputs(source: ir.Model, other: ir.Model, before: Path, after: Path) -> None:
    names = [[v.name for v in m.graph.inputs] for m in (source, other)]
    if sorted(map(str, names[0])) != sorted(map(str, names[1])):
        raise UserError(f"the models take other inputs: {names[0]} and {names[1]}", place=f"{before} and {after}")


def bisect(
    model: Path, passes: str, shapes: Shapes | None = None, data: Path | None = None, tolerance: float = 1e-4
) -> tuple[bisection.Culprit, ir.Model] | None:
    """The first rewrite after which the model's outputs differ by more than `tolerance`, and the source; None if none does."""
    pipeline, source = Pipeline.parse(passes), load.load(model, shapes)
    feeds = samples.read(data, source) if data is not None else inputs.generate(source)
    expected: list[dict[str, Array]] = Reference(source).run_all(feeds)

    def good(candidate: ir.Model) -> bool:
        return compare(expected, Reference(candidate).run_all(feeds)).meets(Numerics.REASSOCIATED, tolerance)

    final = source.clone()
    runner.run(pipeline, final, runner.Options(check="off"))
    return None if good(final) else (bisection.find(source, pipeline.passes, good), source)


def watched(options: runner.Options, *watchers: Instrument) -> runner.Options:
    """The options with more watchers."""
    return replace(options, instruments=(*options.instruments, *watchers))
