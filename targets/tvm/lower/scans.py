"""Operators that go along an axis step by step: running sums and products, and elimination."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import tirx

from optc.compiler import ir
from optc.targets.tvm.lower.loops import Array, cell, each, grid, held, kernel, rows, when, wide
from optc.targets.tvm.lower.lowering import Lowering, Operand, Rule


def cumulative(kind: str) -> Rule:
    """A rule for CumSum or CumProd: the sum or product up to each element, without it where `exclusive`, from the end where
    `reverse`. What lies before the axis is spread among threads, what lies after it are vectors."""

    def rule(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
        own, dtype = ctx.shape(inputs[0]), ctx.dtype(inputs[0])
        axis = ctx.integers(node, inputs[1], "axis")[0]
        if not isinstance(axis, int):
            raise ctx.fail(node, "its axis depends on a dimension")
        axis %= len(own)
        exclusive, reverse = bool(ir.attribute(node, "exclusive", 0)), bool(ir.attribute(node, "reverse", 0))

        def body(ins: Sequence[Array], outs: Sequence[Array]) -> None:
            (x,), (out,) = ins, outs
            extent, first = x.shape[axis], tirx.const(0 if kind == "sum" else 1, dtype)

            def step(outer: Sequence[Any], k: Any, start: bool) -> None:
                here, last = (extent - 1 - k, extent - k) if reverse else (k, k - 1)
                with grid(x.shape[axis + 1 :]) as inner:
                    at, before = (*outer, here, *inner), (*outer, last, *inner)
                    if start:
                        out[at] = first if exclusive else x[at]
                    else:
                        element = x[before if exclusive else at]
                        out[at] = out[before] + element if kind == "sum" else out[before] * element

            with rows(x.shape[:axis]) as outer:
                with when(extent > 0):
                    step(outer, wide(0), True)
                with each(1, extent) as k:
                    step(outer, k, False)

        return kernel(ctx, f"cumulative_{kind}", inputs[:1], [(own, dtype)], body)[0]

    return rule


def determinant(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """Of the matrices [..., M, M], by Gaussian elimination with partial pivoting, in a copy."""
    own, dtype = ctx.shape(inputs[0]), ctx.dtype(inputs[0])

    def body(ins: Sequence[Array], outs: Sequence[Array]) -> None:
        (x,) = ins
        out, matrix = outs
        n = x.shape[-2]
        with rows(x.shape[:-2]) as at:
            with each(0, n) as i, each(0, n) as j:
                matrix[(*at, i, j)] = x[(*at, i, j)]
            result = cell(1, dtype)
            with each(0, n) as k:
                pivot = cell(k)
                with each(k + 1, n) as i, when(tirx.abs(matrix[(*at, i, k)]) > tirx.abs(matrix[(*at, pivot[0], k)])):
                    pivot[0] = i
                with when(pivot[0] != k):
                    result[0] = -result[0]
                    with each(0, n) as j:
                        above = held(matrix[(*at, k, j)])
                        matrix[(*at, k, j)] = matrix[(*at, pivot[0], j)]
                        matrix[(*at, pivot[0], j)] = above
                head = held(matrix[(*at, k, k)])
                result[0] = result[0] * head
                with when(head != tirx.const(0, dtype)), each(k + 1, n) as i:
                    factor = held(matrix[(*at, i, k)] / head)
                    with each(k + 1, n) as j:
                        matrix[(*at, i, j)] = matrix[(*at, i, j)] - factor * matrix[(*at, k, j)]
            out[tuple(at)] = result[0]

    return kernel(ctx, "determinant", inputs, [(own[:-2], dtype), (own, dtype)], body)[0]
