"""The gate: after each pass, what it did to the metrics, judged on the bound of the interval, and to the costs on the target."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from optc.compiler import ir, sensitivity
from optc.compiler.check import Feeds
from optc.compiler.measure import evaluate
from optc.compiler.measure.cost import Costs
from optc.compiler.measure.data import Dataset, Source
from optc.compiler.measure.data.dataset import DEFAULT_BATCH, fixed_batch
from optc.compiler.measure.data.generated import Generated, Stream
from optc.compiler.measure.evaluate import Budget, Evaluation, Measured, Run
from optc.compiler.measure.limits import Limits
from optc.compiler.measure.statistics import Interval
from optc.compiler.pipeline import Pass
from optc.compiler.reference import Reference
from optc.compiler.runner import Verdict
from optc.compiler.sensitivity import Drop, Layer

FEW = 1000
"""Samples on which each layer of a pass is measured alone."""


def batch_size(data: Source, model: ir.Model) -> int:
    """How many samples are fed at once."""
    return data.batch if data.batch is not None else fixed_batch(model) or DEFAULT_BATCH


def streams(model: ir.Model, data: Source | None, seed: int = 0) -> tuple[Stream, Stream]:
    """All samples, and those few of them on which many models can be measured; generated where there are none."""
    if data is None:
        generated = Generated(model, seed)
        return generated, generated
    size = batch_size(data, model)
    whole = Dataset(data, model, size)
    if whole.samples <= FEW:
        return whole, whole
    return whole, Dataset(replace(data, limit=FEW // size * size or size), model, size)


@dataclass
class Gate:
    """Refuses a pass after which a budget is not surely held, or that brings nothing. Without `data` it knows no metrics.

    `few` of the samples are what each layer alone is measured on.
    """

    source: Run
    data: Stream | None
    limits: Limits
    costs: Costs
    few: Stream | None = None

    @staticmethod
    def of(model: ir.Model, data: Source | None, limits: Limits, costs: Costs, seed: int = 0) -> Gate:
        """For a source model, which is measured. Raises UserError for metrics or data that do not fit, before any pass runs."""
        budgets = Budget.parse_all(limits.max_drop, limits.max_slice_drop)
        source, stream, few = Reference(model).run, None, None
        if limits.metrics or budgets:
            for name in (*limits.metrics, *budgets):
                evaluate.find(name)
            stream, few = streams(model, data, seed)
            for name, budget in budgets.items():
                evaluate.check_enough(evaluate.find(name), budget, stream.samples, stream.seen.slices)
            evaluate.check_source(source, stream, limits.metrics, budgets, limits.output or None)
        return Gate(source, stream, limits, costs, few)

    @property
    def budgets(self) -> Mapping[str, Budget]:
        return Budget.parse_all(self.limits.max_drop, self.limits.max_slice_drop)

    def measure(self, run: Run) -> Evaluation | None:
        """All metrics of a result; None where none is known."""
        if self.data is None:
            return None
        return evaluate.evaluate(self.source, run, self.data, self.limits.metrics, self.budgets, self.limits.output or None)

    def judge(self, model: ir.Model) -> Verdict:
        """Whether a model that a pass has changed may stay, by its metrics."""
        try:
            found = self.measure(Reference(model).run)
        except evaluate.ResultError as error:
            return Verdict(f"it cannot be measured: {error.message}")
        return Verdict() if found is None else Verdict(broken(found), {"metrics": rows(found)})

    def weigh(self, before: ir.Model, after: ir.Model, lossy: bool) -> Verdict:
        """Whether it may stay, by what it costs on the target."""
        return self.costs.weigh(before, after, lossy)

    def sweep(self, model: ir.Model, p: Pass, feeds: Feeds) -> list[Layer]:
        """The layers of a pass, those first that harm what has a budget most."""
        few = self.few
        if few is None:
            return sensitivity.sweep(model, p, feeds)
        name, output = next(iter((*self.budgets, *self.limits.metrics))), self.limits.output or None
        return sensitivity.sweep(model, p, feeds, lambda runs: drops(self.source, runs, few, name, output))


def drops(source: Run, runs: Mapping[str, Run], data: Stream, metric: str, output: str | None) -> dict[str, Drop]:
    """What each of several results loses of a metric; NaN where it cannot be measured."""
    lost: dict[str, Drop] = {}
    for key, result in evaluate.evaluate_all(source, runs, data, [metric], {}, output).items():
        harm = None if isinstance(result, evaluate.ResultError) else result.measured[0].harm
        bounds = (harm.value, harm.low, harm.high) if harm is not None else (math.nan,) * 3
        lost[key] = Drop(metric, *bounds)
    return lost


def rows(found: Evaluation) -> list[dict[str, Any]]:
    """Metrics after a step, for the record; `drop` is how much worse than the source."""
    kept = []
    for m in found.measured:
        harm = m.harm
        row = {"metric": m.metric, "value": m.result, "drop": harm.value, "low": harm.low, "high": harm.high}
        kept.append(evaluate.finite({**row, "limit": m.limit, "decision": m.decision}))
    return kept


def broken(found: Evaluation) -> str:
    """What is said of the budgets that are not surely held; '' where all are."""
    return "; ".join(why(m, found.samples) for m in found.measured if m.decision not in (None, "keep"))


def why(m: Measured, samples: int) -> str:
    """What is said of a budget that is not surely held: on all samples, or on the worst slice where that alone breaks it."""
    if m.overall != "keep" or m.worst is None:
        return _why(m.metric, m.better, m.difference, m.limit, m.overall or m.decision, samples, m.needed)
    part = m.worst
    name = f"{m.metric} of slice '{part.name}'"
    return _why(name, m.better, part.difference, part.limit, part.decision, part.samples, part.needed)


def _why(
    name: str, better: str, difference: Interval, limit: float | None, decision: str | None, samples: int, needed: int | None
) -> str:
    harm = difference if better == "lower" else -difference
    worse = f"{name} is worse by {harm.value:.3g} [{harm.low:.3g}, {harm.high:.3g}]"
    if decision == "reject":
        return f"{worse}, the budget is {limit:.3g}"
    more = f"about {needed} would do" if needed is not None else "no number would do, the drop is the budget"
    return f"{worse}: {samples} samples are too few for a budget of {limit:.3g}, {more}"
