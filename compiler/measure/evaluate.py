"""Metrics of a source and of what became of it, on the same samples, and whether each drop is within its budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from optc.compiler import registry
from optc.compiler.diagnostics import UserError, nearest
from optc.compiler.measure import statistics
from optc.compiler.measure.data import Dataset
from optc.compiler.measure.metrics.metric import Metric
from optc.compiler.measure.statistics import Decision, Interval
from optc.compiler.numerics import Array

Run = Callable[[Mapping[str, Array]], Mapping[str, Array]]


@dataclass(frozen=True)
class Budget:
    """How much worse a metric may become; a percentage is of its own scale or of the source's value, as the metric says."""

    amount: float
    percent: bool

    @staticmethod
    def parse(text: str) -> tuple[str, Budget]:
        """`top1=0.5%` or `perplexity=0.2`. Raises UserError."""
        name, _, amount = text.partition("=")
        try:
            value = float(amount.removesuffix("%"))
        except ValueError:
            value = -1.0
        if not name or not 0 <= value < math.inf:
            raise UserError("expected NAME=AMOUNT", place=f"--max-drop {text}", hint="--max-drop top1=0.5%")
        return name, Budget(value, amount.endswith("%"))

    @staticmethod
    def parse_all(texts: Iterable[str]) -> dict[str, Budget]:
        found: dict[str, Budget] = {}
        for text in texts:
            name, budget = Budget.parse(text)
            if name in found:
                raise UserError(f"'{name}' has two budgets", place=f"--max-drop {text}")
            found[name] = budget
        return found

    def limit(self, metric: Metric, source: float) -> float:
        if not self.percent:
            return self.amount
        return self.amount / 100 * (1.0 if metric.percent == "points" else abs(source))


@dataclass(frozen=True)
class Measured:
    """A metric of both models. `difference` is result - source with its interval. With a budget: its limit, the decision, and
    for one that is undecided about how many samples would settle it (None: no number would)."""

    metric: str
    better: str
    source: float
    result: float
    difference: Interval
    limit: float | None = None
    decision: Decision | None = None
    needed: int | None = None


@dataclass(frozen=True)
class Evaluation:
    """All metrics, on how many samples, and the digest of these."""

    samples: int
    digest: str
    measured: tuple[Measured, ...]

    @property
    def holds(self) -> bool:
        """Whether every budget is met for certain."""
        return all(m.decision in (None, "keep") for m in self.measured)

    def document(self) -> dict[str, Any]:
        """For JSON, which has no NaN and no infinity: they become null."""
        return {
            "holds": self.holds,
            "samples": self.samples,
            "data": self.digest,
            "metrics": [_finite(asdict(m)) for m in self.measured],
        }


def evaluate(
    source: Run, result: Run, data: Dataset, metrics: Iterable[str], budgets: Mapping[str, Budget], output: str | None = None
) -> Evaluation:
    """Stream `data` through both and measure every metric, also those of `budgets`, on `output` (the first one).

    Raises UserError, on the first batch at the latest, for an unknown metric or one that fits neither outputs nor labels.
    """
    chosen = [find(name) for name in dict.fromkeys([*metrics, *budgets])]
    records: dict[str, tuple[list[Array], list[Array]]] = {m.name: ([], []) for m in chosen}
    for number, batch in enumerate(data):
        theirs = source(batch.feeds)
        name = output or next(iter(theirs))
        before, labels = _output(theirs, name, "source"), None if batch.labels is None else np.atleast_1d(batch.labels)
        rows = len(labels) if labels is not None else len(np.atleast_1d(next(iter(batch.feeds.values()))))
        if before.ndim == 0 or len(before) != rows:
            held = f"output '{name}' is of shape {list(before.shape)}, the samples are {rows}"
            raise UserError(held, hint="metrics need one row a sample; another output: --output NAME")
        for metric in chosen if number == 0 else ():
            with _about(metric):
                _check_labels(metric, before, labels, data)
                metric.records(before, _truth(metric, before, labels))
        after = _output(result(batch.feeds), name, "result")
        if before.shape != after.shape:
            raise UserError(f"output '{name}' is {list(before.shape)} in the source, {list(after.shape)} in the result")
        for metric in chosen:
            with _about(metric):
                for values, model in zip((before, after), records[metric.name], strict=True):
                    model.append(metric.records(values, _truth(metric, before, labels)))
    joined = {m: (np.concatenate(records[m.name][0]), np.concatenate(records[m.name][1])) for m in chosen}
    measured = tuple(_measured(m, *joined[m], budgets.get(m.name)) for m in chosen)
    return Evaluation(len(joined[chosen[0]][0]), data.digest, measured)


