"""Reductions, global pooling and softmax."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tvm import te, tirx

from optc.compiler import ir
from optc.targets.tvm import compute as kernels
from optc.targets.tvm.lower import fed_axes
from optc.targets.tvm.lower import functions as fn
from optc.targets.tvm.lower.elementwise import elementwise
from optc.targets.tvm.lower.lowering import Dim, Lowering, Operand, Rule
from optc.targets.tvm.lower.movement import axes_of, axis_of, full, product

_OPAQUE = 8  # TVM's pattern of what is not fused: fusion would define the dimensions twice
_LANES = 16  # of float32, in the widest vectors there are


def _identity(x: Any) -> Any:
    return x


def over(
    ctx: Lowering,
    operand: Operand,
    axes: Sequence[Dim],
    reducer: Any,
    name: str,
    before: Callable[[Any], Any] = _identity,
    after: Callable[[Any, Any], Any] | None = None,
) -> Any:
    """after(reducer(before(x)), count) over the axes, which stay with extent 1; count is how many elements were reduced."""
    var = ctx.tensor(operand)
    if not fed_axes.fixed(axes):
        return _over_fed(ctx, var, axes, reducer, name, before, after)
    if reducer is te.sum and len(axes) > 1 and (after is None or (after is average and "float" in ctx.dtype(var))):
        for a in sorted(axes, reverse=True):  # axis by axis: a short sum loses less to rounding; the mean of means is the mean
            var, before = over(ctx, var, [a], te.sum, name, before, after), _identity
        return var

    def compute(x: Any) -> Any:
        if len(axes) == 1 and reducer is te.sum:
            return _finished(sum_along(x, axes[0], name, before), x.shape[axes[0]], name, after)
        bound = {a: te.reduce_axis((0, x.shape[a]), name=f"r{a}") for a in axes}
        dims = [1 if i in bound else d for i, d in enumerate(x.shape)]
        total = te.compute(
            dims,
            lambda *at: reducer(before(x(*[bound.get(i, j) for i, j in enumerate(at)])), axis=list(bound.values())),
            name=name,
        )
        return _finished(total, product([x.shape[a] for a in axes]), name, after)

    return ctx.te(name, compute, var)


def _over_fed(ctx: Lowering, var: Any, axes: Sequence[Dim], reducer: Any, name: str, before: Any, after: Any) -> Any:
    """Over axes that are fed: every dimension is reduced, over one element where it is not among them."""
    own = ctx.shape(var)
    chosen = [fed_axes.among(axes, i, len(own)) for i in range(len(own))]
    one = fed_axes.number(1)
    kept = [ctx.opaque(tirx.Select(c, one, fed_axes.number(d))) for c, d in zip(chosen, own, strict=True)]
    gone = [ctx.opaque(tirx.Select(c, fed_axes.number(d), one)) for c, d in zip(chosen, own, strict=True)]

    def compute(x: Any, kept: Any, gone: Any) -> Any:
        bound = [te.reduce_axis((0, d), name=f"r{i}") for i, d in enumerate(gone)]
        total = te.compute(
            tuple(kept), lambda *at: reducer(before(x(*[i + r for i, r in zip(at, bound, strict=True)])), axis=bound), name=name
        )
        return _finished(total, product(list(gone)), name, after)

    return ctx.te(name, compute, var, kept, gone, pattern=_OPAQUE)


def _spread(ctx: Lowering, reduced: Any, like: Operand) -> Any:
    """A reduction over fed axes at every element of what was reduced."""

    def compute(x: Any, dims: Any) -> Any:
        one = fed_axes.number(1)
        return te.compute(
            tuple(dims),
            lambda *at: x(*[tirx.Select(d == one, 0 * i, i) for i, d in zip(at, x.shape, strict=True)]),
            name="spread",
        )

    return ctx.te("spread", compute, reduced, [fed_axes.number(d) for d in ctx.shape(like)], pattern=_OPAQUE)


def _finished(total: Any, count: Any, name: str, after: Callable[[Any, Any], Any] | None) -> Any:
    return total if after is None else te.compute(total.shape, lambda *at: after(total(*at), count), name=f"{name}_out")


def average(total: Any, count: Any) -> Any:
    """total / count: a product with the reciprocal where it is known and the type is a float."""
    dtype = fn.dtype(total)
    if isinstance(count, tirx.IntImm | int):
        known = int(count)
        return total * tirx.const(1.0 / max(known, 1), dtype) if "float" in dtype else fn.divide(total, tirx.const(known, dtype))
    return fn.divide(total, count.astype(dtype))


def reduction(kind: str) -> Rule:
    """A rule for ReduceSum and its kin. Without axes all are reduced, unless noop_with_empty_axes asks for none."""

    def rule(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
        own = ctx.shape(inputs[0])
        axes = axes_of(ctx, node, inputs, len(own))
        if not axes:
            if ir.attribute(node, "noop_with_empty_axes", 0):
                return inputs[0]
            axes = list(range(len(own)))
        result = reduce(ctx, inputs[0], axes, kind)
        if ir.attribute(node, "keepdims", 1):
            return result
        if not fed_axes.fixed(axes):
            return ctx.reshape(result, fed_axes.without(ctx, own, axes))
        return ctx.reshape(result, [d for i, d in enumerate(own) if i not in axes])

    return rule


def reduce(ctx: Lowering, operand: Operand, axes: Sequence[Dim], kind: str) -> Any:
    dtype = ctx.dtype(operand)
    if fed_axes.fixed(axes) and any(isinstance(d, int) and d == 0 for d in (ctx.shape(operand)[a] for a in axes)):
        return _nothing(ctx, operand, axes, kind)
    if dtype == "bool" or ("int" in dtype and kind in ("l2", "log_sum", "log_sum_exp")):  # of which there is no arithmetic
        wide = "uint8" if dtype == "bool" else "float64"
        found = reduce(ctx, elementwise(ctx, "wide", lambda x: x.astype(wide), operand), axes, kind)
        return elementwise(ctx, "narrow", lambda x: x.astype(dtype), found)
    if kind == "mean":
        return over(ctx, operand, axes, te.sum, "mean", after=average)
    if kind in ("max", "min"):
        return over(ctx, operand, axes, extreme(kind, dtype), kind)
    if kind == "log_sum_exp":
        peak = over(ctx, operand, axes, extreme("max", dtype), "max")
        level = peak if fed_axes.fixed(axes) else _spread(ctx, peak, operand)
        shifted = elementwise(ctx, "shifted", lambda x, m: tirx.exp(x - m), operand, level)
        return elementwise(ctx, "log", lambda s, m: tirx.log(s) + m, over(ctx, shifted, axes, te.sum, "sum"), peak)
    before, after = {
        "sum": (_identity, None),
        "prod": (_identity, None),
        "l1": (tirx.abs, None),
        "l2": (lambda x: x * x, tirx.sqrt),
        "sum_square": (lambda x: x * x, None),
        "log_sum": (_identity, tirx.log),
    }[kind]
    reducer = te.comm_reducer(lambda a, b: a * b, lambda t: tirx.const(1, t), name="prod") if kind == "prod" else te.sum
    result = over(ctx, operand, axes, reducer, kind, before)
    return result if after is None else elementwise(ctx, kind, after, result)


def _nothing(ctx: Lowering, operand: Operand, axes: Sequence[Dim], kind: str) -> Any:
    """A reduction of no elements: the neutral element of its operation."""
    dtype = ctx.dtype(operand)
    if dtype == "bool" or "float" in dtype:
        low, high = (False, True) if dtype == "bool" else (-np.inf, np.inf)
    else:
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    value = {"max": low, "min": high, "prod": 1, "mean": np.nan, "log_sum": low, "log_sum_exp": low}.get(kind, 0)
    if value is np.nan and "float" not in dtype:
        value = 0
    dims = [1 if i in axes else d for i, d in enumerate(ctx.shape(operand))]
    return full(ctx, dims, np.array(value).astype(dtype))


def extreme(kind: str, dtype: str) -> Any:
    f = fn.maximum if kind == "max" else fn.minimum
    if "float" not in dtype:
        return te.max if kind == "max" else te.min
    start = float("-inf") if kind == "max" else float("inf")
    return te.comm_reducer(f, lambda t: tirx.const(start, t), name=kind)


def global_pool(kind: str) -> Rule:
    """Over every axis but batch and channels, of NCHW."""

    def rule(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
        return reduce(ctx, inputs[0], range(2, len(ctx.shape(inputs[0]))), kind)

    return rule


def softmax(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """Along an axis (last by default); before opset 13 over all axes from `axis` (1 by default) on.

    One function: a row is read, normalized and written while it is in cache. Softmax of float16 is rounded to it wherever
    ONNX's definition stores a tensor; LogSoftmax is not, whose definition takes the logarithm of zeros.
    """
    own, dtype = ctx.shape(inputs[0]), ctx.dtype(inputs[0])
    operand, axis = inputs[0], axis_of(ctx, node, inputs[0], -1 if ctx.opset >= 13 else 1)
    if ctx.opset < 13 and axis != len(own) - 1:
        operand, axis = ctx.reshape(operand, [ctx.opaque(product(own[:axis])), ctx.opaque(product(own[axis:]))]), 1
    log = node.op_type == "LogSoftmax"
    half = not log and node.inputs[0] is not None and node.inputs[0].dtype == ir.DataType.FLOAT16
    if not log and dtype == "float32" and axis == len(ctx.shape(operand)) - 1:
        x = ctx.tensor(operand)
        kernel = kernels.softmax(ctx.machine, ctx.shape(operand), "float16" if half else "float32")
        return ctx.reshape(ctx.te("softmax", kernel.compute, x), own)

    def kept(value: Any) -> Any:
        return value.astype("float16").astype(dtype) if half else value

    def compute(x: Any) -> Any:
        def row(*at: Any) -> tuple[Any, ...]:
            return (*at[:axis], 0, *at[axis + 1 :])

        peak = _fold(x, axis, extreme("max", dtype), "peak")
        powers = te.compute(x.shape, lambda *at: kept(tirx.exp(kept(x(*at) - peak(*row(*at))))), name="powers")
        total = sum_along(powers, axis, "total")
        if log:
            return te.compute(x.shape, lambda *at: x(*at) - peak(*row(*at)) - tirx.log(total(*row(*at))), name="out")
        return te.compute(x.shape, lambda *at: powers(*at) / kept(total(*row(*at))), name="out")

    return ctx.reshape(ctx.te("softmax", compute, ctx.tensor(operand)), own)


def _fold(
    x: Any, axis: int, reducer: Any, name: str, first: Any = 0, count: Any = None, before: Callable[[Any], Any] = _identity
) -> Any:
    """The reduction of `count` elements along one axis from `first` on; the axis stays with extent 1."""
    k = te.reduce_axis((0, x.shape[axis] if count is None else count), name="k")
    dims = [1 if i == axis else d for i, d in enumerate(x.shape)]
    return te.compute(dims, lambda *at: reducer(before(x(*at[:axis], first + k, *at[axis + 1 :])), axis=[k]), name=name)


def sum_along(x: Any, axis: int, name: str, before: Callable[[Any], Any] = _identity) -> Any:
    """The sum along one axis. A long one is cut into whole vectors and a rest: lanes are summed apart, which is faster and
    keeps small terms from being rounded away."""
    extent = x.shape[axis]
    length = int(extent) if isinstance(extent, tirx.IntImm) else 0
    whole = length // _LANES * _LANES
    if axis != len(x.shape) - 1 or whole in (0, length):
        return _fold(x, axis, te.sum, name, before=before)
    body = _fold(x, axis, te.sum, f"{name}_whole", count=whole, before=before)
    rest = _fold(x, axis, te.sum, f"{name}_rest", first=whole, count=length - whole, before=before)
    return te.compute(body.shape, lambda *at: body(*at) + rest(*at), name=name)
