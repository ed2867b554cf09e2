"""Adding zero is not adding: exporters that write every scale as Mul and Add leave such nodes between what belongs together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from optc.compiler import ir, shape_rules
from optc.compiler.contents import dims
from optc.compiler.numerics import Numerics
from optc.compiler.rewrite import Builder, Const, PatternBuilder, Refuse, RewritePass, Rule


@dataclass(frozen=True)
class DropNeutral(RewritePass):
    """x + 0.0 -> x and 0.0 + x -> x, where that keeps the shape (-0.0 stays -0.0, which is why this is not bitwise)."""

    name = "drop-neutral"
    numerics = Numerics.REASSOCIATED

    def rules(self) -> Sequence[Rule]:
        return (Rule("add-zero", _add, _drop),)


def _add(op: PatternBuilder, x: Any, zero: Const) -> Any:
    return op.Add(x, zero, name="node")


def _drop(op: Builder, node: ir.Node, x: ir.Value, zero: Const) -> Any:
    if zero.dtype.kind != "f" or np.any(zero):
        return None
    if dims(x) is None or dims(x) != shape_rules.result(node):
        return Refuse(f"it may change the shape of '{x.name}'")
    return x
