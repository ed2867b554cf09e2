"""Operators with results whose extent depends on data: `count` is computed by a part of the program that runs before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tvm import te, tirx

from optc.compiler import ir
from optc.targets.tvm.lower.boxes import suppress
from optc.targets.tvm.lower.loops import Array, cell, each, grid, held, kernel, repeat, when, wide
from optc.targets.tvm.lower.lowering import Lowering, Operand
from optc.targets.tvm.lower.ordering import greater, heapify, unheap


def uncounted(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """The standard operators themselves."""
    raise ctx.fail(node, "the extent of its result depends on data, and the pass count-results left it alone")


def non_zero(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """int64 [rank, count]: the indices of the elements that are not 0, in order."""
    x, count = inputs[0], ctx.integers(node, inputs[-1], "count")[0]
    rank, dtype = len(ctx.shape(x)), ctx.dtype(x)
    if rank == 0:
        raise ctx.fail(node, "its input has no axis")

    def body(ins: Sequence[Array], outs: Sequence[Array]) -> None:
        (x,), (y,) = ins, outs
        found = cell(0)
        with grid(x.shape) as at, when(tirx.all(_set(x[tuple(at)], dtype), found[0] < y.shape[1])):
            for axis, index in enumerate(at):
                y[axis, found[0]] = index
            found[0] = found[0] + 1

    return kernel(ctx, "non_zero", [x], [([rank, count], "int64")], body)[0]


def _set(element: Any, dtype: str) -> Any:
    return element if dtype == "bool" else element != tirx.const(0, dtype)


def counted_range(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """start + i · delta for i < count. Half precision is computed in float32."""
    start, _, delta, count = inputs
    extent, dtype = ctx.opaque(ctx.integers(node, count, "count")[0]), ctx.dtype(start)
    inner = "float32" if dtype in ("float16", "bfloat16") else dtype
    first, step = (ctx.reshape(x, [1]) for x in (start, delta))

    def compute(first: Any, step: Any, dims: Any) -> Any:
        def element(i: Any) -> Any:
            return (first(0).astype(inner) + i.astype(inner) * step(0).astype(inner)).astype(dtype)

        return te.compute(tuple(dims), element, name="range")

    return ctx.te("range", compute, first, step, [extent])


def unique_indices(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """Of the slices along the axis: where each one that is unique occurs first, which of them each is, how often they are.

    Sorted by content or by first occurrence. The slices' indices are sorted by content, equal ones by index: O(n log n).
    """
    own = ctx.shape(inputs[0])
    axis, ordered = int(ir.attribute(node, "axis", 0)) % len(own), bool(ir.attribute(node, "sorted", 1))
    n = own[axis]

    def body(ins: Sequence[Array], outs: Sequence[Array]) -> None:
        (x,) = ins
        indices, inverse, counts, count, order, rank = outs
        extent = wide(x.shape[axis])
        compare = _compare(x, axis)

        def put(i: Any, item: Any) -> None:
            order[i] = item

        def before(i: Any, j: Any) -> Any:
            sign = compare(i, j)
            return held(tirx.any(sign < wide(0), tirx.all(sign == wide(0), i < j)))

        with each(0, extent) as i:
            order[i] = i
        heapify(order.__getitem__, put, extent, before)
        unheap(order.__getitem__, put, extent, before)
        leader = cell(0)  # the lowest index of the group
        with each(0, extent) as i:
            item, fresh = held(order[i]), cell(1)
            with when(i > 0):
                fresh[0] = compare(held(order[tirx.max(i - 1, wide(0))]), item)
            with when(fresh[0] != wide(0)):
                leader[0] = item
            inverse[item] = leader[0]
        groups = cell(0)
        with each(0, extent) as i:
            item = held(order[i]) if ordered else i
            with when(inverse[item] == item):
                rank[item] = groups[0]
                indices[groups[0]] = item
                counts[groups[0]] = 0
                groups[0] = groups[0] + 1
        with each(0, extent) as i:
            group = held(rank[inverse[i]])
            counts[group] = counts[group] + wide(1)
            inverse[i] = group
        count[0] = groups[0]

    results = kernel(ctx, "unique", inputs, [([d], "int64") for d in (n, n, n, 1, n, n)], body)
    return results[:4]


def _compare(x: Array, axis: int) -> Callable[[Any, Any], Any]:
    """-1, 0 or 1 as slice i is less than slice j, equal or greater: by their first elements that differ."""
    rest = [*x.shape[:axis], *x.shape[axis + 1 :]]
    total: Any = wide(1)
    for extent in rest:
        total = total * wide(extent)

    def element(i: Any, flat: Any) -> Any:
        at: list[Any] = []
        for extent in reversed(rest):
            at.insert(0, tirx.floormod(flat, wide(extent)))
            flat = tirx.floordiv(flat, wide(extent))
        return x[(*at[:axis], i, *at[axis:])]

    def compare(i: Any, j: Any) -> Any:
        sign, k = cell(0), cell(0)
        with repeat(tirx.all(sign[0] == wide(0), k[0] < total)):
            a, b = held(element(i, k[0])), held(element(j, k[0]))
            with when(tirx.any(greater(a, b), greater(b, a))):
                sign[0] = tirx.Select(greater(a, b), wide(1), wide(-1))
            k[0] = k[0] + 1
        return held(sign[0])

    return compare


def select_boxes(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """Non-maximum suppression of boxes [B, N, 4] by scores [B, C, N]: rows (batch, class, box), int64, and how many there are.

    In each class the candidates, whose score exceeds `least`, are taken from a heap, the best first, and kept unless they
    overlap one that is kept by more than `overlap` of their union; at most `most`.
    """
    boxes, scores, *limits = inputs
    most, overlap, least = (*limits, None, None, None)[:3]
    batch, classes, n = ctx.shape(scores)
    centered = bool(ir.attribute(node, "center_point_box", 0))
    given = [ctx.reshape(x, [1]) for x in (most, overlap, least) if x is not None]

    def body(ins: Sequence[Array], outs: Sequence[Array]) -> None:
        boxes, scores, *rest = ins
        rows, count, order, kept, numbers = outs
        limits = iter(rest)
        limit, threshold, lowest = (None if x is None else next(limits)[0] for x in (most, overlap, least))
        suppress(boxes, scores, limit, threshold, lowest, centered, order, kept, numbers)
        total = cell(0)
        with grid(scores.shape[:2]) as at, each(0, numbers[tuple(at)]) as i:
            for column, value in enumerate((*at, kept[(*at, i)])):
                rows[total[0], column] = value
            total[0] = total[0] + 1
        count[0] = total[0]

    every = ctx.opaque(batch * classes * n)
    shapes = [([every, 3], "int64"), ([1], "int64"), *[([batch, classes, n], "int64")] * 2, ([batch, classes], "int64")]
    return kernel(ctx, "select_boxes", [boxes, scores, *given], shapes, body)[:2]
