"""Pooling over any number of spatial axes of NC..., with what the channels-last kernels lack: indices, norms, symbolic pads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tvm import relax, te, tirx

from optc.compiler import ir
from optc.targets.tvm.lower.elementwise import elementwise
from optc.targets.tvm.lower.lowering import Dim, Lowering, Operand
from optc.targets.tvm.lower.movement import full, product
from optc.targets.tvm.lower.reduce import extreme, over
from optc.targets.tvm.lower.sliding import Window, window_of

_FUSABLE = 4  # FuseOps' kOutEWiseFusable


def max_pool(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """The maxima, and where they lie in the flattened input: the first of equals."""
    x, window = inputs[0], _window(ctx, node, inputs[0])
    dtype = ctx.dtype(x)
    lowest = tirx.const(float("-inf"), dtype) if "float" in dtype else tirx.min_value(dtype)
    largest = extreme("max", dtype)
    peak = _slide(ctx, "max_pool", x, window, lambda value, inside, axes: largest(_guard(inside, value, lowest), axis=axes))
    if len(node.outputs) < 2 or not (node.outputs[1].uses() or node.outputs[1].is_graph_output()):
        return peak
    return [peak, _indices(ctx, x, peak, window, bool(ir.attribute(node, "storage_order", 0)))]


def average_pool(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """The divisor counts the taps inside the image, or with count_include_pad inside its padding."""
    x, window = inputs[0], _window(ctx, node, inputs[0])
    zero = tirx.const(0, ctx.dtype(x))
    padded = bool(ir.attribute(node, "count_include_pad", 0))

    def average(total: Any, at: Sequence[Any], sizes: Sequence[Any], before: Any, after: Any) -> Any:
        count: Any = tirx.IntImm("int64", 1)
        for i, o in enumerate(at):
            start, d = o * window.strides[i] - before[i], window.dilations[i]
            low, high = (-before[i], sizes[i] + after[i]) if padded else (0, sizes[i])
            first = te.max(0, (low - start + d - 1) // d)
            count = count * (te.min(window.kernel[i], (high - start + d - 1) // d) - first)
        return total / count.astype(total.ty.dtype)

    def reduced(value: Any, inside: Any, axes: list[Any]) -> Any:
        return te.sum(_guard(inside, value, zero), axis=axes)

    return _slide(ctx, "average_pool", x, window, reduced, average)


def lp_pool(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """The p-norm of each window."""
    x, window, p = inputs[0], _window(ctx, node, inputs[0]), int(ir.attribute(node, "p", 2))
    zero, (before, after) = tirx.const(0, ctx.dtype(x)), _norm(p, ctx.dtype(x))
    total = _slide(ctx, "lp_pool", x, window, lambda value, inside, axes: te.sum(_guard(inside, before(value), zero), axis=axes))
    return elementwise(ctx, "root", after, total)


def global_lp_pool(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    before, after = _norm(int(ir.attribute(node, "p", 2)), ctx.dtype(inputs[0]))
    total = over(ctx, inputs[0], range(2, len(ctx.shape(inputs[0]))), te.sum, "lp_pool", before)
    return elementwise(ctx, "root", after, total)


def max_unpool(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """The elements at their indices in the flattened output, zeros elsewhere."""
    x, at = inputs[0], inputs[1]
    own, kernel = ctx.shape(x), [int(k) for k in ir.attribute(node, "kernel_shape")]
    window = window_of(ctx, node, own[2:], kernel)
    spatial = [
        (e - 1) * s + k - b - a
        for e, s, k, b, a in zip(own[2:], window.strides, kernel, window.before, window.after, strict=True)
    ]
    if len(inputs) > 2 and inputs[2] is not None:
        given = ctx.integers(node, inputs[2], "output_shape")
        if not ctx.same_shape(given[2:], spatial):
            raise ctx.fail(node, "an output_shape other than what its windows give: engines disagree on what indices count in")
    dims = [*own[:2], *[ctx.opaque(e) for e in spatial]]
    zeros = full(ctx, [ctx.opaque(product(dims))], np.zeros((), ctx.dtype(x)))
    count = [ctx.opaque(product(own))]
    return ctx.reshape(ctx.emit(relax.op.scatter_elements(zeros, ctx.reshape(at, count), ctx.reshape(x, count), axis=0)), dims)


def _window(ctx: Lowering, node: ir.Node, x: Operand) -> Window:
    kernel = [int(k) for k in ir.attribute(node, "kernel_shape")]
    return window_of(ctx, node, ctx.shape(x)[2:], kernel, ceil_mode=bool(ir.attribute(node, "ceil_mode", 0)))


def _guard(inside: Any, value: Any, other: Any) -> Any:
    return value if inside is None else tirx.if_then_else(inside, value, other)


def _norm(p: int, dtype: str) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """What is summed, and what is taken of the sum."""
    if p == 1:
        return tirx.abs, lambda total: total
    if p == 2:
        return lambda x: x * x, tirx.sqrt
    power, root = tirx.const(float(p), dtype), tirx.const(1 / p, dtype)
    return lambda x: tirx.pow(tirx.abs(x), power), lambda total: tirx.pow(total, root)


def _exprs(dims: Sequence[Dim]) -> list[Any]:
    return [tirx.IntImm("int64", d) if isinstance(d, int) else d for d in dims]


def _slide(
    ctx: Lowering,
    name: str,
    x: Operand,
    window: Window,
    reduced: Callable[[Any, Any, list[Any]], Any],
    finish: Callable[..., Any] | None = None,
) -> Any:
    """reduced(element, whether it lies inside the image, reduction axes) of every window; then finish(it, where, ...)."""
    own = ctx.shape(x)
    dims = [*own[:2], *[ctx.opaque(e) for e in window.extents(own[2:])]]

    def compute(x: Any, before: Any, after: Any, dims: Any) -> Any:
        taps = [te.reduce_axis((0, k), name=f"k{i}") for i, k in enumerate(window.kernel)]

        def element(n: Any, c: Any, *at: Any) -> Any:
            index, inside = _source(x, at, taps, before, window)
            return reduced(x(n, c, *index), inside, taps)

        total = te.compute(tuple(dims), element, name=name)
        if finish is None:
            return total
        return te.compute(tuple(dims), lambda n, c, *at: finish(total(n, c, *at), at, x.shape[2:], before, after), name="finish")

    return ctx.te(name, compute, ctx.tensor(x), _exprs(window.before), _exprs(window.after), dims, pattern=_FUSABLE)


def _source(x: Any, at: Sequence[Any], taps: Sequence[Any], before: Any, window: Window) -> tuple[list[Any], Any]:
    """Where a tap reads, and whether that is inside the image."""
    index = [o * s + k * d - b for o, s, k, d, b in zip(at, window.strides, taps, window.dilations, before, strict=True)]
    return index, tirx.all(*[c for i, e in zip(index, x.shape[2:], strict=True) for c in (i >= 0, i < e)])


def _indices(ctx: Lowering, x: Operand, peak: Any, window: Window, column_major: bool) -> Any:
    """Where the maxima lie: of the taps that equal it, the one that comes first in the window."""
    last = tirx.max_value("int64")

    def compute(x: Any, peak: Any, before: Any) -> Any:
        taps = [te.reduce_axis((0, k), name=f"k{i}") for i, k in enumerate(window.kernel)]

        def tap(n: Any, c: Any, *at: Any) -> Any:
            index, inside = _source(x, at, taps, before, window)
            found = tirx.all(inside, x(n, c, *index) == peak(n, c, *at))
            return te.min(tirx.if_then_else(found, _rowwise(taps, window.kernel), last), axis=taps)

        first = te.compute(peak.shape, tap, name="tap")

        def element(n: Any, c: Any, *at: Any) -> Any:
            places: list[Any] = []
            rest = first(n, c, *at)
            rest = tirx.Select(rest == last, tirx.IntImm("int64", 0), rest)  # nothing equals NaN
            for k in reversed(window.kernel):
                places.insert(0, rest % k)
                rest = rest // k
            index, _ = _source(x, at, places, before, window)
            sizes = list(x.shape[2:])
            flat = _rowwise(index[::-1], sizes[::-1]) if column_major else _rowwise(index, sizes)
            return (n * x.shape[1] + c) * product(sizes) + flat

        return te.compute(peak.shape, element, name="indices")

    return ctx.te("indices", compute, ctx.tensor(x), peak, _exprs(window.before))


def _rowwise(index: Sequence[Any], sizes: Sequence[Any]) -> Any:
    flat: Any = tirx.IntImm("int64", 0)
    for i, size in zip(index, sizes, strict=True):
        flat = flat * size + i
    return flat
