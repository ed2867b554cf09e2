"""Non-maximum suppression within the classes of a batch, as loops."""

from __future__ import annotations

from typing import Any

from tvm import tirx

from optc.targets.tvm.lower.loops import Array, cell, each, held, repeat, rows, when, wide
from optc.targets.tvm.lower.ordering import descending, heapify, sift


def suppress(
    boxes: Array,
    scores: Array,
    most: Any,
    overlap: Any,
    least: Any,
    centered: bool,
    order: Array,
    kept: Array,
    numbers: Array,
) -> None:
    """Fill kept[b, c, :numbers[b, c]] with the boxes kept, best first; `order` [B, C, N] is memory for the candidates.

    Limits that are None: no box is kept without `most`, `overlap` is 0, and any score will do. Classes are spread among threads.
    """
    batch, classes, n = scores.shape
    with rows([batch, classes]) as (b, c):
        ranked = descending(lambda i: scores[b, c, i])

        def get(i: Any) -> Any:
            return order[b, c, i]

        def put(i: Any, item: Any) -> None:
            order[b, c, i] = item

        def after(i: Any, j: Any) -> Any:
            return ranked(j, i)  # the heap has the last at its root: here the best

        size, number = cell(0), cell(0)
        with each(0, n) as i, when(scores[b, c, i] > least if least is not None else tirx.const(True, "bool")):
            put(size[0], i)
            size[0] = size[0] + 1
        heapify(get, put, held(size[0]), after)
        limit = wide(0) if most is None else held(tirx.max(wide(most), wide(0)))
        with repeat(tirx.all(size[0] > wide(0), number[0] < limit)):
            best = held(get(wide(0)))
            size[0] = size[0] - 1
            put(wide(0), held(get(size[0])))
            sift(get, put, wide(0), held(size[0]), after)
            clear, k = cell(1), cell(0)
            with repeat(tirx.all(clear[0] == wide(1), k[0] < number[0])):
                with when(_overlaps(boxes, b, best, held(kept[b, c, k[0]]), overlap, centered)):
                    clear[0] = 0
                k[0] = k[0] + 1
            with when(clear[0] == wide(1)):
                kept[b, c, number[0]] = best
                number[0] = number[0] + 1
        numbers[b, c] = number[0]


def _overlaps(boxes: Array, b: Any, i: Any, j: Any, overlap: Any, centered: bool) -> Any:
    """Whether the intersection is more than `overlap` of the union; boxes without area overlap nothing."""
    zero = tirx.const(0, boxes.dtype)
    sides = [(_span(boxes, b, i, axis, centered), _span(boxes, b, j, axis, centered)) for axis in (0, 1)]
    inner = [held(tirx.max(tirx.min(p[1], q[1]) - tirx.max(p[0], q[0]), zero)) for p, q in sides]
    shared = held(inner[0] * inner[1])
    areas = [held((y[1] - y[0]) * (x[1] - x[0])) for y, x in zip(*sides, strict=True)]
    union = held(areas[0] + areas[1] - shared)
    some = tirx.all(shared > zero, areas[0] > zero, areas[1] > zero, union > zero)
    return tirx.all(some, shared / union > (zero if overlap is None else overlap))


def _span(boxes: Array, b: Any, i: Any, axis: int, centered: bool) -> tuple[Any, Any]:
    """Where the box begins and ends along y (0) or x (1)."""
    if centered:  # x, y, width, height
        middle, half = boxes[b, i, 1 - axis], boxes[b, i, 3 - axis] / tirx.const(2, boxes.dtype)
        return held(middle - half), held(middle + half)
    one, other = boxes[b, i, axis], boxes[b, i, axis + 2]  # two corners, in any order
    return held(tirx.min(one, other)), held(tirx.max(one, other))
