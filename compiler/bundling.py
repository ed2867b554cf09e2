"""From a recipe to a bundle: optimize, let the target build, check the result against the source, and publish it."""

from __future__ import annotations

import json
import shlex
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from optc.compiler import (
    atomic,
    bundle,
    compose,
    decisions,
    elsewhere,
    inputs,
    ir,
    lineage,
    load,
    reproducer,
    runner,
    runtime,
    sources,
    specialize,
)
from optc.compiler.cache import Cache, key
from optc.compiler.check import Feeds
from optc.compiler.cores import cores
from optc.compiler.deciding import decide, optimize
from optc.compiler.diagnostics import ContractError, InternalError, OptcError, UserError
from optc.compiler.instrument import Outcome
from optc.compiler.journal import Journal
from optc.compiler.manifest import Manifest, ValueInfo
from optc.compiler.measure import data as samples
from optc.compiler.measure import finished as measured
from optc.compiler.measure import profile, record
from optc.compiler.measure.cost import Costs
from optc.compiler.measure.data.generated import Stream
from optc.compiler.measure.environment import environment
from optc.compiler.measure.finished import Finished
from optc.compiler.measure.gate import Gate, batch_size
from optc.compiler.measure.limits import Limits
from optc.compiler.measure.report import formats
from optc.compiler.numerics import TOLERANCE, Comparison, Numerics, compare
from optc.compiler.pipeline import LossyPass, Pipeline
from optc.compiler.recipe import Recipe
from optc.compiler.reference import Reference
from optc.compiler.target import Artifact, Target
from optc.compiler.variants import text

CHECKED = 64
"""Samples on which passes are compared, where the data are there to measure metrics on."""

_PROFILED = 0.5  # seconds
TOOLS = ("optc", "onnx", "onnx-ir", "numpy", "onnxruntime", "apache-tvm", "apache-tvm-ffi")


@dataclass(frozen=True)
class Job:
    """One compilation as it was asked for."""

    model: Path
    output: Path
    recipe: Recipe
    decisions: Path | None
    keep_onnx: bool
    options: runner.Options
    tell: Callable[[str], None]
    reports: tuple[Path, ...] = ()


def run(job: Job, use_cache: bool) -> dict[str, Any]:
    """Compile; the fields of a CompileResult."""
    start = time.perf_counter()
    bundle.check_destination(job.output)
    job.recipe.budgets.check()
    for file in job.reports:
        formats.of_file(file)
        _check_report(file, job.output)
    digest = sources.digest(job.model)
    store = Cache() if use_cache and job.options.feeds is None else None  # a key has no digest of arrays in memory
    wanted = key(_key_parts(job, digest)) if store else ""
    held = store.get(wanted) if store else None
    if held is not None:
        bundle.publish(held, job.output)
        _report(job, json.loads((job.output / "measurements.json").read_bytes()))
    else:
        with tempfile.TemporaryDirectory(prefix="optc-") as folder:
            built = Path(folder) / "bundle"
            journal = Journal(store.folder.parent / "runs" / f"{wanted}.json" if store else None, digest)
            try:
                _build(job, digest, built, journal)
            except ContractError:  # all has been decided, and nothing is left to go on with
                journal.done()
                raise
            if store:
                store.put(wanted, built)
            bundle.publish(built, job.output)
            journal.done()
    return {**_result(job), "seconds": time.perf_counter() - start, "cached": held is not None}


def _key_parts(job: Job, digest: str) -> dict[str, str]:
    """Everything the bytes of a bundle depend on."""
    recipe = job.recipe
    targets = [recipe.target, *map(Target.parse, recipe.target.fallbacks)]
    return {
        "source": digest,
        "recipe": recipe.absolute().to_toml(),
        "machine": json.dumps([asdict(t.capabilities()) for t in targets], default=sorted),  # sets have no order of their own
        "data": sources.data_digest(*recipe.data.files) if recipe.data else "",
        "decisions": sources.data_digest(job.decisions) if job.decisions else "",
        "keep-onnx": str(job.keep_onnx),
        "check": job.options.check,
        "bisect-limit": str(job.options.bisect_limit),
        "tools": repr(_tools()),
        "code": sources.code_digest([*map(type, targets), *map(type, recipe.pipeline)]),
    }


def _tools() -> dict[str, str]:
    return {name: version(name) for name in TOOLS}


