"""Rules of canonicalize for arithmetic on a tensor that is filled with one number: another number fills it."""

from __future__ import annotations

from typing import Any

import numpy as np

from optc.compiler import ir
from optc.compiler.rewrite import Builder, Const, PatternBuilder, Refuse, Rule
from optc.passes.cleanup.operands import one_node, only_use, rank

_ARITHMETIC: dict[str, Any] = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply}


def _filled(value: ir.Value) -> ir.Node | None:
    node = value.producer()
    return node if node is not None and ir.standard(node, "ConstantOfShape") and only_use(value) else None


def _fill(node: ir.Node) -> ir.Array:
    fill = ir.attribute(node, "value")
    return np.zeros(1, np.float32) if fill is None else np.asarray(fill)


def _arithmetic(op_type: str) -> Rule:
    def pattern(op: PatternBuilder, x: Any, c: Const) -> Any:
        return getattr(op, op_type)(x, c, name="node")

    def rewrite(op: Builder, x: ir.Value, c: Const, node: ir.Node) -> Any:
        inner, total = _filled(x), rank(x)
        if inner is None or c.size != 1 or total is None or c.ndim > total:
            return None
        fill = _fill(inner)
        if fill.dtype != c.dtype or fill.dtype.name not in ("float32", "float64", "int32", "int64"):
            return Refuse(f"{fill.dtype} and {c.dtype} are not added here")
        with np.errstate(all="ignore"):
            made = _ARITHMETIC[op_type](fill.reshape(1), c.reshape(1))
        op.also(inner)
        return op.ConstantOfShape(inner.inputs[0], value=made)

    return Rule(f"{op_type.lower()}-of-filled", pattern, rewrite)


def _cast(op: Builder, x: ir.Value, node: ir.Node) -> Any:
    inner, to = _filled(x), ir.DataType(ir.attribute(node, "to"))
    if inner is None or to.name not in ("BOOL", "FLOAT", "DOUBLE", "INT32", "INT64"):
        return None
    fill = _fill(inner)
    if fill.dtype.kind == "f" and not np.all(np.abs(fill) < 2**31):
        return Refuse("it is filled with a number beyond the integers")
    op.also(inner)
    return op.ConstantOfShape(inner.inputs[0], value=fill.reshape(1).astype(to.numpy()))


FILLED: tuple[Rule, ...] = (*map(_arithmetic, _ARITHMETIC), Rule("cast-of-filled", one_node("Cast", 1), _cast))
