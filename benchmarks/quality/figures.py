"""A quality figure: what the source model reaches on samples, and what a result of it does beside that on the same ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality.interval import interval
from benchmarks.quality.samples import Samples
from optc.compiler import ir
from optc.compiler.measure.data import Dataset, Source, arrays
from optc.compiler.measure.evaluate import Run, SliceMeasured, evaluate, find
from optc.compiler.measure.gate import batch_size
from optc.compiler.measure.metrics.metric import Metric
from optc.compiler.measure.statistics import Interval
from optc.compiler.numerics import Array
from optc.compiler.reference import Reference


@dataclass(frozen=True)
class Figure:
    """`source` is the source model's value with its interval, None for a metric of fidelity, which compares with that model.
    `slices`: the source's (of fidelity: the result's) value on each. `result` and `difference` are those of a result, if any."""

    name: str
    samples: int
    digest: str
    metric: str
    source: Interval | None
    published: float | None
    note: str
    slices: Mapping[str, float] = field(default_factory=dict)
    result: float | None = None
    difference: Interval | None = None

    def document(self) -> dict[str, Any]:
        """For JSON, which has no NaN and no infinity: they become null."""
        document: dict[str, Any] = _finite(asdict(self))
        return document


def measure(name: str, samples: Samples, model: ir.Model, file: Path, result: Run | None = None) -> Figure:
    """The figure of `model` on the samples in `file`, as `save` wrote them, streamed in batches through the reference executor.

    Raises UserError where samples, model or metric do not fit each other.
    """
    metric, held = find(samples.metric), arrays.read(file)
    source = Source(file, labels="label" if "label" in held else "", slice="slice" if "slice" in held else "")
    data = Dataset(source, model, batch_size(source, model))
    judged = _Judged(Reference(model).run, metric, samples.output, held.get("label"))
    found = evaluate(judged.run, result or judged.again, data, [samples.metric], {}, samples.output or None)
    (measured,) = found.measured
    fidelity = metric.truth == "source"
    return Figure(
        name,
        found.samples,
        found.digest,
        metric.name,
        None if fidelity else interval(metric, np.concatenate(judged.records)),
        samples.published,
        samples.note,
        _of_slices(measured.slices, fidelity) if result or not fidelity else {},
        measured.result if result else None,
        measured.difference if result else None,
    )


def save(samples: Samples, count: int, seed: int, file: Path) -> None:
    """Make samples and write them: inputs, `label` and `slice`, ready for `--data FILE --labels label --slice slice`."""
    np.savez(file, **samples.make(count, seed))  # type: ignore[arg-type]  # the stub takes `allow_pickle` for one of the arrays


def _of_slices(slices: Iterable[SliceMeasured], fidelity: bool) -> dict[str, float]:
    """Without those that have no value, as an area under the curve has none where one class is missing."""
    values = {s.name: s.result if fidelity else s.source for s in slices}
    return {name: value for name, value in values.items() if not math.isnan(value)}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


class _Judged:
    """The source model, each of whose batches is judged as it goes by; `again` gives the outputs of the last one."""

    def __init__(self, run: Run, metric: Metric, output: str, labels: Array | None) -> None:
        self._run, self._metric, self._output, self._labels = run, metric, output, labels
        self._last: Mapping[str, Array] = {}
        self._rows = 0
        self.records: list[Array] = []

    def run(self, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        self._last = self._run(feeds)
        if self._metric.truth == "labels" and self._labels is not None:
            values = self._last[self._output or next(iter(self._last))]
            truth = self._labels[self._rows : self._rows + len(values)]
            self.records.append(self._metric.records(values, np.asarray(truth)))
            self._rows += len(values)
        return self._last

    def again(self, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        return self._last
