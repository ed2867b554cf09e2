"""Rules of canonicalize for an operator on a result that it leaves as it is, or turns back."""

from __future__ import annotations

from typing import Any

import numpy as np

from optc.compiler import ir
from optc.compiler.rewrite import Builder, Refuse, Rule
from optc.passes.cleanup.operands import bounds_of, one_node

_IDEMPOTENT = ("Ceil", "Floor", "Round", "Sign")
_INVERSES = ("Neg", "Not")
_NEVER_NEGATIVE = frozenset({"Abs", "Relu", "Sigmoid", "HardSigmoid", "Softmax", "Exp", "Softplus", "ReduceL1", "ReduceL2"})


def _inner(x: ir.Value, *op_types: str) -> ir.Node | None:
    node = x.producer()
    return node if node is not None and ir.standard(node, *op_types) else None


def _idempotent(op_type: str) -> Rule:
    def rewrite(op: Builder, x: ir.Value, node: ir.Node) -> Any:
        return x if _inner(x, op_type) is not None else None

    return Rule(f"{op_type.lower()}-of-{op_type.lower()}", one_node(op_type, 1), rewrite)


def _inverse(op_type: str) -> Rule:
    def rewrite(op: Builder, x: ir.Value, node: ir.Node) -> Any:
        inner = _inner(x, op_type)
        return inner.inputs[0] if inner is not None else None

    return Rule(f"{op_type.lower()}-of-{op_type.lower()}", one_node(op_type, 1), rewrite)


def _relu(op: Builder, x: ir.Value, node: ir.Node) -> Any:
    inner = x.producer()
    if inner is None or not ir.standard(inner, *_NEVER_NEGATIVE, "Clip"):
        return None
    if inner.op_type != "Clip":
        return x
    bounds = bounds_of(inner)
    if bounds is None or bounds[0] is None:
        return None
    return x if bounds[0] >= 0 and (bounds[1] is None or bounds[1] >= 0) else None


def _abs(op: Builder, x: ir.Value, node: ir.Node) -> Any:
    if _inner(x, *_NEVER_NEGATIVE) is not None:
        return x
    inner = _inner(x, "Neg")
    if inner is None:
        return None
    op.also(inner)
    return op.Abs(inner.inputs[0])


def _clip(op: Builder, x: ir.Value, node: ir.Node) -> Any:
    """Clip(Clip(x, a, b), c, d) -> Clip(x, a', b'), a and b clipped to [c, d]; Relu is Clip from 0 on."""
    inner = _inner(x, "Clip", "Relu")
    own = bounds_of(node)
    if inner is None or own is None:
        return None
    before = (0.0, None) if inner.op_type == "Relu" else bounds_of(inner)
    if before is None:
        return Refuse("the bounds of the Clip before it are computed")
    if any(a is not None and b is not None and a > b for a, b in (before, own)):
        return Refuse("a lower bound is above the upper one")
    low, high = (_clipped(b, own) for b in before)
    low, high = own[0] if low is None else low, own[1] if high is None else high
    op.also(inner)
    if op.opset < 11:
        return op.Clip(inner.inputs[0], min=low, max=high)
    if x.dtype is None:
        return Refuse(f"the type of '{x.name}' is unknown")
    held = (None if b is None else np.array(b, x.dtype.numpy()) for b in (low, high))
    return op.Clip(inner.inputs[0], *held)


def _clipped(bound: float | None, limits: tuple[float | None, float | None]) -> float | None:
    low, high = limits
    if bound is None:
        return None
    bound = bound if low is None else max(bound, low)
    return bound if high is None else min(bound, high)


REPEATED: tuple[Rule, ...] = (
    *map(_idempotent, _IDEMPOTENT),
    *map(_inverse, _INVERSES),
    Rule("relu-of-nonnegative", one_node("Relu", 1), _relu),
    Rule("abs-of-nonnegative", one_node("Abs", 1), _abs),
    Rule("clip-of-clip", one_node("Clip", 3), _clip),
)