def find(name: str) -> Metric:
    """The metric of a name, built in or from an entry point."""
    if name not in registry.names("metric"):
        raise UserError(f"unknown metric '{name}'", place="--metric", hint=nearest(name, registry.names("metric")))
    found: Metric = registry.find("metric", name)
    return found


def _measured(metric: Metric, before: Array, after: Array, budget: Budget | None) -> Measured:
    source, result = metric.of(before), metric.of(after)
    if metric.observed:
        difference = result - source
        interval = Interval(difference, difference, difference, 1.0, "these samples alone")
    elif metric.binary:
        interval = statistics.binary(before, after)
    else:
        interval = statistics.bootstrap(before, after, metric.value, metric.reach)
    if budget is None:
        return Measured(metric.name, metric.better, source, result, interval)
    limit, harm = budget.limit(metric, source), interval if metric.better == "lower" else -interval
    decision = statistics.decide(harm, limit)
    needed = statistics.samples_needed(limit, _discordance(harm, before, after), harm.value) if decision == "undecided" else None
    return Measured(metric.name, metric.better, source, result, interval, limit, decision, needed)


def _discordance(harm: Interval, before: Array, after: Array) -> float:
    """The mean square of the paired differences: counted where records are the values, else what the interval's width implies."""
    if before.shape[1] == 1:
        return float(np.mean((before - after) ** 2))
    width = harm.high - harm.low
    deviation = width / 2 / NormalDist().inv_cdf(0.5 + harm.confidence / 2)
    return len(before) * deviation**2 + harm.value**2 if math.isfinite(width) else 0.0


def _truth(metric: Metric, source: Array, labels: Array | None) -> Array:
    if metric.truth == "source":
        return source
    if labels is None:
        hint = "--labels NAME says which array of the data holds them; agreement, relative-l2, cosine, kl, worst-l2 need none"
        raise UserError("it needs labels, the data have none", hint=hint)
    return labels


def _check_labels(metric: Metric, output: Array, labels: Array | None, data: Dataset) -> None:
    """Raise UserError for labels of any sample that no output can mean."""
    low, high, classes = data.seen.low, data.seen.high, output.shape[-1]
    if metric.truth == "source" or metric.labels == "any" or low is None or high is None:
        return
    if not data.seen.whole:
        raise UserError("it needs labels that are whole numbers, some are fractions")
    if metric.labels == "classes" and low < 0:
        raise UserError(f"the labels go down to {low:.0f}, classes are numbered from 0")
    if output.dtype.kind not in "iu" and high >= classes:
        raise UserError(f"the labels go up to {high:.0f}, the output has {classes} {metric.labels}, numbered from 0")


def _output(outputs: Mapping[str, Array], name: str, model: str) -> Array:
    if name not in outputs:
        raise UserError(f"the {model} has no output '{name}'", hint=nearest(name, outputs))
    return outputs[name]


@contextmanager
def _about(metric: Metric) -> Iterator[None]:
    """Say which metric did not fit."""
    try:
        yield
    except UserError as error:
        raise UserError(f"metric '{metric.name}' does not fit: {error.message}", place=error.place, hint=error.hint) from error


def _finite(document: Any) -> Any:
    if isinstance(document, dict):
        return {key: _finite(value) for key, value in document.items()}
    return None if isinstance(document, float) and not math.isfinite(document) else document
