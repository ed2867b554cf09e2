"""The checker: two models run on the same inputs and compared under a contract. Large ones: see pieces.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from optc.compiler import inputs, ir
from optc.compiler.numerics import TOLERANCE, Array, Comparison, Numerics, compare
from optc.compiler.reference import Reference

Feeds = Sequence[dict[str, Array]]


@dataclass(frozen=True)
class Check:
    """The outcome: whether the contract holds, and the worst output."""

    numerics: Numerics
    worst: Comparison
    tolerance: float = TOLERANCE

    @property
    def holds(self) -> bool:
        return self.worst.meets(self.numerics, self.tolerance)


def check(
    before: ir.Model, after: ir.Model, numerics: Numerics, feeds: Feeds | None = None, tolerance: float = TOLERANCE
) -> Check:
    """Run both on `feeds` (generated where there are none) and compare."""
    return answers(Reference(before), inputs.Sampler.of(before.graph), feeds).check(after, numerics, tolerance)


@dataclass(frozen=True)
class Answers:
    """What a model gives for some feeds."""

    feeds: Feeds
    outputs: Feeds

    def check(self, after: ir.Model, numerics: Numerics, tolerance: float = TOLERANCE) -> Check:
        """Compare with another model."""
        return Check(numerics, compare(self.outputs, Reference(after).run_all(self.feeds)), tolerance)


def answers(reference: Reference, sampler: inputs.Sampler, feeds: Feeds | None) -> Answers:
    """Run a model on feeds, generated where there are none."""
    if feeds is None:
        return Answers(*sampler.answered(reference))
    return Answers(feeds, reference.run_all(feeds))
