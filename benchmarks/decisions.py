"""How often budgets are judged the right way, in simulated evaluations whose true drop is known.

    python -m benchmarks.decisions                  1,000 repeats of each case, in minutes
    python -m benchmarks.decisions --only slice --repeats 200

What judges is what judges in `optc check` and `optc compile`: `evaluate.judge`. A pass that is not kept is rolled back, whether
its budget was surely missed (reject) or not surely held (undecided). So where the true drop is beyond the budget, not to keep is
the right way, and at a drop that is the budget a pass may be kept as often as the interval errs on that side: 2.5 %. Where there
is no drop, to keep is the right way, as often as so many samples can show it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.intervals import MODELS, coverage
from optc.compiler.measure.budgets import Budget
from optc.compiler.measure.evaluate import find, judge
from optc.compiler.measure.statistics import samples_needed
from optc.compiler.numerics import Array

ACCURACY = 0.75  # of both models, where they agree; what both have right or wrong says nothing


@dataclass(frozen=True)
class Case:
    """Top-1 accuracy of a result against a budget, both in points (1 point: 0.01 of the samples).

    Samples fall into `slices` of equal size; in the first the true drop is `drop`, in the others there is none. `changed` is the
    share of samples, in points, on which one of the models is right and the other wrong. `kept` and `not_kept` are how many of
    100 repeats should be at least, but for chance (of 1,000 repeats, 0.5 is a deviation at 97.5); where neither is given, what is
    printed is what so many samples can show. Samples as named: as many as `samples_needed` says, of which 80 of 100 repeats
    should be settled.
    """

    name: str
    drop: float
    budget: float
    samples: int = 10_000
    changed: float = 1.0
    slices: int = 1
    slice_budget: float = 0.0
    kept: float = 0.0
    not_kept: float = 0.0

    def records(self, rng: np.random.Generator) -> tuple[Array, Array, dict[str, Array]]:
        """1 where the source is right, and where the result is, [samples, 1]; the rows of each slice."""
        rows = np.array_split(np.arange(self.samples), self.slices)
        drop = np.zeros(self.samples)
        drop[rows[0]] = self.drop / 100
        chance, both = rng.random(self.samples), rng.random(self.samples) < ACCURACY
        differ, lost = chance < self.changed / 100, chance < (self.changed / 100 + drop) / 2
        source, result = np.where(differ, lost, both), np.where(differ, ~lost, both)
        parts = {str(i): part for i, part in enumerate(rows)} if self.slices > 1 else {}
        return source.astype(np.float64)[:, None], result.astype(np.float64)[:, None], parts


CASES = (
    Case("drop beyond the budget", 0.3, 0.1, not_kept=95),
    Case("the same, samples as named", 0.3, 0.1, samples_needed(0.001, 0.01, 0.003) or 0, not_kept=97.5),
    Case("drop is the budget", 0.1, 0.1, not_kept=97.5),
    Case("drop is the budget", 0.3, 0.3, not_kept=97.5),
    Case("drop is the budget, few samples", 2.0, 2.0, 500, changed=6.0, not_kept=97.5),
    Case("no drop", 0.0, 0.1),
    Case("the same, samples as named", 0.0, 0.1, samples_needed(0.001, 0.01) or 0),
    Case("no drop", 0.0, 0.3),
    Case("no drop", 0.0, 0.5, kept=95),
    Case("one slice of ten loses", 3.0, 0.5, changed=3.0, slices=10, slice_budget=1.0, not_kept=97.5),
    Case("one slice of ten loses its budget", 2.0, 0.5, changed=3.0, slices=10, slice_budget=2.0, not_kept=97.5),
    Case("no slice of ten loses", 0.0, 0.5, slices=10, slice_budget=2.0, kept=95),
)


def decisions(case: Case, repeats: int, seed: int) -> Counter[str]:
    """How often a case is kept, undecided, rejected; each has its own stream of the seed."""
    rng, metric = np.random.default_rng([seed, CASES.index(case)]), find("top1")
    budget = Budget(case.budget, True, Budget(case.slice_budget, True) if case.slices > 1 else None)
    found: Counter[str] = Counter()
    for _ in range(repeats):
        before, after, parts = case.records(rng)
        found[str(judge(metric, before, after, budget, parts).decision)] += 1
    return found


def main(
    repeats: Annotated[int, typer.Option(min=1, help="Simulated evaluations of each case.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Draw their samples by this seed.")] = 0,
    only: Annotated[str, typer.Option(help="Cases whose name holds this text.")] = "",
) -> None:
    """Simulate evaluations and print how they are judged."""
    console = Console(width=130)
    title = f"budgets of top-1 accuracy, {repeats} repeats, seed {seed}"
    table = Table("case", "samples", "true drop", "budget", "keep", "undecided", "reject", "should be at least", title=title)
    for case in CASES:
        if only not in case.name:
            continue
        found = decisions(case, repeats, seed)
        budget = f"{case.budget:g} %" + (f", a slice {case.slice_budget:g} %" if case.slices > 1 else "")
        aim = f"{case.kept:g} % kept" if case.kept else f"{case.not_kept:g} % not kept" if case.not_kept else ""
        counts = [str(found[d]) for d in ("keep", "undecided", "reject")]
        table.add_row(case.name, f"{case.samples}", f"{case.drop:g} %", budget, *counts, aim)
    if table.rows:
        console.print(table)
    title = f"95 % intervals, {repeats} repeats, seed {seed}: how often they hold the truth, or else where it lies"
    table = Table("metric", "samples", "interval", "hold it", "it is worse", "it is better", title=title)
    for model in MODELS:
        if only in model.name:
            held = coverage(model, repeats, seed)
            shares = [f"{100 * share:.1f} %" for share in (held.holds, held.worse, held.better)]
            table.add_row(model.name, f"{model.samples}", held.method, *shares)
    if table.rows:
        console.print(table)


if __name__ == "__main__":
    typer.run(main)
