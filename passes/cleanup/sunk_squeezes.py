"""Rules of canonicalize for convolutions of one dimension written as of two: what is behind the Squeeze goes before it.

There biases, scales and activations stand next to the convolution that takes them in.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from optc.compiler import ir
from optc.compiler.rewrite import Builder, Const, PatternBuilder, Rule
from optc.passes.cleanup.operands import axes_of, one_node, only_use, rank, with_axes

_UNARY = {
    "Relu": 1, "Clip": 3, "LeakyRelu": 1, "Elu": 1, "Sigmoid": 1, "HardSigmoid": 1, "HardSwish": 1, "Tanh": 1, "Softplus": 1,
}  # fmt: skip
"""Operators, and how many inputs they have; those behind the first are scalars."""
_BINARY = ("Add", "Mul", "Sub", "Div")
_BEFORE = frozenset({"Conv", "ConvTranspose", "BatchNormalization", *_UNARY, *_BINARY})


def _squeeze(x: ir.Value) -> tuple[ir.Node, tuple[int, ...]] | None:
    """The Squeeze of a convolution, or of what is computed of one, that nothing else reads; and its axes."""
    node = x.producer() if only_use(x) else None
    source = node.inputs[0] if node is not None and ir.standard(node, "Squeeze") else None
    maker = source.producer() if source is not None else None
    axes = axes_of(node) if node is not None and maker is not None and ir.standard(maker, *_BEFORE) else None
    return (node, axes) if node is not None and axes else None


def _unary(op: Builder, x: ir.Value, node: ir.Node) -> Any:
    found = _squeeze(x)
    if found is None:
        return None
    squeeze, axes = found
    op.also(squeeze)
    return with_axes(op, "Squeeze", getattr(op, node.op_type)(squeeze.inputs[0], *node.inputs[1:], **node.attributes), axes)


def _binary(op_type: str) -> Rule:
    def pattern(op: PatternBuilder, x: Any, c: Const) -> Any:
        return getattr(op, op_type)(x, c, name="node")

    def rewrite(op: Builder, x: ir.Value, c: Const, node: ir.Node) -> Any:
        found, total = _squeeze(x), rank(x)
        if found is None or total is None or c.ndim > total or "broadcast" in node.attributes:
            return None
        squeeze, axes = found
        op.also(squeeze)
        held = c if c.size == 1 else np.expand_dims(c.reshape((1,) * (total - c.ndim) + c.shape), axes)
        return with_axes(op, "Squeeze", getattr(op, op_type)(squeeze.inputs[0], held), axes)

    return Rule(f"{op_type.lower()}-of-squeeze", pattern, rewrite)


SUNK: tuple[Rule, ...] = (
    *map(_binary, _BINARY),
    *(Rule(f"{op_type.lower()}-of-squeeze", one_node(op_type, inputs), _unary) for op_type, inputs in _UNARY.items()),
)
