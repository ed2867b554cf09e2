"""Matrix products with transposed operands and a factor, as onnxruntime's FusedMatMul."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from optc.compiler import ir
from optc.compiler.numerics import Numerics
from optc.compiler.rewrite import Builder, Const, PatternBuilder, Refuse, RewritePass, Rule
from optc.passes.dialect.activations import DOMAIN

_PRODUCTS = ("MatMul", "FusedMatMul")


@dataclass(frozen=True)
class OrtFusedMatMul(RewritePass):
    """MatMul(a, b), operands with their last two axes transposed, a factor that is one number -> FusedMatMul(a, b). float32."""

    name = "ort-fused-matmul"
    numerics = Numerics.REASSOCIATED

    def rules(self) -> Sequence[Rule]:
        return (
            *(Rule(f"{p.lower()}-transposed-{side}", _transposed(p, side), _with_transpose(side)) for p, side in _BOTH),
            *(Rule(f"{p.lower()}-scaled-{side}", _scaled(p, side), _with_operand_factor(side)) for p, side in _BOTH),
            *(Rule(f"{p.lower()}-times", _times(p), _with_factor) for p in _PRODUCTS),
            *(Rule(f"{p.lower()}-over", _over(p), _with_divisor) for p in _PRODUCTS),
        )


_BOTH = tuple(product(_PRODUCTS, "AB"))


def _product(op: PatternBuilder, kind: str, a: Any, b: Any) -> Any:
    return getattr(op if kind == "MatMul" else op.domain(DOMAIN), kind)(a, b, name="product")


def _transposed(kind: str, side: str) -> Any:
    def pattern(op: PatternBuilder, a: Any, b: Any) -> Any:
        turn = {s: op.Transpose(v, name="turned") if s == side else v for s, v in (("A", a), ("B", b))}
        return _product(op, kind, turn["A"], turn["B"])

    return pattern


def _with_transpose(side: str) -> Any:
    def rewrite(op: Builder, product: ir.Node, turned: ir.Node, a: ir.Value, b: ir.Value) -> Any:
        value = a if side == "A" else b
        rank = len(value.shape) if value.shape is not None else 0
        if rank < 2 or (ir.attribute(turned, "perm") or tuple(range(rank))[::-1]) != (*range(rank - 2), rank - 1, rank - 2):
            return Refuse("it does not exchange the last two axes alone")
        other = b if side == "A" else a
        if other.shape is None or len(other.shape) < 2:
            return Refuse(f"'{other.name}' may be a vector")
        return _build(op, product, a, b, **{f"trans{side}": 1 - ir.attribute(product, f"trans{side}", 0)})

    return rewrite


def _scaled(kind: str, side: str) -> Any:
    def pattern(op: PatternBuilder, a: Any, b: Any, c: Const) -> Any:
        scaled = {s: op.Mul(v, c) if s == side else v for s, v in (("A", a), ("B", b))}
        return _product(op, kind, scaled["A"], scaled["B"])

    return pattern


def _with_operand_factor(side: str) -> Any:
    def rewrite(op: Builder, product: ir.Node, a: ir.Value, b: ir.Value, c: Const) -> Any:
        return _times_number(op, product, a, b, c, a if side == "A" else b)

    return rewrite


def _times(kind: str) -> Any:
    def pattern(op: PatternBuilder, a: Any, b: Any, c: Const) -> Any:
        return op.Mul(_product(op, kind, a, b), c)

    return pattern


def _with_factor(op: Builder, product: ir.Node, a: ir.Value, b: ir.Value, c: Const) -> Any:
    return _times_number(op, product, a, b, c, product.outputs[0])


def _over(kind: str) -> Any:
    def pattern(op: PatternBuilder, a: Any, b: Any, c: Const) -> Any:
        return op.Div(_product(op, kind, a, b), c)

    return pattern


def _with_divisor(op: Builder, product: ir.Node, a: ir.Value, b: ir.Value, c: Const) -> Any:
    if not np.all(c):
        return Refuse("it divides by zero")
    return _times_number(op, product, a, b, 1 / c, product.outputs[0])


def _times_number(op: Builder, product: ir.Node, a: ir.Value, b: ir.Value, c: ir.Array, scaled: ir.Value) -> Any:
    if c.size != 1 or scaled.shape is None or c.ndim > len(scaled.shape) or not np.isfinite(c).all():
        return Refuse("its factor is not one number")
    return _build(op, product, a, b, alpha=float(ir.attribute(product, "alpha", 1.0)) * float(c.item()))


def _build(op: Builder, product: ir.Node, a: ir.Value, b: ir.Value, **changed: Any) -> Any:
    if product.outputs[0].dtype != ir.DataType.FLOAT:
        return Refuse("onnxruntime fuses products of float32 only")
    return op.domain(DOMAIN).FusedMatMul(a, b, **{**product.attributes, **changed})
