"""A sweep over the layers of a lossy pass, by itself: what `optc sensitivity` shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from optc.compiler import ir, runner, sensitivity
from optc.compiler.diagnostics import UserError
from optc.compiler.measure import evaluate
from optc.compiler.measure.data import Source
from optc.compiler.measure.gate import drops, streams
from optc.compiler.numerics import Array
from optc.compiler.pipeline import LossyPass, Pipeline
from optc.compiler.reference import Reference
from optc.compiler.sensitivity import Drop, Layer, Run

CHECKED = 64
"""Samples on which outputs are compared."""


@dataclass(frozen=True)
class Swept:
    """The pass, its layers with the most sensitive first, and on how many samples they were measured."""

    text: str
    layers: list[Layer]
    samples: int


def sweep(
    model: ir.Model, pipeline: Pipeline, data: Source | None, metric: str | None, output: str | None = None, seed: int = 0
) -> Swept:
    """Sweep the last pass of a pipeline over the model as the others leave it (it is changed in place).

    Raises UserError where that pass is not lossy, and for data or a metric that do not fit.
    """
    *earlier, last = pipeline.passes or (None,)
    if not isinstance(last, LossyPass):
        hint = "name a lossy pass last, such as quantize-weights; `optc passes` lists them"
        raise UserError("sensitivity is of a lossy pass", place=f"--passes {pipeline}", hint=hint)
    source = Reference(model).run
    _, few = streams(model, data, seed)
    if metric is not None:
        evaluate.check_fit(source, few, [metric], output)
    runner.run(Pipeline(tuple(p for p in earlier if p is not None)), model, runner.Options(check="off"))
    feeds: list[dict[str, Array]] = []
    held = 0
    for batch in few:
        if held >= CHECKED:
            break
        feeds.append(batch.feeds)
        held += len(np.atleast_1d(next(iter(batch.feeds.values()))))

    def judge(runs: Mapping[str, Run]) -> Mapping[str, Drop]:
        return drops(source, runs, few, metric or "", output)

    layers = sensitivity.sweep(model, last, feeds, judge if metric is not None else None)
    return Swept(str(last), layers, few.samples if metric is not None else held)
