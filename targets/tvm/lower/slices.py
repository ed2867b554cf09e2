"""Slice: ranges of some axes, known at compile time or fed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import te, tirx

from optc.compiler import ir
from optc.targets.tvm.lower import fed_axes
from optc.targets.tvm.lower.fed_axes import number
from optc.targets.tvm.lower.lowering import Dim, Lowering, Operand
from optc.targets.tvm.lower.movement import axes_of, cut


def slice_(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    own = ctx.shape(inputs[0])
    if len(inputs) > 1:
        starts, ends = (ctx.integers(node, inputs[i], what) for i, what in ((1, "starts"), (2, "ends")))
    else:
        starts, ends = list(ir.attribute(node, "starts")), list(ir.attribute(node, "ends"))
    axes = axes_of(ctx, node, inputs, len(own), 3) or list(range(len(starts)))
    given = inputs[4] if len(inputs) > 4 else None
    steps = [1] * len(starts) if given is None else ctx.integers(node, given, "steps")
    if not fed_axes.fixed([*axes, *steps]):
        return _fed(ctx, inputs[0], axes, starts, ends, steps)
    ranges: dict[int, tuple[Dim, Dim, int]] = {}
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        ranges[int(axis)] = _range(start, end, int(step), own[int(axis)])
    return cut(ctx, inputs[0], ranges)


def _fed(
    ctx: Lowering, operand: Operand, axes: Sequence[Dim], starts: Sequence[Dim], ends: Sequence[Dim], steps: Sequence[Dim]
) -> Any:
    """Axes or steps that are fed: every dimension has a range, the whole of it where it is not among the axes."""
    own = [number(d) for d in ctx.shape(operand)]
    whole = ((starts, [0] * len(own)), (ends, own), (steps, [1] * len(own)))
    parts = [fed_axes.at_each(axes, values, defaults) for values, defaults in whole]
    found = [_fed_range(*item) for item in zip(*parts, own, strict=True)]
    firsts, counts, strides = ([ctx.opaque(d, plain=True) for d in part] for part in zip(*found, strict=True))

    def compute(x: Any, firsts: Any, strides: Any, dims: Any) -> Any:
        def element(*at: Any) -> Any:
            return x(*[first + i * step for i, first, step in zip(at, firsts, strides, strict=True)])

        return te.compute(tuple(dims), element, name="slice")

    return ctx.te("slice", compute, ctx.tensor(operand), *([number(d) for d in part] for part in (firsts, strides, counts)))


def _fed_range(start: Any, end: Any, step: Any, extent: Any) -> tuple[Any, Any, Any]:
    """The first index, how many there are and the step. A step of 0, which is not valid, takes nothing."""
    zero, one = number(0), number(1)
    start, end = (tirx.Select(x < zero, x + extent, x) for x in (start, end))
    back = step < zero
    last_valid = tirx.Select(back, extent - one, extent)
    first = tirx.min(tirx.max(start, zero), last_valid)
    last = tirx.min(tirx.max(end, tirx.Select(back, number(-1), zero)), last_valid)
    span, size = tirx.Select(back, first - last, last - first), tirx.max(tirx.Select(back, -step, step), one)
    count = tirx.floordiv(tirx.max(span, zero) + size - one, size)
    return first, tirx.Select(step == zero, zero, count), step


def _range(start: Dim, end: Dim, step: int, extent: Dim) -> tuple[Dim, Dim, int]:
    """ONNX's clamping: indices count from the end where negative, and stop at the borders."""
    if all(isinstance(x, int) for x in (start, end, extent)):
        start = max(start, -extent) if step < 0 else start  # NumPy takes nothing where ONNX takes the first element
        found = range(*slice(start, end if step > 0 or end >= -extent else None, step).indices(extent))
        return (found.start if len(found) else 0), len(found), step
    low, high = (0, extent) if step > 0 else (-1, extent - 1)
    first, last = (_clamp(x, extent, low, high) for x in (start, end))
    if step < 0 and first is not high:  # it is at least 0, unless there is no element
        first = tirx.min(tirx.max(number(first), number(0)), number(high))
    if step == 1 and isinstance(first, int) and first == 0 and last is extent:
        return 0, extent, 1  # all of it
    count = (last - first + step - 1) // step if step > 0 else (first - last - step - 1) // -step
    return first, tirx.max(count, number(0)), step


def _clamp(x: Dim, extent: Dim, low: Dim, high: Dim) -> Dim:
    if isinstance(x, int):
        if x >= (1 << 31) - 1:  # also int32's largest, as exporters write "to the end"
            return high
        if x <= -(1 << 31) + 1:
            return low
        if x == 0 and isinstance(low, int) and low == 0:
            return 0
        value = x + extent if x < 0 else x
    else:
        value = tirx.Select(x < 0, x + extent, x)
    wide = [v if not isinstance(v, int) else tirx.IntImm("int64", v) for v in (value, low, high)]
    return tirx.max(tirx.min(wide[0], wide[2]), wide[1])