def _build(job: Job, digest: str, path: Path, journal: Journal) -> None:
    """Compile into the folder `path`. What is not the source model within its contract raises and leaves nothing."""
    with tempfile.TemporaryDirectory(prefix="optc-") as folder:
        _build_in(job, digest, path, journal, Path(folder))


def _build_in(job: Job, digest: str, path: Path, journal: Journal, scratch: Path) -> None:
    recipe, tell = job.recipe, job.tell
    tell("reading the model")
    model = load.load(job.model, recipe.shapes)
    before, source = ir.count_nodes(model), lineage.Source.of(model)
    inputs_, outputs = (tuple(ValueInfo.of(v) for v in part) for part in (model.graph.inputs, model.graph.outputs))
    draft = Manifest(digest, str(recipe.pipeline), str(recipe.target), inputs_, outputs, tools=_tools())
    asked = specialize.check(recipe.specialize, inputs_, recipe.target)
    mine, wanted_by_target = recipe.pipeline, Pipeline.parse(recipe.target.pipeline())
    earlier = decisions.read(job.decisions, digest, mine + wanted_by_target) if job.decisions is not None else None
    given: Stream | None = None
    if earlier is not None and job.decisions is not None:
        given = _replayed(job, model, earlier, job.decisions)
        job = replace(job, recipe=replace(recipe, target=recipe.target.having(earlier.choices)))
        recipe = job.recipe
    first, second = (None, None) if earlier is None else (earlier.taken[: len(mine)], earlier.taken[len(mine) :])

    def state(found: ir.Model, to: Path) -> runtime.Program:
        copy = found.clone()
        runner.run(wanted_by_target, copy, replace(job.options, check="off", instruments=()))
        bundle.write(to, draft, compose.build(recipe.target, copy, recipe.fallback))
        return runtime.load(to)

    gate = None
    if earlier is None and recipe.budgets.wanted:
        tell("measuring the source")
        costs = Costs(state, job.model, model, recipe.budgets, scratch, tell)
        gate = Gate.of(model, recipe.data, recipe.budgets, costs, recipe.seed)
    if earlier is None:
        given = gate.data if gate is not None and gate.data is not None else _given(job, model, recipe.budgets)
    feeds = _feeds(job, model, given)
    asked = specialize.sampled(asked, model, feeds if given is not None or job.options.feeds is not None else (), recipe.seed)
    options = replace(job.options, feeds=feeds, gate=gate)
    expected = Reference(model).run_all(feeds)
    ran = optimize(mine, first, model, options) if earlier is not None else decide(mine, model, options, journal, tell)
    done = [p for o, p in zip(ran.outcomes, mine, strict=True) if o.kept and (o.rewrites or not isinstance(p, LossyPass))]
    numerics = runner.contract(done)
    lowered = model.clone()
    targeted = optimize(wanted_by_target, second, lowered, replace(options, gate=None))
    outcomes = ran.outcomes + targeted.outcomes
    tell(f"building for {recipe.target}")
    artifact = _artifact(recipe, lowered, job.options.reproducers)
    if asked:
        exact = Pipeline(tuple(p for p in done if not isinstance(p, LossyPass)))
        artifact = specialize.joined(artifact, [_variant(job, one, model, exact) for one in asked])
    wanted = Reference(model).run_all(feeds) if numerics is Numerics.LOSSY else expected
    passes = [{k: v for k, v in asdict(o).items() if k not in ("seconds", "measured")} for o in outcomes]
    contracts = {"numerics": numerics.value, "tolerance": TOLERANCE, "passes": passes}
    draft = replace(draft, contracts=contracts, nodes={"before": before, "after": ir.count_nodes(model)})
    tell("checking against the source")
    trial = scratch / "trial"
    bundle.write(trial, draft, artifact)
    program = runtime.load(trial)
    general = program.only(None)
    actual = [general.run(f) for f in feeds]
    _hold(compare(wanted, actual), recipe.target)
    for other in recipe.target.stand_ins():
        with other:
            once = runtime.load(trial).only(None)
            _hold(compare(wanted, [once.run(f) for f in feeds]), recipe.target)
    if asked:
        draft = replace(draft, contracts={**contracts, "variants": specialize.hold(program, asked)})
    evidence: Mapping[str, Any]
    missed: list[str] = []
    if earlier is not None:
        evidence = earlier.evidence
    else:
        finished = measured.measure(job.model, model, general, recipe.budgets, gate, tell)
        missed = finished.missed
        worst = record.against_source(compare(expected, actual), _samples(feeds, recipe))
        swept = gate.few.samples if gate is not None and gate.few is not None else _samples(feeds, recipe)
        foreign = {"fallback": found} if (found := elsewhere.share(general, feeds[0])) else {}
        timed = _profiled(general, feeds[0]) if recipe.budgets.wanted else {}
        evidence = {
            **_about(job, digest, before, given),
            **worst,
            **_story(job, finished, ran, general, swept),
            **foreign,
            **timed,
        }
    _report(job, evidence)
    if missed:
        hint = "nothing was written: relax the budget, or other passes"
        raise ContractError("; ".join(missed), place=str(job.model), hint=hint)
    records: dict[str, bytes] = {
        "lineage.json": lineage.of(source, lowered, ran.removals + targeted.removals).to_bytes(),
        "measurements.json": _json(evidence),
        "decisions.json": decisions.to_bytes(digest, outcomes, evidence, artifact.choices),
        "recipe.toml": recipe.absolute().to_toml().encode(),
        "report.html": formats.render(evidence, "html").encode(),
    }
    view = Target.parse("onnx").build(model) if job.keep_onnx else None
    if view is not None and view.files.keys() & artifact.files.keys():
        view = None  # the program is an ONNX file itself
    bundle.write(path, draft, artifact, records=records, view=view)


