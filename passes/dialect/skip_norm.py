"""Normalizations of a residual sum, as onnxruntime's SkipLayerNormalization and SkipSimplifiedLayerNormalization."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from optc.compiler import ir
from optc.compiler.contents import dims
from optc.compiler.numerics import Numerics
from optc.compiler.rewrite import Builder, PatternBuilder, Refuse, RewritePass, Rule
from optc.passes.dialect.activations import DOMAIN


@dataclass(frozen=True)
class OrtSkipNorm(RewritePass):
    """LayerNormalization(x + b + skip, γ, β) -> com.microsoft.SkipLayerNormalization(x, skip, γ, β, b), b a bias or missing.

    RMSNormalization and SimplifiedLayerNormalization become SkipSimplifiedLayerNormalization. Where the sum is used elsewhere it
    is the fourth output. x and skip are of one shape of two or three dimensions, or skip is the same for all of the
    batch. float32, over the last axis.
    """

    name = "ort-skip-norm"
    numerics = Numerics.REASSOCIATED

    def rules(self) -> Sequence[Rule]:
        return RULES


_NORMS = {
    "LayerNormalization": "SkipLayerNormalization",
    "RMSNormalization": "SkipSimplifiedLayerNormalization",
    "SimplifiedLayerNormalization": "SkipSimplifiedLayerNormalization",
}


def _pattern(norm: str, biased: bool, both: bool) -> Any:
    def of_sum(op: PatternBuilder, total: Any, gamma: Any, beta: Any) -> Any:
        found = getattr(op, norm)(total, gamma, beta, name="norm")
        return (found, total) if both else found

    def plain(op: PatternBuilder, x: Any, skip: Any, gamma: Any, beta: Any | None) -> Any:
        return of_sum(op, op.Add(x, skip, name="sum"), gamma, beta)

    def with_bias(op: PatternBuilder, x: Any, bias: Any, skip: Any, gamma: Any, beta: Any | None) -> Any:
        return of_sum(op, op.Add(op.Add(x, bias), skip, name="sum"), gamma, beta)

    return with_bias if biased else plain


def _rewrite(both: bool) -> Any:
    def rewrite(op: Builder, norm: ir.Node, x: ir.Value, skip: ir.Value, gamma: ir.Value, beta: ir.Value | None) -> Any:
        shape, width = dims(x), dims(gamma)
        if shape is None or len(shape) not in (2, 3) or dims(skip) not in _fitting(shape):
            return Refuse("what it adds is not of one shape, of two or three dimensions")
        if ir.attribute(norm, "axis", -1) not in (-1, len(shape) - 1) or width is None or width != shape[-1:]:
            return Refuse("it does not normalize over the last axis alone")
        bias = op.match.values.get("bias")
        if bias is not None and dims(bias) != width:
            return Refuse(f"'{bias.name}' is not one value for each of the last axis")
        if beta is not None and dims(beta) != width:
            return Refuse(f"'{beta.name}' is not one value for each of the last axis")
        if x.dtype != ir.DataType.FLOAT:
            return Refuse(f"only float32, '{x.name}' is {x.dtype}")
        build = getattr(op.domain(DOMAIN), _NORMS[norm.op_type])
        offsets = (beta, bias) if norm.op_type == "LayerNormalization" else (bias,)
        made = build(x, skip, gamma, *offsets, outputs=4 if both else 1, epsilon=ir.attribute(norm, "epsilon", 1e-5))
        if not both:
            return made
        y, average, inverse, total = made
        average.name = inverse.name = ""  # left out
        return y, total

    return rewrite


def _fitting(shape: tuple[Any, ...]) -> tuple[tuple[Any, ...], ...]:
    """The shapes that may be added to one: itself and, to three dimensions, the same for each of the first."""
    return (shape, (1, *shape[1:]), shape[1:]) if len(shape) == 3 else (shape,)


RULES = tuple(
    Rule(f"skip-{norm.lower()}{'-biased' * biased}{'-and-sum' * both}", _pattern(norm, biased, both), _rewrite(both))
    for norm, (both, biased) in product(_NORMS, ((False, True), (False, False), (True, True), (True, False)))
)
