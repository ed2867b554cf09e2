"""Order among elements: heaps of indices, sorted in place, and TopK.

The order is total: NaN counts as greater than any number, equal elements go by index. So results do not depend on how they
are found, and agree with a stable sort.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tvm import tirx

from optc.compiler import ir
from optc.targets.tvm.lower import functions as fn
from optc.targets.tvm.lower.loops import Array, cell, choose, demand, each, held, kernel, repeat, rows, when, wide
from optc.targets.tvm.lower.lowering import Lowering, Operand

Before = Callable[[Any, Any], Any]  # of two int64 items: whether the first comes first
Get = Callable[[Any], Any]
Put = Callable[[Any, Any], None]


def greater(a: Any, b: Any) -> Any:
    """a > b, NaN above all numbers."""
    return tirx.any(a > b, tirx.all(tirx.isnan(a), tirx.Not(tirx.isnan(b)))) if fn.is_float(a) else a > b


def alike(a: Any, b: Any) -> Any:
    """Neither is greater. Not written as Not(a > b): TVM makes a <= b of that, which NaN is not."""
    return tirx.any(a == b, tirx.all(tirx.isnan(a), tirx.isnan(b))) if fn.is_float(a) else a == b


def descending(value: Get) -> Before:
    """Greater values first, then lower items."""
    return lambda i, j: _ranked(greater, value, i, j)


def ascending(value: Get) -> Before:
    """Lesser values first, then lower items."""
    return lambda i, j: _ranked(lambda a, b: greater(b, a), value, i, j)


def _ranked(first: Callable[[Any, Any], Any], value: Get, i: Any, j: Any) -> Any:
    a, b = held(value(i)), held(value(j))
    return held(tirx.any(first(a, b), tirx.all(alike(a, b), i < j)))


def sift(get: Get, put: Put, start: Any, size: Any, before: Before) -> None:
    """Restore the heap of `size` items, whose root is the last of them in order, below the position `start`."""
    at, child = cell(start), cell(start * 2 + 1)
    with repeat(child[0] < size):
        with when(child[0] + 1 < size):
            later = before(get(child[0]), get(child[0] + 1))
            with when(later):
                child[0] = child[0] + 1
        parent, largest = held(get(at[0])), held(get(child[0]))
        misplaced = before(parent, largest)

        def swap(parent: Any = parent, largest: Any = largest) -> None:
            put(at[0], largest)
            put(child[0], parent)
            at[0] = child[0]
            child[0] = at[0] * 2 + 1

        def stop() -> None:
            child[0] = size

        choose(misplaced, swap, stop)


def heapify(get: Get, put: Put, size: Any, before: Before) -> None:
    half = held(tirx.floordiv(size, wide(2)))
    with each(0, half) as i:
        sift(get, put, half - 1 - i, size, before)


def unheap(get: Get, put: Put, size: Any, before: Before) -> None:
    """Sort the items of a heap: first in order first."""
    with each(0, tirx.max(size - 1, wide(0))) as i:
        end = held(size - 1 - i)
        last, root = held(get(end)), held(get(wide(0)))
        put(end, root)
        put(wide(0), last)
        sift(get, put, wide(0), end, before)


def top_k(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """The k greatest (or least) elements along the axis and their indices, in order; of equals the lower index first.

    A heap holds the best k so far: O(n log k), and most elements are compared once.
    """
    own = ctx.shape(inputs[0])
    axis = int(ir.attribute(node, "axis", -1)) % len(own)
    count = ctx.integers(node, inputs[1], "k")[0] if len(inputs) > 1 else int(ir.attribute(node, "k"))
    if isinstance(count, int) and isinstance(own[axis], int) and not 0 <= count <= own[axis]:
        raise ctx.fail(node, f"it asks for {count} of {own[axis]} elements")
    order = descending if ir.attribute(node, "largest", 1) else ascending
    shape = [*own[:axis], count, *own[axis + 1 :]]

    def body(ins: Sequence[Array], outs: Sequence[Array]) -> None:
        (data,) = ins
        values, indices = outs
        k = indices.shape[axis]
        demand(wide(k) <= wide(data.shape[axis]), "TopK: k is larger than the axis")
        with rows([*data.shape[:axis], *data.shape[axis + 1 :]]) as at:

            def place(i: Any) -> tuple[Any, ...]:
                return (*at[:axis], i, *at[axis:])

            def get(i: Any) -> Any:
                return indices[place(i)]

            def put(i: Any, item: Any) -> None:
                indices[place(i)] = item

            zero, before = wide(0), order(lambda i: data[place(i)])
            with each(0, k) as i:
                put(i, i)
            heapify(get, put, k, before)
            with when(k > 0), each(0, data.shape[axis] - k) as rest:
                better = before(rest + k, held(get(zero)))
                with when(better):
                    put(zero, rest + k)
                    sift(get, put, zero, k, before)
            unheap(get, put, k, before)
            with each(0, k) as i:
                values[place(i)] = data[place(get(i))]

    return kernel(ctx, "top_k", inputs[:1], [(shape, ctx.dtype(inputs[0])), (shape, "int64")], body)
