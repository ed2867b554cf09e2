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
    """The outcome: whether the contract holds, and the worst output.

    `amplified` says why a difference above the tolerance is the model's own doing (see amplification.py), '' where it is not.
    """

    numerics: Numerics
    worst: Comparison
    tolerance: float = TOLERANCE
    amplified: str = ""

    @property
    def holds(self) -> bool:
        return bool(self.amplified) or self.worst.meets(self.numerics, self.tolerance)


def check(
    before: ir.Model, after: ir.Model, numerics: Numerics, feeds: Feeds | None = None, tolerance: float = TOLERANCE
) -> Check:
    """Run both on `feeds` (generated where there are none) and compare."""
    reference = Reference(before)
    feeds = feeds if feeds is not None else inputs.generate(before, reference=reference)
    return against(reference, after, numerics, feeds, tolerance)


def against(reference: Reference, after: ir.Model, numerics: Numerics, feeds: Feeds, tolerance: float = TOLERANCE) -> Check:
    """Compare a model with another that is ready to run."""
    return Check(numerics, compare(reference.run_all(feeds), Reference(after).run_all(feeds)), tolerance)
