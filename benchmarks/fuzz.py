"""`make fuzz`: random graphs through the default pipeline, every second one in the dialect `onnxruntime`, and through random
sequences of all exact passes.

Each result is compared with what onnxruntime makes of the source with optimizations off. `python -m benchmarks.fuzz --graphs
20000` prints the tally; what failed is made small and written to `fuzz/`. `fuzz/state.jsonl` knows what was tried: a run that was
stopped goes on, one of more graphs tries those that are new.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from optc.compiler.recipe import DEFAULT_PASSES, DIALECTS
from optc.compiler.testing import campaign, cli
from optc.compiler.testing.campaign import Plan, Tally

PLAN = Plan(
    checks=("crash", "valid", "interface", "metadata", "engine", "outputs"),
    turns=tuple(f"{DEFAULT_PASSES},{passes}" for passes in DIALECTS.values()),
    random=1,
    exact=campaign.exact_passes(),
    special=True,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graphs", type=int, default=20_000, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="the seed of the first")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--seconds", type=float, default=None, help="stop after so long; run again to go on")
    parser.add_argument("--out", type=Path, default=Path("fuzz"), help="the folder of the state and of reproducers")
    given = parser.parse_args()
    start = time.monotonic()

    def tell(tally: Tally) -> None:
        print(f"{tally.graphs} graphs, {len(tally.failures)} failures", file=sys.stderr, flush=True)

    enough = None if given.seconds is None else lambda: time.monotonic() - start > given.seconds
    seeds = range(given.seed, given.seed + given.graphs)
    tally = campaign.run(seeds, PLAN, given.jobs, given.out / "state.jsonl", tell, enough)
    print(tally)
    cli.report(tally, PLAN, given.out)
    sys.exit(1 if tally.failures else 0)


if __name__ == "__main__":
    main()
