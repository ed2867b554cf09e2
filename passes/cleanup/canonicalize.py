"""One form for what exporters write in many: constants as initializers on the right, nothing that does nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from optc.compiler import ir
from optc.compiler.numerics import Numerics
from optc.compiler.pattern import COMMUTATIVE
from optc.compiler.rewrite import Builder, Const, PatternBuilder, Refuse, RewritePass, Rule
from optc.passes.cleanup.broadcasts import BROADCASTS
from optc.passes.cleanup.casts import CASTS
from optc.passes.cleanup.filled import FILLED
from optc.passes.cleanup.noops import NOOPS
from optc.passes.cleanup.operands import one_node
from optc.passes.cleanup.parts import PARTS
from optc.passes.cleanup.repeated import REPEATED
from optc.passes.cleanup.sequences import SEQUENCES
from optc.passes.cleanup.sunk_squeezes import SUNK
from optc.passes.cleanup.views import VIEWS


@dataclass(frozen=True)
class Canonicalize(RewritePass):
    """One form for what exporters write in many: constants as initializers on the right, nothing that does nothing.

    Constant nodes become initializers; operators that change nothing go; constants stand on the right of commutative
    operators; chains of views (Reshape, Squeeze, Unsqueeze, Flatten), of Transpose, Slice, Concat, Clip and of casts that lose
    nothing become one operator.
    """

    name = "canonicalize"
    numerics = Numerics.BITWISE

    def rules(self) -> Sequence[Rule]:
        return RULES


def _constant(op: PatternBuilder) -> Any:
    return op.Constant(name="constant")


def _to_initializer(op: Builder, constant: ir.Node) -> Any:
    value = constant.outputs[0]
    if value.is_graph_output():
        return Refuse(f"'{value.name}' is an output of the graph")
    held = ir.const(value)
    if held is not None:
        return held
    for name, dtype in (
        ("value_float", np.float32),
        ("value_floats", np.float32),
        ("value_int", np.int64),
        ("value_ints", np.int64),
    ):
        if name in constant.attributes:
            return np.array(ir.attribute(constant, name), dtype)
    return Refuse("it holds strings or a sparse tensor")


def _swap(op_type: str) -> Rule:
    def pattern(op: PatternBuilder, x: Any, c: Const) -> Any:
        return getattr(op, op_type)(c, x, name="node")

    def rewrite(op: Builder, node: ir.Node) -> Any:
        a, b = node.inputs
        if ir.const_tensor(a) is None or ir.const_tensor(b) is not None:
            return None  # it is on the right already, or both are constants
        if "broadcast" in node.attributes:
            return Refuse("before opset 7 only the right operand broadcasts")
        return getattr(op, op_type)(b, a, **node.attributes)

    return Rule(f"constant-right-{op_type.lower()}", pattern, rewrite)


def _one_transpose(op: Builder, x: ir.Value, node: ir.Node) -> Any:
    first = x.producer()
    if first is None or not ir.standard(first, "Transpose"):
        return None
    p, q = ir.attribute(first, "perm"), ir.attribute(node, "perm")
    if p is None and q is None:
        return first.inputs[0]
    known = p if p is not None else q
    p, q = (tuple(range(len(known)))[::-1] if a is None else a for a in (p, q))
    perm = [p[i] for i in q]
    op.also(first)
    return first.inputs[0] if perm == list(range(len(perm))) else op.Transpose(first.inputs[0], perm=perm)


RULES: tuple[Rule, ...] = (
    Rule("sum-of-two", lambda op, a, b: op.Sum(a, b), lambda op, a, b: op.Add(a, b)),
    Rule("constant-to-initializer", _constant, _to_initializer),
    *NOOPS,
    *CASTS,
    *REPEATED,
    *(_swap(op_type) for op_type in sorted(COMMUTATIVE - {"Sum", "Mean"})),
    Rule("transpose-of-transpose", one_node("Transpose", 1), _one_transpose),
    *VIEWS,
    *PARTS,
    *BROADCASTS,
    *FILLED,
    *SUNK,
    *SEQUENCES,
)
