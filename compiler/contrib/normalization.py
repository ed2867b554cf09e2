"""Layer normalization with a residual sum, with embeddings, and without the mean."""

from __future__ import annotations

from typing import Any

import numpy as np

from optc.compiler import ir
from optc.compiler.contrib.common import integers, mean, number, operand, size, wanted
from optc.compiler.rewrite import Builder, Refuse


def _layer(op: Builder, x: ir.Value, gamma: ir.Value, beta: ir.Value | None, epsilon: float) -> Any:
    if op.opset >= 17:
        return op.LayerNormalization(x, gamma, beta, axis=-1, epsilon=epsilon)
    centred = op.Sub(x, mean(op, x))
    scaled = op.Div(centred, op.Sqrt(op.Add(mean(op, op.Mul(centred, centred)), number(epsilon, gamma))))
    y = op.Mul(scaled, gamma)
    return y if beta is None else op.Add(y, beta)


def _root(op: Builder, x: ir.Value, gamma: ir.Value, epsilon: float) -> Any:
    """x / sqrt(mean(x^2) + epsilon) * gamma."""
    if op.opset >= 23:
        return op.RMSNormalization(x, gamma, axis=-1, epsilon=epsilon)
    return op.Mul(op.Div(x, op.Sqrt(op.Add(mean(op, op.Mul(x, x)), number(epsilon, gamma)))), gamma)


def _statistics(node: ir.Node) -> Refuse | None:
    if wanted(node, 1) or wanted(node, 2):
        return Refuse("the statistics that it also gives are for training")
    return None


def simplified(op: Builder, node: ir.Node) -> Any:
    """SimplifiedLayerNormalization(x, scale), over the last axis."""
    x, axis = operand(node, 0), ir.attribute(node, "axis", -1)
    if axis != -1 and (x.shape is None or axis != len(x.shape) - 1):
        return Refuse(f"it normalizes from axis {axis} on, not the last alone")
    if ir.attribute(node, "stash_type", 1) != 1 or x.dtype != ir.DataType.FLOAT:
        return Refuse(f"only float32, '{x.name}' is {x.dtype}")
    if wanted(node, 1):
        return _statistics(node)
    return (_root(op, x, operand(node, 1), ir.attribute(node, "epsilon", 1e-5)), None)


def skip(op: Builder, node: ir.Node) -> Any:
    """LayerNormalization(input + skip + bias); the sum is the fourth output."""
    refused = _statistics(node)
    if refused:
        return refused
    total, gamma, beta = _sum(op, node, 4), operand(node, 2), operand(node, 3)
    return (_layer(op, total, gamma, beta, ir.attribute(node, "epsilon", 1e-12)), None, None, total)


def skip_simplified(op: Builder, node: ir.Node) -> Any:
    """As `skip`, without mean and beta."""
    refused = _statistics(node)
    if refused:
        return refused
    total = _sum(op, node, 3)
    return (_root(op, total, operand(node, 2), ir.attribute(node, "epsilon", 1e-12)), None, None, total)


def _sum(op: Builder, node: ir.Node, bias: int) -> Any:
    total = op.Add(operand(node, 0), operand(node, 1))
    return total if operand(node, bias) is None else op.Add(total, operand(node, bias))


def embed(op: Builder, node: ir.Node) -> Any:
    """LayerNormalization(words[ids] + positions + segments[segment_ids]); how many of the mask are 1; the sum."""
    ids, segment_ids, words, table, segments, gamma, beta, mask, position_ids = (operand(node, i) for i in range(9))
    if position_ids is None:
        at = op.Slice(table, integers(0), size(op, ids, 1), integers(0))
    else:
        at = op.Gather(table, position_ids, axis=0)
    total = op.Add(op.Gather(words, ids, axis=0), at)
    if segment_ids is not None and segments is not None:
        total = op.Add(total, op.Gather(segments, segment_ids, axis=0))
    y = _layer(op, total, gamma, beta, ir.attribute(node, "epsilon", 1e-12))
    return (y, _count(op, ids, mask) if wanted(node, 1) else None, total)


def _count(op: Builder, ids: ir.Value, mask: ir.Value | None) -> Any:
    """int32[B]."""
    if mask is None:
        return op.Expand(np.array(0, np.int32), size(op, ids, 0))
    ones = op.Cast(op.Equal(mask, np.array(1, np.int32)), to=int(ir.DataType.INT32))
    return op.ReduceSum(ones, integers(1), keepdims=0)
