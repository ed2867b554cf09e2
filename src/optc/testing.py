"""The kit for authors of passes: `python -m optc.testing PASSES` makes every check."""

from optc.compiler.testing.campaign import Plan, Tally
from optc.compiler.testing.checks import CHECKS, Failure, Outcome, Subject, examine
from optc.compiler.testing.cli import main
from optc.compiler.testing.golden import Case
from optc.compiler.testing.graphs import Options, feeds, model
from optc.compiler.testing.shrink import shrink

__all__ = [
    "CHECKS",
    "Case",
    "Failure",
    "Options",
    "Outcome",
    "Plan",
    "Subject",
    "Tally",
    "examine",
    "feeds",
    "main",
    "model",
    "shrink",
]

if __name__ == "__main__":
    main()
