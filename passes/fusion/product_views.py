"""Reshapes and transposes that an exporter wrote only to bring the operands of a product into matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from optc.compiler import ir, shape_rules
from optc.compiler.contents import dims
from optc.compiler.numerics import Numerics
from optc.compiler.rewrite import Builder, PatternBuilder, Refuse, RewritePass, Rule
from optc.passes.fusion.products import FLOATS


@dataclass(frozen=True)
class FuseProductViews(RewritePass):
    """Products of reshaped and transposed matrices.

    Reshape(MatMul(Reshape(x, [-1, k]), w), [.., n]) -> MatMul(x, w), where only the leading dimensions of x were made one and
    come back; a Gemm with a bias becomes MatMul and Add. Gemm and MatMul of a transposed matrix -> Gemm with transA or transB.
    """

    name = "fuse-product-views"
    numerics = Numerics.REASSOCIATED

    def rules(self) -> Sequence[Rule]:
        return (
            Rule("reshaped-matmul", _reshaped_matmul, _unshaped),
            Rule("reshaped-gemm", _reshaped_gemm, _unshaped),
            *(Rule(f"gemm-of-transposed-{side}", _gemm(side), _transposed(side)) for side in "ab"),
            *(Rule(f"matmul-of-transposed-{side}", _matmul(side), _transposed(side)) for side in "ab"),
        )


def _reshaped_matmul(op: PatternBuilder, x: Any, w: Any, shape: Any) -> Any:
    return op.Reshape(op.MatMul(x, w, name="product"), shape, name="last")


def _reshaped_gemm(op: PatternBuilder, x: Any, w: Any, b: Any | None, shape: Any) -> Any:
    return op.Reshape(op.Gemm(x, w, b, name="product"), shape, name="last")


def _unshaped(op: Builder, product: ir.Node, last: ir.Node, x: ir.Value, w: ir.Value) -> Any:
    first = x.producer()
    source = first.inputs[0] if first is not None and ir.standard(first, "Reshape", "Flatten") else None
    if source is None:
        return None
    given, made, matrix, weight = dims(source), shape_rules.result(last), dims(x), dims(w)
    if given is None or made is None or matrix is None or weight is None or len(matrix) != 2 or len(weight) != 2:
        return Refuse("a shape in it is not known")
    transposed = bool(ir.attribute(product, "transB", 0))
    if given[-1] != matrix[1] or made[:-1] != given[:-1] or made[-1] != weight[0 if transposed else 1] or len(given) < 3:
        return Refuse(f"it makes {_words(made)} of {_words(given)}, not only of the leading dimensions")
    if product.op_type == "MatMul":
        return op.MatMul(source, w)
    if ir.attribute(product, "transA", 0) or any(ir.attribute(product, name, 1.0) != 1 for name in ("alpha", "beta")):
        return Refuse("the Gemm scales, or transposes its input")
    bias = product.inputs[2] if len(product.inputs) > 2 else None
    shape = () if bias is None else dims(bias)
    if shape is None or any(d != 1 for d in shape[:-1]):
        return Refuse("its bias is not one value for each column")
    if transposed:
        held = ir.const_tensor(w)
        if held is None or len(w.uses()) > 1:
            return Refuse(f"the transposed weight '{w.name}' is computed or used elsewhere too")
        weight_value = op.value(np.ascontiguousarray(held.numpy().T), f"{product.name}_turned")
    else:
        weight_value = w
    result = op.MatMul(source, weight_value)
    if bias is None:
        return result
    flat = ir.const(bias)
    return op.Add(result, bias if flat is None or len(shape) < 2 else flat.reshape(-1))


def _words(shape: Sequence[object]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _turned(op: PatternBuilder, side: str, a: Any, b: Any) -> tuple[Any, Any]:
    turn = op.Transpose(a if side == "a" else b, name="turn")
    return (turn, b) if side == "a" else (a, turn)


def _gemm(side: str) -> Any:
    def pattern(op: PatternBuilder, a: Any, b: Any, c: Any | None) -> Any:
        return op.Gemm(*_turned(op, side, a, b), c, name="product")

    return pattern


def _matmul(side: str) -> Any:
    def pattern(op: PatternBuilder, a: Any, b: Any) -> Any:
        return op.MatMul(*_turned(op, side, a, b), name="product")

    return pattern


def _transposed(side: str) -> Any:
    def rewrite(op: Builder, product: ir.Node, turn: ir.Node, a: ir.Value, b: ir.Value) -> Any:
        if any(len(dims(v) or ()) != 2 for v in (a, b)) or product.outputs[0].dtype not in FLOATS:
            return Refuse("Gemm takes matrices of floats")
        if ir.attribute(turn, "perm", (1, 0)) != (1, 0):
            return Refuse(f"{ir.node_id(turn)} does not transpose")
        name = "transA" if side == "a" else "transB"
        attributes = {**product.attributes, name: 1 - ir.attribute(product, name, 0) or None}
        return op.Gemm(a, b, *product.inputs[2:], **attributes)

    return rewrite
