"""Where analysis leaves a few candidates for a kernel: which one is taken, by the *site*, a text that says what is computed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

MARGIN = 0.97
"""Of the time of the first candidate, which analysis prefers: another must take less than this share of it to be chosen."""


@dataclass
class Picks:
    """`taken` says which candidate a site takes; a site that it does not know takes number `other`, or its last one.

    While a model is lowered, `counts` fills with the number of each site's candidates, and `sites` with the sites of each node.
    """

    taken: Mapping[str, int] = field(default_factory=dict)
    other: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    sites: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def pick(self, site: str, count: int, nodes: Sequence[str]) -> int:
        """The number of the candidate to take."""
        self.counts[site] = count
        for node in nodes:
            self.sites[node].add(site)
        return min(self.taken.get(site, self.other), count - 1)


def fastest(seconds: Mapping[str, Mapping[int, float]]) -> dict[str, int]:
    """The candidate of each site by the seconds of each."""
    found = {}
    for site, each in seconds.items():
        best = min(each, key=lambda number: (each[number], number))
        found[site] = best if best == 0 or each[best] < MARGIN * each[0] else 0
    return found
