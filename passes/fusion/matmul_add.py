"""Matrix products with a bias become one Gemm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from optc.compiler import ir
from optc.compiler.contents import dims
from optc.compiler.numerics import Numerics
from optc.compiler.rewrite import Builder, Const, PatternBuilder, Refuse, RewritePass, Rule


@dataclass(frozen=True)
class FuseMatMulAdd(RewritePass):
    """Add(MatMul(a, b), c) -> Gemm(a, b, c), and Add(Gemm(a, b, c'), c) -> Gemm(a, b, β·c' + c), c constant."""

    name = "fuse-matmul-add"
    numerics = Numerics.REASSOCIATED

    def rules(self) -> Sequence[Rule]:
        return RULES


def _matmul(op: PatternBuilder, a: Any, b: Any, c: Const) -> Any:
    return op.Add(op.MatMul(a, b, name="product"), c)


def _to_gemm(op: Builder, product: ir.Node, a: ir.Value, b: ir.Value, c: Const) -> Any:
    if op.opset < 7:
        return Refuse(f"the bias of a Gemm broadcasts from opset 7 on, the model has {op.opset}")
    for value in (a, b):
        if value.shape is None or len(value.shape) != 2:
            rank = "unknown" if value.shape is None else len(value.shape)
            return Refuse(f"Gemm takes matrices, the rank of '{value.name}' is {rank}")
    return _misfit(product, c) or op.Gemm(a, b, c)


def _gemm(op: PatternBuilder, a: Any, b: Any, bias: Const | None, c: Const) -> Any:
    return op.Add(op.Gemm(a, b, bias, name="product"), c)


def _into_gemm(op: Builder, product: ir.Node, a: ir.Value, b: ir.Value, bias: Const | None, c: Const) -> Any:
    if bias is not None:
        c = np.asarray(bias * np.asarray(ir.attribute(product, "beta", 1.0), bias.dtype) + c)
    attributes = {**product.attributes, "beta": None, "broadcast": None}
    return _misfit(product, c) or op.Gemm(a, b, c, **attributes)


def _misfit(product: ir.Node, c: ir.Array) -> Refuse | None:
    """Why a constant is no bias of a product, if it is not."""
    shape, dtype = dims(product.outputs[0]), product.outputs[0].dtype
    if shape is None or dtype is None or not dtype.is_floating_point():
        return Refuse("Gemm takes floats of known shape")
    if c.ndim > 2 or any(k != 1 and k != n for k, n in zip(c.shape[::-1], shape[::-1], strict=False)):
        return Refuse(f"a bias of shape {list(c.shape)} does not broadcast to {list(shape)}")
    return None


RULES: tuple[Rule, ...] = (Rule("matmul-add", _matmul, _to_gemm), Rule("gemm-add", _gemm, _into_gemm))
