"""How long the expressions of a fused chain become. Fusion puts an operand's expression wherever it is read, and what reads an
operand twice makes a chain of such operators twice as long at every step: ten of them would take minutes to compile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tvm_ffi
from tvm import tirx
from tvm.ir import Call, Expr, Op
from tvm.ir.expr import TensorLoad

LIMIT = 32
"""Copies of one element's expression in a kernel, about; an operator that would go beyond is not fused."""
ALONE = 8  # FuseOps' kOpaque

_WRITTEN_OUT = ("tirx.exp", "tirx.tanh", "tirx.erf", "tirx.sigmoid")  # into polynomials that are bound to names
_BOUND, _CLAMPED = 4, 2  # what TVM's simplifier makes of an expression inside a binding, of one inside a minimum: measured


def copies(func: tirx.PrimFunc, operands: Sequence[int]) -> int:
    """How often an element is computed in the expression of a result of `func`, of whose inputs each is a chain of as many
    copies as `operands` says."""
    total, factor = 0, 1

    def read(load: Any) -> None:
        nonlocal total
        total += sum(size for param, size in zip(func.params, operands, strict=False) if load.source.same_as(param))

    def deepen(node: Any) -> None:
        nonlocal factor
        if isinstance(node, tirx.Let) or (isinstance(node, Call) and isinstance(node.op, Op) and node.op.name in _WRITTEN_OUT):
            factor = max(factor, _BOUND)
        elif isinstance(node, tirx.Max | tirx.Min) and "float" in str(node.ty.dtype):
            factor = max(factor, _CLAMPED)

    tvm_ffi.structural_walk(func.body, (TensorLoad, read))
    tvm_ffi.structural_walk(func.body, (Expr, deepen))
    return factor * total
