"""Every spelling of a reduction becomes one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optc.compiler import ir
from optc.compiler.contents import dims
from optc.compiler.numerics import Numerics
from optc.compiler.pattern import Var
from optc.compiler.rewrite import Builder, PatternBuilder, Refuse, RewritePass, Rule
from optc.passes.fusion.mean import reduced
from optc.passes.fusion.moments import reduced_axes, square
from optc.passes.fusion.scalars import is_float


@dataclass(frozen=True)
class FuseReductions(RewritePass):
    """√Σx² -> ReduceL2, Σx² -> ReduceSumSquare, the mean over a whole image -> GlobalAveragePool."""

    name = "fuse-reductions"
    numerics = Numerics.REASSOCIATED

    def rules(self) -> Sequence[Rule]:
        return RULES


_AXES = Var("axes", optional=True)


def _root(op: PatternBuilder, x: Any) -> Any:
    return op.Sqrt(op.ReduceSum(square(op, x), _AXES, name="sum"))


def _root_of_squares(op: PatternBuilder, x: Any) -> Any:
    return op.Sqrt(op.ReduceSumSquare(x, _AXES, name="sum"))


def _l2(op: Builder, sum: ir.Node, x: ir.Value) -> Any:
    return _of_squares(op, "ReduceL2", sum, x)


def _squares(op: PatternBuilder, x: Any) -> Any:
    return op.ReduceSum(square(op, x), _AXES, name="sum")


def _sum_square(op: Builder, sum: ir.Node, x: ir.Value) -> Any:
    root = next(iter(sum.outputs[0].consumers()), None)
    if root is not None and ir.standard(root, "Sqrt"):
        return Refuse("it is under a root: ReduceL2 takes it")
    return _of_squares(op, "ReduceSumSquare", sum, x)


def _of_squares(op: Builder, op_type: str, sum: ir.Node, x: ir.Value) -> Any:
    axes, inner = reduced_axes(sum), sum.inputs[0]
    if axes is None or not is_float(x) or (inner is not None and dims(inner) != dims(x)):
        return Refuse("its axes or its shape are not known")
    return reduced(op, op_type, sum, x, axes)


def _whole_image(op: PatternBuilder, x: Any) -> Any:
    return op.ReduceMean(x, _AXES, keepdims=1, name="mean")


def _global(op: Builder, mean: ir.Node, x: ir.Value) -> Any:
    axes = reduced_axes(mean)
    if axes is None or x.shape is None or len(x.shape) < 4 or axes != tuple(range(2, len(x.shape))):
        return None
    return op.GlobalAveragePool(x) if x.dtype == ir.DataType.FLOAT else Refuse(f"'{x.name}' is {x.dtype}")


RULES = (
    Rule("l2", _root, _l2),
    Rule("l2-of-sum-square", _root_of_squares, _l2),
    Rule("sum-square", _squares, _sum_square),
    Rule("global-average-pool", _whole_image, _global),
)
