"""com.microsoft's operators on quantized tensors, rounded where onnxruntime rounds: after the zero point was added."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tvm import te, tirx

from optc.compiler import ir
from optc.targets.tvm.lower import functions as fn
from optc.targets.tvm.lower import types, windows
from optc.targets.tvm.lower.elementwise import elementwise
from optc.targets.tvm.lower.integers import shifted
from optc.targets.tvm.lower.lowering import Lowering, Operand, Rule, is_constant
from optc.targets.tvm.lower.movement import axis_of, concat
from optc.targets.tvm.lower.quantize import given, saturated
from optc.targets.tvm.lower.reduce import over, reduce


def _point(ctx: Lowering, operand: Operand, kind: str) -> Operand:
    """A zero point as a scalar; left out it is 0."""
    if operand is None:
        return np.zeros((), kind)
    return _scalar(ctx, operand)


def _scalar(ctx: Lowering, operand: Operand) -> Operand:
    return operand.reshape(()) if is_constant(operand) else ctx.reshape(operand, [])


def _moved(value: Any, zero: Any, kind: str) -> Any:
    """A quotient plus the zero point, to nearest even, saturated."""
    return saturated(value + zero.astype("float32"), None, kind)


def _fused(a: Any, b: Any, c: Any) -> Any:
    """a · b + c of an integer and two float32, rounded once, as onnxruntime's AVX2 kernel does: exact in float64, but for c."""
    return (a.astype("float64") * b.astype("float64") + c.astype("float64")).astype("float32")


def _pair(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> tuple[str, list[Operand]]:
    """The element type of two tensors and their result; a, b, the three zero points, the three scales."""
    a, a_scale, a_zero, b, b_scale, b_zero, c_scale = inputs[:7]
    kind = types.kind_of(node.inputs[0], a)
    points = [_point(ctx, z, kind) for z in (a_zero, b_zero, given(inputs, 7))]
    scales = [_scalar(ctx, s) for s in (a_scale, b_scale, c_scale)]
    return kind, [a, b, *points, *scales]


def add(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    kind, operands = _pair(ctx, node, inputs)

    def element(x: Any, y: Any, zx: Any, zy: Any, zc: Any, sx: Any, sy: Any, sc: Any) -> Any:
        first, second = sx / sc, sy / sc
        fixed = zc.astype("float32") - _fused(zx, first, second * zy.astype("float32"))
        return saturated(_fused(x, first, _fused(y, second, fixed)), None, kind)

    return elementwise(ctx, "qlinear_add", element, *operands)


def mul(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    kind, operands = _pair(ctx, node, inputs)

    def element(x: Any, y: Any, zx: Any, zy: Any, zc: Any, sx: Any, sy: Any, sc: Any) -> Any:
        whole = (x.astype("int32") - zx.astype("int32")) * (y.astype("int32") - zy.astype("int32"))
        return _moved(whole.astype("float32") * (sx * sy / sc), zc, kind)

    return elementwise(ctx, "qlinear_mul", element, *operands)


def function(f: Callable[..., Any], **defaults: Any) -> Rule:
    """A rule for f of float32, between a dequantization and a quantization; f takes the attributes, too."""

    def rule(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
        values = [ir.attribute(node, name, default) for name, default in defaults.items()]
        kind = types.kind_of(node.inputs[0], inputs[0])
        return _quantized(
            ctx, _real(ctx, inputs[0], inputs[1], given(inputs, 2)), lambda x: f(x, *values), inputs[3], given(inputs, 4), kind
        )

    return rule


def _real(ctx: Lowering, x: Operand, scale: Operand, zero: Operand) -> Any:
    kind = ctx.dtype(x)
    return elementwise(
        ctx,
        "dequantize",
        lambda q, s, z: s * (q.astype("int32") - z.astype("int32")).astype("float32"),
        x,
        _scalar(ctx, scale),
        _point(ctx, zero, kind),
    )


def _quantized(ctx: Lowering, x: Operand, f: Callable[[Any], Any], scale: Operand, zero: Operand, kind: str) -> Any:
    return elementwise(
        ctx, "quantize", lambda v, s, z: saturated(f(v) / s, z, kind), x, _scalar(ctx, scale), _point(ctx, zero, kind)
    )


def join(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """QLinearConcat: the output's scale and zero point, then each part with its own. A part of the output's own is copied."""
    scale, zero, *rest = inputs
    kind = types.kind_of(node.inputs[1], zero)
    parts = []
    for x, own, point in zip(rest[::3], rest[1::3], rest[2::3], strict=True):
        same = all(is_constant(a) and is_constant(b) and np.array_equal(a, b) for a, b in ((own, scale), (point, zero)))
        parts.append(x if same else _quantized(ctx, _real(ctx, x, own, point), lambda v: v, scale, zero, kind))
    return concat(ctx, node, parts)


def average_pool(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    last = bool(ir.attribute(node, "channels_last", 0))
    pool = windows.average_pool_nhwc if last else windows.average_pool
    kind = types.kind_of(node.inputs[0], inputs[0])
    mean = pool(ctx, node, [_real(ctx, inputs[0], inputs[1], given(inputs, 2))])
    point = _point(ctx, given(inputs, 4), kind)
    return elementwise(ctx, "quantize", lambda v, s, z: _moved(v / s, z, kind), mean, _scalar(ctx, inputs[3]), point)


def global_average_pool(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """The sum in int32, times x_scale / (y_scale · count)."""
    x, x_scale, x_zero, y_scale, y_zero = inputs
    if not is_constant(x_scale) or not is_constant(y_scale):
        raise ctx.fail(node, "its scales are computed at run time")
    rank, kind = len(ctx.shape(x)), types.kind_of(node.inputs[0], x)
    axes = range(1, rank - 1) if ir.attribute(node, "channels_last", 0) else range(2, rank)
    whole = shifted(ctx, x, None if x_zero is None else _scalar(ctx, x_zero))
    first, second = (tirx.const(s.item(), "float32") for s in (x_scale, y_scale))

    def scaled(total: Any, count: Any) -> Any:
        return total.astype("float32") * (first / (second * count.astype("float32")))

    mean = over(ctx, whole, list(axes), te.sum, "sum", lambda v: v.astype("int32"), scaled)
    return elementwise(ctx, "quantize", lambda v, z: saturated(v, z, kind), mean, _point(ctx, y_zero, kind))


def softmax(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """exp(x_scale · (x - max)), times the floor of 1 / y_scale, over its sum; `opset` says whose axes are meant."""
    x, x_scale, _, y_scale, y_zero = inputs
    kind = types.kind_of(node.inputs[0], x)
    old = int(ir.attribute(node, "opset")) < 13
    axis = axis_of(ctx, node, x, -1)
    rank = len(ctx.shape(x))
    axes = list(range(axis, rank)) if old else [axis]
    peak = reduce(ctx, x, axes, "max")
    powers = elementwise(
        ctx,
        "powers",
        lambda v, m, s: tirx.exp((v.astype("int32") - m.astype("int32")).astype("float32") * s),
        x,
        peak,
        _scalar(ctx, x_scale),
    )
    total = reduce(ctx, powers, axes, "sum")

    def element(v: Any, t: Any, s: Any, z: Any) -> Any:
        return saturated(v * tirx.floor(fn.number(1, s) / s) / t, z, kind)

    return elementwise(ctx, "quantize", element, powers, total, _scalar(ctx, y_scale), _point(ctx, y_zero, kind))


def leaky_relu(x: Any, alpha: float) -> Any:
    return tirx.Select(x >= fn.number(0, x), x, x * fn.number(alpha, x))
