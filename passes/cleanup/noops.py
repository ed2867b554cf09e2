"""Rules of canonicalize that remove an operator which changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np

from optc.compiler import ir, shape_rules
from optc.compiler.contents import Contents, dims
from optc.compiler.rewrite import Builder, Const, PatternBuilder, Refuse, Rule


def _same_shape(x: ir.Value, node: ir.Node) -> bool:
    """Whether the node's first output surely has the shape of x."""
    known = dims(x)
    return known is not None and known == shape_rules.result(node)


def _same_contents(x: ir.Value, node: ir.Node) -> Any:
    if _same_shape(x, node):
        return x
    before, after = dims(x), dims(node.outputs[0])
    if before is not None and after is not None and len(before) != len(after):
        return None
    return Refuse(f"it may change the shape of '{x.name}'")


def _always(x: ir.Value, node: ir.Node) -> Any:
    return x


def _cast(x: ir.Value, node: ir.Node) -> Any:
    return x if x.dtype is not None and int(x.dtype) == ir.attribute(node, "to") else None


def _transpose(x: ir.Value, node: ir.Node) -> Any:
    perm = ir.attribute(node, "perm")
    return x if perm is not None and perm == tuple(range(len(perm))) else None


def _dropout(x: ir.Value, node: ir.Node) -> Any:
    training = ir.const(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else np.zeros(1)
    if training is None or training.any() or _was_training(node):
        return Refuse("it may be in training mode")
    return x


def _was_training(node: ir.Node) -> bool:
    """Before opset 7 Dropout was in training mode unless its attribute said otherwise."""
    graph = node.graph
    version = graph.opset_imports.get("", 7) if isinstance(graph, ir.Graph) else 7
    return version < 7 and not ir.attribute(node, "is_test", 0)


def _slice(x: ir.Value, node: ir.Node) -> Any:
    steps = Contents().of(node.inputs[4]) if len(node.inputs) > 4 and node.inputs[4] is not None else np.ones(1)
    if steps is None or any(s != 1 for s in steps.flat):
        return Refuse("it takes steps")
    return _same_contents(x, node)


def _pad(x: ir.Value, node: ir.Node) -> Any:
    pads = ir.attribute(node, "pads") if "pads" in node.attributes else ir.const(node.inputs[1]) if len(node.inputs) > 1 else None
    return x if pads is not None and not np.any(pads) else None


def _single(x: ir.Value, node: ir.Node) -> Any:
    return x if len(node.inputs) == 1 else None


_RULES: dict[str, tuple[int, Callable[[ir.Value, ir.Node], Any]]] = {
    "Identity": (1, _always),
    "Dropout": (3, _dropout),
    "Cast": (1, _cast),
    "Transpose": (1, _transpose),
    "Reshape": (2, _same_contents),
    "Flatten": (1, _same_contents),
    "Squeeze": (2, _same_contents),
    "Expand": (2, _same_contents),
    "Tile": (2, _same_contents),
    "Slice": (5, _slice),
    "Pad": (4, _pad),
    "Concat": (1, _single),
    "Sum": (1, _single),
    "Max": (1, _single),
    "Min": (1, _single),
}
"""Operator -> how many inputs it may have, and what is left of it: the first input, or a refusal."""


def _noop(op_type: str, inputs: int, rewrite: Callable[[ir.Value, ir.Node], Any]) -> Rule:
    def pattern(op: PatternBuilder, x: Any, a: Any | None, b: Any | None, c: Any | None, d: Any | None) -> Any:
        return getattr(op, op_type)(*(x, a, b, c, d)[:inputs], name="node")

    return Rule(f"no-op-{op_type.lower()}", pattern, lambda op, x, node: rewrite(x, node))


def _neutral(op_type: str, element: float) -> Rule:
    """x·1, x/1, x - 0, and x + 0 of integers (a float -0.0 + 0 is 0.0, as is -0.0 - -0.0)."""

    def pattern(op: PatternBuilder, x: Any, c: Const) -> Any:
        return getattr(op, op_type)(x, c, name="node")

    def rewrite(op: Builder, x: ir.Value, c: Const, node: ir.Node) -> Any:
        if c.dtype.kind not in "iuf" or not np.all(c == element):
            return None
        if op_type in ("Add", "Sub") and c.dtype.kind == "f" and np.any(np.signbit(c) != (op_type == "Add")):
            return Refuse("-0.0 + 0.0 is 0.0")
        return _same_contents(x, node)

    return Rule(f"no-op-{op_type.lower()}", pattern, rewrite)


def _round_trip(outer: str, inner: str) -> Rule:
    """Two changes of the shape that cancel each other."""

    def pattern(op: PatternBuilder, x: Any, a: Any | None, b: Any | None) -> Any:
        first = getattr(op, inner)(*(x, a)[: 1 + (inner != "Flatten")])
        return getattr(op, outer)(*(first, b)[: 1 + (outer != "Flatten")], name="node")

    return Rule(f"no-op-{outer.lower()}-of-{inner.lower()}", pattern, lambda op, x, node: _same_contents(x, node))


_VIEWS = ("Reshape", "Squeeze", "Unsqueeze", "Flatten")

NOOPS: tuple[Rule, ...] = (
    *(_noop(op_type, inputs, rewrite) for op_type, (inputs, rewrite) in _RULES.items()),
    *(_neutral(op_type, element) for op_type, element in (("Mul", 1.0), ("Div", 1.0), ("Sub", 0.0), ("Add", 0.0))),
    *(_round_trip(outer, inner) for outer, inner in product(_VIEWS, _VIEWS)),
)
