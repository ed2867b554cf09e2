"""Constants that are multiplied or added one after the other become one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from optc.compiler import ir, shape_rules
from optc.compiler.contents import dims
from optc.compiler.numerics import Numerics
from optc.compiler.rewrite import Builder, Const, PatternBuilder, Refuse, RewritePass, Rule
from optc.passes.cleanup.operands import only_use

_SENSITIVE = frozenset({"Atan", "Div", "Pow", "Reciprocal", "Sign"})
"""Operators that may tell 0.0 from -0.0."""
_FARTHEST = {"float16": 1e3, "bfloat16": 1e6, "float32": 1e9, "float64": 1e90}
"""A product is merged where its factors, and their reciprocals, are below: no product on the way overflows or vanishes then."""
_CANCELLED = 1e-2
"""A sum of constants is merged where it is at least this part of both: x + 2^23 - 2^23 rounds x, and shall."""


@dataclass(frozen=True)
class MergeScalings(RewritePass):
    """(x·c)·d -> x·(c·d), (x/c)·d -> x·(d/c), (x + c) + d -> x + (c + d) and their like, for constants; x·(1/y) -> x/y.

    Integers too where their arithmetic is exact modulo 2^n: not quotients. Refused where the order keeps floats in range or
    rounds them on purpose.
    """

    name = "merge-scalings"
    numerics = Numerics.REASSOCIATED

    def rules(self) -> Sequence[Rule]:
        return (
            *(Rule(f"merged-{op_type.lower()}", _pattern(op_type), _merged) for op_type in ("Mul", "Div", "Add", "Sub")),
            Rule("negated", lambda op, x: op.Neg(x, name="node"), _negated),
            Rule("added-zero", _pattern("Add"), _zero),
            Rule("times-reciprocal", lambda op, x, y: op.Mul(x, op.Reciprocal(y)), lambda op, x, y: op.Div(x, y)),
            Rule("plus-negative", lambda op, x, y: op.Add(x, op.Neg(y)), lambda op, x, y: op.Sub(x, y)),
        )


def _pattern(op_type: str) -> Callable[..., Any]:
    def pattern(op: PatternBuilder, x: Any, c: Const) -> Any:
        return getattr(op, op_type)(x, c, name="node")

    return pattern


_PAIRS: dict[tuple[str, str], tuple[str, Callable[[Any, Any], Any]]] = {
    ("Mul", "Mul"): ("Mul", lambda c, d: c * d),
    ("Div", "Mul"): ("Mul", lambda c, d: d / c),
    ("Mul", "Div"): ("Mul", lambda c, d: c / d),
    ("Div", "Div"): ("Div", lambda c, d: c * d),
    ("Add", "Add"): ("Add", lambda c, d: c + d),
    ("Sub", "Add"): ("Add", lambda c, d: d - c),
    ("Add", "Sub"): ("Add", lambda c, d: c - d),
    ("Sub", "Sub"): ("Sub", lambda c, d: c + d),
}
"""The first and the second operator, with a constant c and d on the right -> the one that is left, and its constant."""


def _merged(op: Builder, x: ir.Value, c: Const, node: ir.Node) -> Any:
    inner = x.producer()
    if inner is None or (inner.op_type, node.op_type) not in _PAIRS or not ir.standard(inner, inner.op_type):
        return None
    first, value = ir.const(inner.inputs[1]), inner.inputs[0]
    if first is None and inner.op_type in ("Mul", "Add"):
        first, value = ir.const(inner.inputs[0]), inner.inputs[1]
    if first is None or "broadcast" in inner.attributes or "broadcast" in node.attributes:
        return None
    if not only_use(x):
        return Refuse(f"'{x.name}' is also used elsewhere")
    kind, combine = _PAIRS[inner.op_type, node.op_type]
    made = _combined(first, c, combine, scales=node.op_type in ("Mul", "Div"), exact="Div" not in (inner.op_type, node.op_type))
    if isinstance(made, Refuse):
        return made
    op.also(inner)
    return getattr(op, kind)(value, made)


def _combined(c: ir.Array, d: ir.Array, combine: Callable[[Any, Any], Any], *, scales: bool, exact: bool) -> Any:
    if c.dtype != d.dtype or np.prod(np.broadcast_shapes(c.shape, d.shape)) > max(c.size, d.size):
        return Refuse("together, the constants would be larger than each")
    if c.dtype.kind in "iu":
        return combine(c, d) if exact else Refuse("quotients of integers round")
    if c.dtype.name not in _FARTHEST:
        return Refuse(f"constants of type {c.dtype.name} are not merged")
    a, b = (held.astype(np.float64) for held in (c, d))
    with np.errstate(all="ignore"):
        made = np.asarray(combine(a, b))
        sizes = [np.abs(held) for held in (a, b, made)]
        if scales:
            limit = _FARTHEST[c.dtype.name]
            fine = all(np.all((s <= limit) & (s >= 1 / limit)) for s in sizes)
        else:
            fine = bool(np.all(sizes[2] >= _CANCELLED * np.maximum(sizes[0], sizes[1])) and np.all(np.isfinite(made)))
    return made.astype(c.dtype) if fine else Refuse("one after the other, the constants keep the result in range, or round it")


def _negated(op: Builder, x: ir.Value, node: ir.Node) -> Any:
    """-(x·c) -> x·(-c)."""
    inner = x.producer()
    if inner is None or not ir.standard(inner, "Mul", "Div") or not only_use(x):
        return None
    held = ir.const(inner.inputs[1])
    if held is None or held.dtype.kind != "f":
        return None
    op.also(inner)
    return getattr(op, inner.op_type)(inner.inputs[0], -held)


def _zero(op: Builder, x: ir.Value, c: Const, node: ir.Node) -> Any:
    if c.dtype.kind != "f" or np.any(c):
        return None
    if dims(x) is None or dims(x) != shape_rules.result(node):
        return Refuse(f"it may change the shape of '{x.name}'")
    user = next((n for n in node.outputs[0].consumers() if ir.standard(n, *_SENSITIVE)), None)
    return x if user is None else Refuse(f"{ir.node_id(user)} may tell 0.0 from -0.0")
