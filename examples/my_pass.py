"""A pass of one's own: x / c -> x * (1 / c). `python examples/my_pass.py MODEL.onnx` runs it and shows what it did.

A package offers it to `optc` by an entry point of the group `optc.passes`: `multiply-reciprocal = "my_pass:MultiplyReciprocal"`.
"""

import sys
from dataclasses import dataclass
from typing import Any

from optc.compiler import load, runner
from optc.compiler.numerics import Numerics
from optc.compiler.pipeline import Pipeline
from optc.compiler.rewrite import Builder, Const, PatternBuilder, Refuse, RewritePass


@dataclass(frozen=True)
class MultiplyReciprocal(RewritePass):
    """Div(x, c) -> Mul(x, 1/c) for floating point constants."""

    name = "multiply-reciprocal"
    numerics = Numerics.REASSOCIATED

    def pattern(self, op: PatternBuilder, x: Any, c: Const) -> Any:
        return op.Div(x, c)

    def rewrite(self, op: Builder, x: Any, c: Const) -> Any:
        return op.Mul(x, 1 / c) if c.dtype.kind == "f" and c.all() else Refuse("c is an integer, or has zeros")


if __name__ == "__main__":
    report = runner.run(Pipeline((MultiplyReciprocal(),)), load.load(sys.argv[1]))
    for outcome in report.outcomes:  # outputs were compared before and after, as for every pass
        print(f"{outcome.name}: {outcome.rewrites} rewrites, kept: {outcome.kept}")
    for refusal in report.refusals:
        print(f"not at {refusal.node}: {refusal.reason}")
