"""Normalizations, written with the reductions and elementwise expressions that fuse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import te, tirx

from optc.compiler import ir
from optc.targets.tvm.lower import functions as fn
from optc.targets.tvm.lower.elementwise import elementwise, read
from optc.targets.tvm.lower.lowering import Lowering, Operand, is_constant
from optc.targets.tvm.lower.movement import axis_of
from optc.targets.tvm.lower.reduce import average, over, reduce, sum_along


def _channels(ctx: Lowering, operand: Operand, rank: int) -> Operand:
    """A vector of channels, shaped to broadcast against NC..."""
    shape = [ctx.shape(operand)[0], *[1] * (rank - 2)]
    return operand.reshape(shape) if is_constant(operand) else ctx.reshape(operand, shape)


def batch_normalization(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    if ir.attribute(node, "training_mode", 0):
        return _trained(ctx, node, inputs)
    if not ir.attribute(node, "spatial", 1):
        raise ctx.fail(node, "spatial=0: statistics of each element rather than of each channel")
    if any(v.uses() or v.is_graph_output() for v in node.outputs[1:]):
        raise ctx.fail(node, "its statistics are used, which training computes")
    x, *parameters = inputs
    epsilon = float(ir.attribute(node, "epsilon", 1e-5))
    rank = len(ctx.shape(x))
    if all(is_constant(p) for p in parameters):
        scale, shift, mean, variance = (p.astype(np.float64) for p in parameters)
        factor = scale / np.sqrt(variance + epsilon)
        pair = [factor, shift - mean * factor]
        factor, offset = (_channels(ctx, p.astype(parameters[0].dtype), rank) for p in pair)
        return elementwise(ctx, "batch_norm", lambda x, a, b: x * a + b, x, factor, offset)
    shaped = [_channels(ctx, p, rank) for p in parameters]
    dtype = ctx.dtype(x)

    def element(x: Any, s: Any, b: Any, m: Any, v: Any) -> Any:
        return (x - m) / tirx.sqrt(v + tirx.const(epsilon, dtype)) * s + b

    return elementwise(ctx, "batch_norm", element, x, *shaped)


def _trained(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> list[Any]:
    """By the statistics of this batch; and the running ones, of which `momentum` stays."""
    x, scale, shift, *running = inputs
    rank, dtype = len(ctx.shape(x)), ctx.dtype(x)
    axes = [i for i in range(rank) if i != 1]
    epsilon, momentum = (float(ir.attribute(node, name, default)) for name, default in (("epsilon", 1e-5), ("momentum", 0.9)))
    mean = reduce(ctx, x, axes, "mean")
    centred = elementwise(ctx, "centred", lambda a, m: a - m, x, mean)
    variance = over(ctx, centred, axes, te.sum, "variance", lambda a: a * a, average)

    def element(c: Any, v: Any, s: Any, b: Any) -> Any:
        return c / tirx.sqrt(v + tirx.const(epsilon, dtype)) * s + b

    def mixed(old: Any, new: Any) -> Any:
        kind = fn.dtype(old)
        return old * tirx.const(momentum, kind) + new.astype(kind) * tirx.const(1 - momentum, kind)

    y = elementwise(ctx, "batch_norm", element, centred, variance, *(_channels(ctx, p, rank) for p in (scale, shift)))
    flat = (ctx.reshape(found, [ctx.shape(x)[1]]) for found in (mean, variance))
    return [y, *(elementwise(ctx, "running", mixed, old, new) for old, new in zip(running, flat, strict=True))]


def _standardized(ctx: Lowering, x: Operand, axes: Sequence[int], epsilon: float) -> tuple[Any, Any]:
    """x - mean, and 1 / sqrt(variance + epsilon): two passes, as the variance of centred values is exact."""
    dtype = ctx.dtype(x)
    mean = reduce(ctx, x, axes, "mean")
    centred = elementwise(ctx, "centred", lambda a, m: a - m, x, mean)

    def inverse(total: Any, count: Any) -> Any:
        return tirx.const(1, dtype) / tirx.sqrt(average(total, count) + tirx.const(epsilon, dtype))

    return centred, over(ctx, centred, axes, te.sum, "variance", lambda a: a * a, inverse)


def layer_normalization(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """One function where the last axis alone is normalized: a row is read and written while it is in cache."""
    x = inputs[0]
    own, dtype = ctx.shape(x), ctx.dtype(x)
    axes = list(range(axis_of(ctx, node, x, -1), len(own)))
    epsilon = tirx.const(float(ir.attribute(node, "epsilon", 1e-5)), dtype)
    scaling = [operand for operand in inputs[1:3] if operand is not None]
    if len(axes) > 1 or any(v.uses() or v.is_graph_output() for v in node.outputs[1:]):
        centred, scale = _standardized(ctx, x, axes, float(ir.attribute(node, "epsilon", 1e-5)))
        result = elementwise(ctx, "layer_norm", lambda a, s, *rest: _scaled(a * s, rest), centred, scale, *scaling)
        return [result, reduce(ctx, x, axes, "mean"), scale] if len(node.outputs) > 1 else result
    axis = axes[0]

    def compute(x: Any, *rest: Any) -> Any:
        def row(*at: Any) -> tuple[Any, ...]:
            return (*at[:axis], 0)

        total = sum_along(x, axis, "total")
        mean = te.compute(total.shape, lambda *at: average(total(*at), x.shape[axis]), name="mean")
        centred = te.compute(x.shape, lambda *at: x(*at) - mean(*row(*at)), name="centred")
        squares = sum_along(centred, axis, "squares", lambda v: v * v)
        one = tirx.const(1, dtype)
        scale = te.compute(total.shape, lambda *at: one / tirx.sqrt(average(squares(*at), x.shape[axis]) + epsilon), name="scale")
        return te.compute(x.shape, lambda *at: _scaled(centred(*at) * scale(*row(*at)), [read(r, at) for r in rest]), name="out")

    return ctx.te("layer_norm", compute, ctx.tensor(x), *[ctx.tensor(operand) for operand in scaling])


def _scaled(value: Any, rest: Sequence[Any]) -> Any:
    """Times the gain, plus the bias if there is one."""
    value = value * rest[0]
    return value + rest[1] if len(rest) > 1 else value


def rms_normalization(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    x, gain = inputs[0], inputs[1]
    own, dtype = ctx.shape(x), ctx.dtype(x)
    axes = list(range(axis_of(ctx, node, x, -1), len(own)))
    epsilon = float(ir.attribute(node, "epsilon", 1e-5))
    mean = reduce(ctx, elementwise(ctx, "square", lambda a: a * a, x), axes, "mean")
    return elementwise(ctx, "rms_norm", lambda a, m, g: a / tirx.sqrt(m + tirx.const(epsilon, dtype)) * g, x, mean, gain)


def instance_normalization(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    x, gain, bias = inputs
    rank = len(ctx.shape(x))
    centred, scale = _standardized(ctx, x, range(2, rank), float(ir.attribute(node, "epsilon", 1e-5)))
    return elementwise(
        ctx,
        "instance_norm",
        lambda a, s, g, b: a * s * g + b,
        centred,
        scale,
        _channels(ctx, gain, rank),
        _channels(ctx, bias, rank),
    )


def group_normalization(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """Channels in `num_groups` groups; gain and bias a channel each (before opset 21: a group each)."""
    x, gain, bias = inputs
    groups, own, dtype = int(ir.attribute(node, "num_groups")), ctx.shape(x), ctx.dtype(x)
    if not isinstance(own[1], int):
        raise ctx.fail(node, "how many channels there are is known only at run time")
    if dtype == "float16":
        x, gain, bias = (_cast(ctx, v, "float32") for v in (x, gain, bias))
    split = ctx.reshape(x, [own[0], groups, own[1] // groups, *own[2:]])
    rank = len(own) + 1
    centred, scale = _standardized(ctx, split, range(2, rank), float(ir.attribute(node, "epsilon", 1e-5)))
    per_channel = ctx.opset >= 21
    lead = [groups, own[1] // groups if per_channel else 1, *[1] * (rank - 3)]
    shaped = [v.reshape(lead) if is_constant(v) else ctx.reshape(v, lead) for v in (gain, bias)]
    y = elementwise(ctx, "group_norm", lambda a, s, g, b: a * s * g + b, centred, scale, *shaped)
    return _cast(ctx, ctx.reshape(y, own), dtype)


def _cast(ctx: Lowering, operand: Operand, dtype: str) -> Operand:
    if ctx.dtype(operand) == dtype:
        return operand
    return operand.astype(dtype) if is_constant(operand) else elementwise(ctx, "cast", lambda v: v.astype(dtype), operand)


def mean_variance_normalization(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """(x - mean) / (deviation + 1e-9) over the axes."""
    x = inputs[0]
    own, dtype = ctx.shape(x), ctx.dtype(x)
    axes = [int(a) % len(own) for a in ir.attribute(node, "axes", [0, 2, 3])]
    mean = reduce(ctx, x, axes, "mean")
    centred = elementwise(ctx, "centred", lambda a, m: a - m, x, mean)
    variance = reduce(ctx, elementwise(ctx, "square", lambda a: a * a, centred), axes, "mean")
    return elementwise(ctx, "mvn", lambda a, v: a / (tirx.sqrt(v) + tirx.const(1e-9, dtype)), centred, variance)


def lp_normalization(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """Divided by its norm; zeros where that is zero."""
    axis = axis_of(ctx, node, inputs[0], -1)
    norm = reduce(ctx, inputs[0], [axis], "l1" if ir.attribute(node, "p", 2) == 1 else "l2")
    return elementwise(ctx, "lp_norm", lambda x, n: tirx.Select(n == fn.number(0, n), n, x / n), inputs[0], norm)
