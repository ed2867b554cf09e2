"""Generated inputs as samples to measure on, where there are no data: fidelity on them proves little, and the record says so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from optc.compiler import inputs, ir
from optc.compiler.measure.data.part import Batch, Seen

SAMPLES = 64
"""Feeds that are generated; each is as many samples as its leading axis counts."""


class Stream(Protocol):
    """What metrics are measured on: iterating yields batches, again each time. See `Dataset`."""

    samples: int
    seen: Seen

    @property
    def digest(self) -> str: ...

    def __iter__(self) -> Iterator[Batch]: ...


class Generated:
    """Random feeds of a model, drawn by `seed`; no labels."""

    def __init__(self, model: ir.Model, seed: int) -> None:
        self._feeds = inputs.generate(model, SAMPLES, seed)
        self.seen = Seen()
        for feed in self._feeds:
            for name in sorted(feed):
                self.seen.array(feed[name])
        firsts = [next(iter(feed.values())) for feed in self._feeds]
        self.samples = sum(a.shape[0] if a.ndim else 1 for a in firsts)

    @property
    def digest(self) -> str:
        return self.seen.digest

    def __iter__(self) -> Iterator[Batch]:
        return (Batch(feed, None) for feed in self._feeds)
