"""Metrics of a source and of what became of it, on the same samples, and whether each drop is within its budget.

A budget holds where it holds for all samples together and for those of every slice: a mean hides the class that was ruined.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np

from optc.compiler import registry
from optc.compiler.diagnostics import UserError, nearest
from optc.compiler.measure import statistics
from optc.compiler.measure.budgets import Budget, check_enough
from optc.compiler.measure.data.generated import Stream
from optc.compiler.measure.data.part import Batch
from optc.compiler.measure.metrics import BY_SOURCE
from optc.compiler.measure.metrics.metric import Metric
from optc.compiler.measure.slices import SliceMeasured, Worst, WorstSample, rows_of
from optc.compiler.measure.statistics import Decision, Interval
from optc.compiler.numerics import Array

__all__ = [
    "Budget",
    "Evaluation",
    "Measured",
    "ResultError",
    "Run",
    "SliceMeasured",
    "WorstSample",
    "check_enough",
    "check_fit",
    "check_source",
    "evaluate",
    "evaluate_all",
    "find",
    "finite",
    "judge",
]

_IGNORED = {"maps": "where labels are negative any answer is right", "tokens": "negative labels are padding"}
_WORST_FIRST: tuple[Decision, ...] = ("reject", "undecided", "keep")
Run = Callable[[Mapping[str, Array]], Mapping[str, Array]]


class ResultError(UserError):
    """A metric that fits the source cannot be told of a result: of what a pass made that is no wrong input, but the pass."""


@dataclass(frozen=True)
class Measured:
    """A metric of both models. `difference` is result - source with its interval. With a budget: its limit, the decision, and
    for one that is undecided about how many samples would settle it (None: no number would). `decision` is the worst of that on
    all samples (`overall`) and those on the slices; `needed` speaks of all samples."""

    metric: str
    better: str
    source: float
    result: float
    difference: Interval
    limit: float | None = None
    decision: Decision | None = None
    needed: int | None = None
    overall: Decision | None = None
    slices: tuple[SliceMeasured, ...] = ()

    @property
    def harm(self) -> Interval:
        """How much worse the result is."""
        return self.difference if self.better == "lower" else -self.difference

    @property
    def worst(self) -> SliceMeasured | None:
        """The slice that is judged worst, and of these the one that lost most; without a budget the one that lost most."""
        sign = 1.0 if self.better == "lower" else -1.0
        known = [s for s in self.slices if not math.isnan(s.source)]
        rank = {None: -1, "keep": 0, "undecided": 1, "reject": 2}
        return max(known, key=lambda s: (rank[s.decision], _number(sign * s.difference.value)), default=None)

    def document(self) -> dict[str, Any]:
        left_out = ("overall", "slices")
        slices = [{k: v for k, v in asdict(s).items() if k not in ("limit", "needed")} for s in self.slices]
        return {**{k: v for k, v in asdict(self).items() if k not in left_out}, "slices": slices}


@dataclass(frozen=True)
class Evaluation:
    """All metrics, on how many samples, the digest of these, and those whose outputs moved most."""

    samples: int
    digest: str
    measured: tuple[Measured, ...]
    worst: tuple[WorstSample, ...] = ()

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
            "metrics": [finite(m.document()) for m in self.measured],
            "worst": [finite(asdict(w)) for w in self.worst],
        }


def evaluate(
    source: Run, result: Run, data: Stream, metrics: Iterable[str], budgets: Mapping[str, Budget], output: str | None = None
) -> Evaluation:
    """Stream `data` through both and measure every metric, also those of `budgets`, on `output` (the first one).

    Raises UserError, on the first batch at the latest, for an unknown metric or one that fits neither outputs nor labels, and
    for a budget that so few samples cannot settle.
    """
    found = evaluate_all(source, {"result": result}, data, metrics, budgets, output)["result"]
    if isinstance(found, ResultError):
        raise found
    return found


def evaluate_all(
    source: Run,
    results: Mapping[str, Run],
    data: Stream,
    metrics: Iterable[str],
    budgets: Mapping[str, Budget],
    output: str | None = None,
) -> dict[str, Evaluation | ResultError]:
    """Several results by name, each as `evaluate` does it, in one stream of the data; what cannot be measured has its error."""
    chosen = [find(name) for name in dict.fromkeys([*metrics, *budgets])]
    for metric in chosen:
        if metric.name in budgets:
            check_enough(metric, budgets[metric.name], data.samples, data.seen.slices)
    slices: list[Array] = []
    mine: dict[str, list[Array]] = {m.name: [] for m in chosen}
    found = {name: _Found(Worst(), {m.name: [] for m in chosen}) for name in results}
    for number, batch in enumerate(data):
        looked = _look(source, batch, output)
        if number == 0:
            _check_fit(chosen, looked, data)
        if batch.slices is not None:
            slices.append(batch.slices)
        for metric in chosen:
            mine[metric.name].append(_records(metric, looked.before, looked))
        for name, run in results.items():
            if found[name].failed is None:
                _add(found[name], run, batch, looked, chosen)
    parts = rows_of(np.concatenate(slices)) if slices else {}
    done: dict[str, Evaluation | ResultError] = {}
    for name, held in found.items():
        if held.failed is not None:
            done[name] = held.failed
            continue
        measured = [judge(m, *_joined(mine[m.name], held.records[m.name]), budgets.get(m.name), parts) for m in chosen]
        done[name] = Evaluation(data.samples, data.digest, tuple(measured), held.worst.found())
    return done


def check_source(
    source: Run, data: Stream, metrics: Iterable[str], budgets: Mapping[str, Budget], output: str | None = None
) -> None:
    """Measure the source by itself, in one stream of the data. Raises UserError for metrics that fit neither outputs nor labels,
    by the first batch, and for a budget of a metric that has no value there: nothing could be held against it."""
    chosen = [find(name) for name in dict.fromkeys([*metrics, *budgets])]
    mine: dict[str, list[Array]] = {m.name: [] for m in chosen}
    samples, broken, name = 0, None, output or ""
    for number, batch in enumerate(data):
        looked = _look(source, batch, output)
        if number == 0:
            _check_fit(chosen, looked, data)
        for metric in chosen:
            mine[metric.name].append(_records(metric, looked.before, looked))
        nan = _nan(looked.before)
        broken, name = samples + int(nan.argmax()) if broken is None and nan.any() else broken, looked.output
        samples += len(nan)
    for metric in (m for m in chosen if m.name in budgets):
        records, _ = _joined(mine[metric.name], mine[metric.name])
        if math.isnan(metric.of(records)):
            why = "" if broken is None else f": its output '{name}' holds NaN, first in sample {broken}"
            raise UserError(
                f"metric '{metric.name}' has no value for the source model{why}",
                place=f"--max-drop {metric.name}",
                hint="no result could be held against it: mend the samples or the model, or take another metric",
            )


def check_fit(source: Run, data: Stream, metrics: Iterable[str], output: str | None = None) -> None:
    """Raise UserError for metrics that fit neither outputs nor labels, by the first batch."""
    _check_fit([find(name) for name in metrics], _look(source, next(iter(data)), output), data)


@dataclass
class _Found:
    """Of one result: the worst samples, and records by metric; or why it cannot be measured."""

    worst: Worst
    records: dict[str, list[Array]]
    failed: ResultError | None = None


@dataclass(frozen=True)
class _Look:
    """What the source says of a batch."""

    output: str
    before: Array
    labels: Array | None


def _add(held: _Found, run: Run, batch: Batch, looked: _Look, metrics: Iterable[Metric]) -> None:
    """What a result says of a batch."""
    try:
        after = _output(run(batch.feeds), looked.output, "result")
        if looked.before.shape != after.shape:
            shapes = f"{list(looked.before.shape)} in the source, {list(after.shape)} in the result"
            raise UserError(f"output '{looked.output}' is {shapes}")
        held.worst.add(looked.before, after, batch.slices)
        for metric in metrics:
            held.records[metric.name].append(_records(metric, after, looked))
    except UserError as error:
        held.failed = ResultError(error.message, place=error.place, hint=error.hint, lines=error.lines)


def _look(source: Run, batch: Batch, output: str | None) -> _Look:
    theirs = source(batch.feeds)
    name = output or next(iter(theirs))
    before, labels = _output(theirs, name, "source"), None if batch.labels is None else np.atleast_1d(batch.labels)
    rows = len(labels) if labels is not None else len(np.atleast_1d(next(iter(batch.feeds.values()))))
    if before.ndim == 0 or len(before) != rows:
        held = f"output '{name}' is of shape {list(before.shape)}, the samples are {rows}"
        raise UserError(held, hint="name one with a row a sample: --metric-output NAME (of optc check: --output)")
    return _Look(name, before, labels)


def _check_fit(metrics: Iterable[Metric], looked: _Look, data: Stream) -> None:
    for metric in metrics:
        with _about(metric):
            _check_labels(metric, looked.before, looked.labels, data)
            metric.checked(looked.before, _truth(metric, looked.before, looked.labels))


def _records(metric: Metric, values: Array, looked: _Look) -> Array:
    with _about(metric):
        return metric.checked(values, _truth(metric, looked.before, looked.labels))


def find(name: str) -> Metric:
    """The metric of a name, built in or from an entry point, whose name it then has."""
    known = registry.names("metric")
    if name not in known:
        raise UserError(f"unknown metric '{name}'", place="--metric", hint=nearest(name, known))
    found = registry.find("metric", name)
    if not isinstance(found, Metric):
        raise UserError(f"metric '{name}' is no Metric but a {type(found).__name__}", place=known[name])
    return replace(found, name=name)


def judge(metric: Metric, before: Array, after: Array, budget: Budget | None, parts: Mapping[str, Array]) -> Measured:
    """A metric of both models by their records, on all samples and on each slice, whose rows `parts` names.

    That every slice must be kept makes a wrong `keep` no likelier, so that all intervals have the same confidence (an
    intersection-union test: R. Berger, Technometrics 24 (1982) 295-300)."""
    whole = _measured(metric, before, after, budget)
    slices = []
    for name, rows in parts.items():
        m = _measured(metric, before[rows], after[rows], budget.of_slices() if budget is not None else None)
        decision = None if math.isnan(m.source) else m.decision
        slices.append(SliceMeasured(name, len(rows), m.source, m.result, m.difference, decision, m.limit, m.needed))
    decisions = {whole.decision, *(s.decision for s in slices)}
    decision = next((d for d in _WORST_FIRST if d in decisions), None)
    return replace(whole, decision=decision, overall=whole.decision, slices=tuple(slices))


def _joined(before: list[Array], after: list[Array]) -> tuple[Array, Array]:
    """The records of all batches; where one tells of more classes, the others have none of these."""
    width = max(r.shape[1] for r in (*before, *after))
    a, b = (np.concatenate([np.pad(r, ((0, 0), (0, width - r.shape[1]))) for r in records]) for records in (before, after))
    return a, b


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
    found = Measured(metric.name, metric.better, source, result, interval, budget.limit(metric, source))
    harm, limit = found.harm, budget.limit(metric, source)
    decision = statistics.decide(harm, limit)
    needed = statistics.samples_needed(limit, _discordance(harm, before, after), harm.value) if decision == "undecided" else None
    return replace(found, decision=decision, needed=needed)


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
        hint = f"--labels NAME says which array of the data holds them; {', '.join(BY_SOURCE)} need none"
        raise UserError("it needs labels, the data have none", hint=hint)
    return labels


def _check_labels(metric: Metric, output: Array, labels: Array | None, data: Stream) -> None:
    """Raise UserError for labels of any sample that no output can mean."""
    low, high = data.seen.low, data.seen.high
    if metric.truth == "source" or metric.labels == "any" or labels is None or low is None or high is None:
        return
    if not data.seen.whole:
        raise UserError("it needs labels that are whole numbers, some are fractions")
    if metric.labels == "classes" and low < 0:
        raise UserError(f"the labels go down to {low:.0f}, classes are numbered from 0")
    classes = output.shape[-1]
    if metric.labels == "maps":  # without an axis of classes it is a mask
        classes = max(2, output.shape[1]) if output.ndim > labels.ndim else 2
    if output.dtype.kind not in "iubOUS" and high >= classes:
        said = f"the labels go up to {high:.0f}, the output has {classes} {'tokens' if metric.labels == 'tokens' else 'classes'}"
        raise UserError(f"{said}, numbered from 0", hint=_IGNORED.get(metric.labels, ""))


def _nan(output: Array) -> Array:
    """Whether there is NaN in the output of each sample."""
    if output.dtype.kind in "OUSbiu":
        return np.zeros(len(output), bool)
    return np.asarray(np.isnan(output.astype(np.float64)).reshape(len(output), -1).any(1))


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


def _number(value: float) -> float:
    return math.inf if math.isnan(value) else value


def finite(document: Any) -> Any:
    """For JSON, which has no NaN and no infinity: they become null."""
    if isinstance(document, dict):
        return {key: finite(value) for key, value in document.items()}
    if isinstance(document, list):
        return [finite(value) for value in document]
    return None if isinstance(document, float) and not math.isfinite(document) else document
