"""How much worse a metric may become, and whether so many samples could show that it did not."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from statistics import NormalDist

from optc.compiler.diagnostics import UserError
from optc.compiler.measure import statistics
from optc.compiler.measure.metrics.metric import Metric


@dataclass(frozen=True)
class Budget:
    """How much worse a metric may become; a percentage is of its own scale or of the source's value, as the metric says.

    `slice` is what each slice of the data is held to; None: the same.
    """

    amount: float
    percent: bool
    slice: Budget | None = None

    @staticmethod
    def parse(text: str, option: str = "--max-drop") -> tuple[str, Budget]:
        """`top1=0.5%` or `perplexity=0.2`. Raises UserError."""
        name, _, amount = text.partition("=")
        try:
            value = float(amount.removesuffix("%"))
        except ValueError:
            value = -1.0
        if not name or not 0 <= value < math.inf:
            raise UserError("expected NAME=AMOUNT", place=f"{option} {text}", hint=f"{option} top1=0.5%")
        return name, Budget(value, amount.endswith("%"))

    @staticmethod
    def parse_all(texts: Iterable[str], slices: Iterable[str] = ()) -> dict[str, Budget]:
        """The budgets of `--max-drop` texts by metric, with those of `--max-slice-drop` texts for slices. Raises UserError."""
        found = _by_name(texts, "--max-drop")
        for name, budget in _by_name(slices, "--max-slice-drop").items():
            if name not in found:
                raise UserError(f"'{name}' has no budget", place="--max-slice-drop", hint=f"say it too: --max-drop {name}=AMOUNT")
            found[name] = replace(found[name], slice=budget)
        return found

    def limit(self, metric: Metric, source: float) -> float:
        if not self.percent:
            return self.amount
        return self.amount / 100 * (1.0 if metric.percent == "points" else abs(source))

    def of_slices(self) -> Budget:
        """What each slice is held to."""
        return self.slice or self


def check_enough(metric: Metric, budget: Budget, samples: int, slices: Mapping[str, int] | None = None) -> None:
    """Raise UserError where even a result without any change would not be surely within budget on so few samples, on all of them
    or on those of a slice."""
    _check(metric, budget, samples, f"--max-drop {metric.name}", "")
    option = "--max-drop" if budget.slice is None else "--max-slice-drop"
    if budget.slice is not None and not slices:
        raise UserError(
            "the data have no slices", place=f"{option} {metric.name}", hint="--slice NAME says which array tells them"
        )
    for name, count in sorted((slices or {}).items(), key=lambda s: s[1])[:1]:  # the smallest needs most
        _check(metric, budget.of_slices(), count, f"{option} {metric.name}", f" of slice '{name}'")


def _check(metric: Metric, budget: Budget, samples: int, option: str, of: str) -> None:
    if metric.observed:
        return
    reach = 1.0 if metric.binary else metric.reach
    relative = budget.percent and metric.percent == "relative"  # of a value that only measuring tells
    needed = 1 if metric.binary else statistics.LEAST_SAMPLES
    if reach and not relative:
        limit, z2 = budget.limit(metric, 0.0), NormalDist().inv_cdf(0.5 + statistics.CONFIDENCE / 2) ** 2
        if limit == 0:
            said = f"no number of samples makes sure that {metric.name} is not worse at all"
            raise UserError(said, place=f"{option}=0", hint="allow a little: 0.1%")
        needed = max(needed, math.ceil(z2 * (reach - limit) / limit))
    if samples < needed:
        amount = f"{budget.amount:g}{'%' if budget.percent else ''}"
        said = f"{samples} samples{of} are too few for a budget of {amount}, even where none changes: {needed} would do"
        hint = "give more samples, or a larger budget" + (" for slices (--max-slice-drop)" if of else "")
        raise UserError(said, place=f"{option}={amount}", hint=hint)


def _by_name(texts: Iterable[str], option: str) -> dict[str, Budget]:
    found: dict[str, Budget] = {}
    for text in texts:
        name, budget = Budget.parse(text, option)
        if name in found:
            raise UserError(f"'{name}' has two budgets", place=f"{option} {text}")
        found[name] = budget
    return found
