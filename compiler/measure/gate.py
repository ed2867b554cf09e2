"""The gate: after each lossy pass, metrics of the result against the source on the data, judged on the bound of the interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optc.compiler import ir
from optc.compiler.measure import evaluate
from optc.compiler.measure.data import Dataset, Source
from optc.compiler.measure.data.dataset import DEFAULT_BATCH, fixed_batch
from optc.compiler.measure.evaluate import Budget, Evaluation, Measured, Run
from optc.compiler.measure.limits import Limits
from optc.compiler.measure.statistics import Interval
from optc.compiler.pipeline import LossyPass
from optc.compiler.reference import Reference


def batch_size(data: Source, model: ir.Model) -> int:
    """How many samples are fed at once."""
    return data.batch if data.batch is not None else fixed_batch(model) or DEFAULT_BATCH


@dataclass
class Gate:
    """Refuses a pass after which a budget is not surely held. `judged`: what was last measured after each pass, by its text."""

    source: Run
    data: Dataset
    limits: Limits
    judged: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @staticmethod
    def of(model: ir.Model, data: Source, limits: Limits) -> Gate:
        """For a source model. Raises UserError for metrics or data that do not fit, before any long work."""
        for name in (*limits.metrics, *Budget.parse_all(limits.max_drop, limits.max_slice_drop)):
            evaluate.find(name)
        gate = Gate(Reference(model).run, Dataset(data, model, batch_size(data, model)), limits)
        for name, budget in gate.budgets.items():
            evaluate.check_enough(evaluate.find(name), budget, gate.data.samples)
        return gate

    @property
    def budgets(self) -> Mapping[str, Budget]:
        return Budget.parse_all(self.limits.max_drop, self.limits.max_slice_drop)

    def measure(self, run: Run) -> Evaluation:
        """All metrics of a result."""
        output = self.limits.output or None
        return evaluate.evaluate(self.source, run, self.data, self.limits.metrics, self.budgets, output)

    def refuses(self, p: LossyPass, model: ir.Model) -> str:
        """Why the model must not stay as the pass left it; '' where it may."""
        found = self.measure(Reference(model).run)
        self.judged[str(p)] = rows(found)
        return broken(found)


def rows(found: Evaluation) -> list[dict[str, Any]]:
    """Metrics after a step, for the record; `drop` is how much worse than the source."""
    kept = []
    for m in found.measured:
        harm = m.difference if m.better == "lower" else -m.difference
        row = {"metric": m.metric, "value": m.result, "drop": harm.value, "low": harm.low, "high": harm.high}
        kept.append({**row, "limit": m.limit, "decision": m.decision})
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
