"""What multiplies or is added behind a normalization becomes its weight and bias."""

from __future__ import annotations

from typing import Any

import numpy as np

from optc.compiler import ir
from optc.compiler.contents import dims
from optc.compiler.rewrite import Builder, Const, PatternBuilder, Refuse, Rule
from optc.passes.fusion.moments import ones, spread


def weight_rule(op_type: str, name: str, *, channels: bool = False) -> Rule:
    """Mul(Norm(x, γ, β), c) -> Norm(x, γ·c, β·c), c one value for each element of γ, which is along axis 1 if `channels`."""

    def pattern(op: PatternBuilder, x: Any, gamma: Const, beta: Const | None, c: Any) -> Any:
        return op.Mul(getattr(op, op_type)(x, gamma, beta, name="norm"), c)

    def rewrite(op: Builder, norm: ir.Node, x: ir.Value, gamma: Const, beta: Const | None, c: ir.Value) -> Any:
        build = getattr(op, op_type)
        if ir.const(c) is None and not channels and beta is None and dims(c) == gamma.shape and np.all(gamma == 1):
            return build(x, c, **norm.attributes)
        factor = _each(c, gamma.shape, x, channels)
        if isinstance(factor, Refuse):
            return factor
        return build(
            x, _rounded(gamma * factor, gamma), None if beta is None else _rounded(beta * factor, beta), **norm.attributes
        )

    return Rule(f"{name}-weight", pattern, rewrite)


def shared_rule(op_type: str, name: str) -> Rule:
    """Norm(x, 1) multiplied by several weights and used by nothing else becomes one normalization for each: fewer operators."""

    def pattern(op: PatternBuilder, n: Any, c: Const) -> Any:
        return op.Mul(n, c)

    def rewrite(op: Builder, n: ir.Value, c: Const) -> Any:
        norm = n.producer()
        if norm is None or not ir.standard(norm, op_type) or n.is_graph_output() or len(n.consumers()) < 2:
            return None
        gamma, x = ir.const(norm.inputs[1]), norm.inputs[0]
        if gamma is None or x is None or not np.all(gamma == 1) or (len(norm.inputs) > 2 and norm.inputs[2] is not None):
            return None
        rank = None if x.shape is None else len(x.shape)
        for user in n.consumers():
            others = [ir.const(v) for v in user.inputs if v is not n]
            if (
                not ir.standard(user, "Mul")
                or len(others) != 1
                or others[0] is None
                or spread(others[0], gamma.shape, rank) is None
            ):
                return Refuse(f"'{n.name}' is also used by {ir.node_id(user)}")
        made = getattr(op, op_type)(x, spread(c, gamma.shape, rank), **norm.attributes)
        ir.set_origin(made.producer(), ir.Origin.union((ir.origin(made.producer()), ir.origin(norm))))
        return made

    return Rule(f"{name}-shared", pattern, rewrite)


def bias_rule(op_type: str, name: str, *, channels: bool = False) -> Rule:
    """Add(Norm(x, γ, β), c) -> Norm(x, γ, β + c), likewise."""

    def pattern(op: PatternBuilder, x: Any, gamma: Any, beta: Const | None, c: Any) -> Any:
        return op.Add(getattr(op, op_type)(x, gamma, beta, name="norm"), c)

    def rewrite(op: Builder, norm: ir.Node, x: ir.Value, gamma: ir.Value, beta: Const | None, c: ir.Value) -> Any:
        build, extents = getattr(op, op_type), dims(gamma)
        if extents is None or not all(isinstance(d, int) for d in extents):
            return Refuse(f"the shape of the weight '{gamma.name}' is not known")
        if ir.const(c) is None and not channels and beta is None and dims(c) == extents:
            return build(x, gamma, c, **norm.attributes)
        term = _each(c, [int(d) for d in extents if isinstance(d, int)], x, channels)
        if isinstance(term, Refuse):
            return term
        return build(x, gamma, term if beta is None else _rounded(beta + term, beta), **norm.attributes)

    return Rule(f"{name}-bias", pattern, rewrite)


def cast_rule(op_type: str, name: str) -> Rule:
    """Cast(Norm(Cast(x), 1)) -> Norm(x, 1): the operator itself computes the statistics of half precision in float32."""

    def pattern(op: PatternBuilder, x: Any, gamma: Const) -> Any:
        return op.Cast(getattr(op, op_type)(op.Cast(x, name="raised"), gamma, name="norm"), name="last")

    def rewrite(op: Builder, raised: ir.Node, norm: ir.Node, last: ir.Node, x: ir.Value, gamma: Const) -> Any:
        if x.dtype not in (ir.DataType.FLOAT16, ir.DataType.BFLOAT16) or int(x.dtype) != ir.attribute(last, "to"):
            return Refuse(f"'{x.name}' is {x.dtype}, the result is not, or it is no half precision")
        if ir.attribute(raised, "to") != int(ir.DataType.FLOAT) or ir.attribute(norm, "stash_type", 1) != 1:
            return Refuse("it is not computed in float32")
        if not np.all(gamma == 1):
            return Refuse("its weight is applied in float32")
        return getattr(op, op_type)(x, ones(x, gamma.shape), **norm.attributes)

    return Rule(f"{name}-cast", pattern, rewrite)


def _each(c: ir.Value, extents: tuple[int, ...] | list[int], x: ir.Value, channels: bool) -> ir.Array | Refuse:
    """The constant c as an array of the shape of the weight."""
    found, rank = ir.const(c), None if x.shape is None else len(x.shape)
    if found is None:
        return Refuse(f"'{c.name}' is computed")
    if channels and rank is None:
        return Refuse(f"the rank of '{x.name}' is not known")
    shape = (*extents, *[1] * ((rank or 2) - 2)) if channels else tuple(extents)
    fitted = spread(found, shape, rank)
    if fitted is None:
        return Refuse(f"'{c.name}', {list(found.shape)}, is not one value for each of {list(shape)}")
    return fitted.reshape(tuple(extents))


def _rounded(array: Any, like: ir.Array) -> ir.Array:
    return np.asarray(array, like.dtype)
