"""Running a pipeline with decisions: those that were taken earlier, or new ones, kept as they are taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from optc.compiler import decisions, ir, runner
from optc.compiler.journal import Journal, layers
from optc.compiler.pipeline import Pipeline


def optimize(
    pipeline: Pipeline, taken: Sequence[Mapping[str, Any]] | None, model: ir.Model, options: runner.Options
) -> runner.Report:
    """Run a pipeline on the model; with decisions that were taken earlier, what was kept and nothing measured."""
    if taken is None:
        return runner.run(pipeline, model, options)
    again = replace(options, check="off", skips=decisions.skips(taken))
    ran = runner.run(decisions.kept(taken, pipeline), model, again)
    return replace(ran, outcomes=decisions.outcomes(taken, pipeline, ran.outcomes))


def decide(
    pipeline: Pipeline,
    model: ir.Model,
    options: runner.Options,
    journal: Journal,
    tell: Callable[[str], None],
) -> runner.Report:
    """Run a pipeline and measure, going on where an earlier run was killed."""
    held = journal.read(pipeline)
    done = len(held.taken)
    earlier = optimize(Pipeline(pipeline.passes[:done]), held.taken, model, options)
    earlier = replace(earlier, sensitivity=layers(held))
    if done:
        tell(f"going on after {done} of {len(pipeline)} passes")

    def whole(report: runner.Report) -> runner.Report:
        swept = {**earlier.sensitivity, **{done + place: found for place, found in report.sensitivity.items()}}
        removals = earlier.removals + report.removals
        return replace(report, outcomes=earlier.outcomes + report.outcomes, removals=removals, sensitivity=swept)

    watched = replace(options, decided=lambda report: journal.write(whole(report)))
    return whole(runner.run(Pipeline(pipeline.passes[done:]), model, watched))