def _profiled(program: runtime.Program, feeds: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
    """Where the time of a call goes, kernel by kernel, where the target tells of kernels."""
    found = profile.of(program, feeds, _PROFILED)
    return {} if found is None else {"profile": found.document()}


def _replayed(job: Job, model: ir.Model, earlier: decisions.Decisions, file: Path) -> Stream | None:
    """The data that are given, if any. Raises UserError where budgets or data are given that the decisions were not taken for:
    replaying them measures nothing."""
    held = Recipe.parse(str(earlier.evidence.get("recipe", "")), str(file)).budgets
    if job.recipe.budgets.wanted and job.recipe.budgets != held:
        raise UserError(
            "the decisions were taken for other budgets, and with decisions nothing is measured",
            place=str(file),
            hint="leave the budgets out, to decide as it was decided; or the decisions, to measure",
        )
    given = _given(job, model, held)
    if given is not None and given.digest != dict(earlier.evidence.get("data", {})).get("sha256"):
        raise UserError(
            "the decisions were taken on other data, and with decisions nothing is measured",
            place=str(file),
            hint="leave the data out, to take the figures as they are; or the decisions, to measure on these",
        )
    return given


def _given(job: Job, model: ir.Model, budgets: Limits) -> Stream | None:
    """The data, looked through, as `budgets` take them; None where there are none."""
    data = job.recipe.data
    if data is None or job.options.feeds is not None:
        return None
    return samples.Dataset(data, model, batch_size(data, model) if _streamed(data, budgets) else data.batch or 0)


def _feeds(job: Job, model: ir.Model, given: Stream | None) -> Feeds:
    if job.options.feeds is not None:
        return job.options.feeds
    data = job.recipe.data
    if data is None or given is None:
        return inputs.generate(model, seed=job.recipe.seed)
    if not _streamed(data, job.recipe.budgets):
        return [batch.feeds for batch in given]  # calibration sets are small, or have a limit
    few = replace(data, limit=min(data.limit or CHECKED, CHECKED))  # data to measure metrics on are many, and streamed
    return [batch.feeds for batch in samples.Dataset(few, model, batch_size(data, model))]


def _streamed(data: samples.Source, budgets: Limits) -> bool:
    """Whether the data are there to measure metrics on: many samples, counted by the leading axis unless they say otherwise."""
    return bool(data.labels or budgets.metrics or budgets.max_drop)


def _samples(feeds: Feeds, recipe: Recipe) -> int:
    """How many samples feeds hold: one each, unless the data count them by the leading axis."""
    data = recipe.data
    if data is None or data.batch == 0 or (data.batch is None and not _streamed(data, recipe.budgets)):
        return len(feeds)
    return sum(len(np.atleast_1d(next(iter(feed.values())))) for feed in feeds)


def _about(job: Job, digest: str, nodes: int, given: Stream | None) -> dict[str, Any]:
    """What was compiled, on what data and where, and how to do it again."""
    recipe = job.recipe.absolute()
    data = recipe.data
    about: dict[str, Any] = {"kind": "generated", "seed": recipe.seed}
    if data is not None:
        about = {"kind": "given", "path": str(data.path), "seed": data.seed, "slice": data.slice or None}
    if given is not None:
        about |= {"samples": given.samples, "sha256": given.digest}
    flags = {"--keep-onnx": job.keep_onnx, "--check": job.options.check == "each", "--allow-code": data is not None and data.code}
    more = "".join(f" {option}" for option, used in flags.items() if used)
    return {
        "format": record.FORMAT,
        "source": {"name": job.model.name, "sha256": digest, "nodes": nodes, "bytes": sources.size(job.model)},
        "target": str(recipe.target),
        "data": about,
        "recipe": recipe.to_toml(),
        "environment": environment(_tools(), cores()),
        "command": f"optc compile {shlex.quote(job.model.name)} -o again.optc --recipe recipe.toml{more}",
    }


def _story(job: Job, finished: Finished, ran: runner.Report, program: runtime.Program, swept: int) -> dict[str, Any]:
    """Baseline, what each pass did, and the result; layers were measured alone on `swept` samples."""
    done = finished.document(program.manifest.bytes_needed, sources.size(job.model))
    lossy = {str(p) for p in job.recipe.pipeline if isinstance(p, LossyPass)}
    steps = [measured.first_step(done), *record.steps(ran.outcomes, lambda o: o.text in lossy)]
    return {**done, "steps": steps, "sensitivity": record.sensitivity(ran.sensitivity, ran.outcomes, swept)}


def _check_report(file: Path, output: Path) -> None:
    """Raise UserError, before any work, where a report could not be written in the end."""
    if output.resolve() in file.resolve().parents:
        hint = "name a place outside; the bundle has a report.html and a measurements.json of its own"
        raise UserError("a report inside the bundle, whose files are its own", place=str(file), hint=hint)
    atomic.check_writable(file)


def _report(job: Job, evidence: Mapping[str, Any]) -> None:
    """The files that were asked for, also where a budget was missed."""
    for file in job.reports:
        formats.write(formats.render(evidence, formats.of_file(file)), file)


def _artifact(recipe: Recipe, model: ir.Model, reproducers: Path) -> Artifact:
    target = recipe.target
    try:
        return compose.build(target, model, recipe.fallback)
    except OptcError:
        raise
    except Exception as error:  # a target that falls over is a bug of ours: leave what replays it
        command = reproducer.write(
            reproducers, model, f"optc compile {{model}} -o replayed.optc --target '{target}' --passes ''", error
        )
        raise InternalError(
            f"{type(error).__name__}: {error}"[:2000],
            place=f"target '{target}'",
            hint=f"this is a bug in optc; replay it with\n{command}",
        ) from error


def _variant(job: Job, sizes: specialize.Sizes, model: ir.Model, passes: Pipeline) -> specialize.Variant:
    job.tell(f"building the fast path {text(sizes.dims)}")

    def build(found: ir.Model) -> Artifact:
        return _artifact(job.recipe, found, job.options.reproducers)

    return specialize.variant(sizes, model, passes, job.recipe.target, job.options, build)


def _hold(worst: Comparison, target: Target) -> None:
    if not worst.meets(Numerics.REASSOCIATED):
        raise ContractError(
            f"the compiled model is not the source model: {worst}, allowed {worst.allowed():.1e}",
            place=f"target '{target}'",
            hint="nothing was written; `--target onnxruntime` may take it. Please report the model",
        )


def _result(job: Job) -> dict[str, Any]:
    found = bundle.read(job.output)
    noted: Mapping[str, Any] = json.loads((job.output / "measurements.json").read_bytes())
    return {
        "path": job.output,
        "target": found.target,
        "nodes_before": found.nodes["before"],
        "nodes_after": found.nodes["after"],
        "bytes_before": sources.size(job.model),
        "bytes_after": found.bytes_needed,
        "numerics": Numerics(found.contracts["numerics"]),
        "error": noted["relative_error"],
        "samples": noted["samples"],
        "budgets": tuple(noted["decision"]["limits"]),
        "data": noted["data"]["kind"],
        "speed": noted.get("speed"),
        "fallback": noted.get("fallback"),
        "variants": tuple(found.contracts.get("variants", ())),
        "outcomes": [Outcome(**{**o, "seconds": 0.0, "skipped": tuple(o["skipped"])}) for o in found.contracts["passes"]],
        "notes": tuple(found.notes),
    }


def _json(document: Any) -> bytes:
    return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()
