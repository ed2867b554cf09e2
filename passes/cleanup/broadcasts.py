"""Rules of canonicalize for values that are repeated where broadcasting repeats them anyhow."""

from __future__ import annotations

from typing import Any

from optc.compiler import ir, shape_rules
from optc.compiler.contents import dims
from optc.compiler.rewrite import Builder, Rule

_BROADCASTING = (
    "Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min", "Mod", "Mul", "Or", "Pow",
    "Sub", "Where", "Xor",
)  # fmt: skip


def _unrepeated(value: ir.Value | None) -> ir.Value | None:
    """What an Expand or Tile repeats along axes of extent 1; None: the value is made otherwise."""
    node = value.producer() if value is not None else None
    if node is None or not ir.standard(node, "Expand", "Tile"):
        return None
    source = node.inputs[0]
    if node.op_type == "Tile":
        before, after = dims(source), shape_rules.result(node)
        if before is None or after is None or any(b not in (1, a) for b, a in zip(before, after, strict=True)):
            return None
    return source


def _broadcast(op: Builder, node: ir.Node) -> Any:
    inputs = list(node.inputs)
    result = None
    for i, value in enumerate(inputs):
        source = _unrepeated(value)
        if source is None or "broadcast" in node.attributes:
            continue
        result = result or shape_rules.result(node)
        shapes = [dims(v) for v in (*inputs[:i], source, *inputs[i + 1 :]) if v is not None]
        known = [s for s in shapes if s is not None]
        if result is None or len(known) < len(shapes) or shape_rules.broadcast_dims(known) != tuple(result):
            continue
        maker = value.producer() if value is not None else None
        op.also(*([maker] if maker is not None else []))
        inputs[i] = source
    return getattr(op, node.op_type)(*inputs, **node.attributes) if inputs != list(node.inputs) else None


def _rule(op_type: str) -> Rule:
    return Rule(f"{op_type.lower()}-of-repeated", lambda op: getattr(op, op_type)(..., name="node"), _broadcast)


BROADCASTS: tuple[Rule, ...] = tuple(map(_rule, _BROADCASTING))
