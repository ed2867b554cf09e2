"""Random graphs through the default pipeline and random sequences of all exact passes: a small part of `make fuzz`."""

from __future__ import annotations

from benchmarks import fuzz
from optc.compiler.testing import campaign


def test_two_hundred_graphs() -> None:
    tally = campaign.run(range(200), fuzz.PLAN)
    assert tally.graphs == 200
    assert not tally.refused
    assert tally.failures == []
    assert tally.amplified <= 4
    assert sum(tally.rewrites.values()) > 1000
