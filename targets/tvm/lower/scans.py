"""Operators that go along an axis step by step: running sums and products, and elimination."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import tirx

from optc.compiler import ir
from optc.targets.tvm.lower.loops import Array, cell, each, held, kernel, rows, when, wide
from optc.targets.tvm.lower.lowering import Dim, Lowering, Operand, Rule
from optc.targets.tvm.lower.movement import product


def cumulative(kind: str) -> Rule:
    """A rule for CumSum or CumProd: the sum or product up to each element, without it where `exclusive`, from the end where
    `reverse`. What lies before the axis is spread among threads, what lies after it are vectors."""

    def rule(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
        own, dtype = ctx.shape(inputs[0]), ctx.dtype(inputs[0])
        view = _around(own, ctx.integers(node, inputs[1], "axis")[0])
        exclusive, reverse = bool(ir.attribute(node, "exclusive", 0)), bool(ir.attribute(node, "reverse", 0))

        def body(ins: Sequence[Array], outs: Sequence[Array]) -> None:
            (x,), (out,) = ins, outs
            _, extent, inner = x.shape
            first = tirx.const(0 if kind == "sum" else 1, dtype)
            with rows(x.shape[:1]) as (o,):
                with when(extent > 0), each(0, inner) as i:
                    start = extent - 1 if reverse else wide(0)
                    out[o, start, i] = first if exclusive else x[o, start, i]
                with each(1, extent) as k, each(0, inner) as i:
                    here, last = (extent - 1 - k, extent - k) if reverse else (k, k - 1)
                    element = x[o, last if exclusive else here, i]
                    out[o, here, i] = out[o, last, i] + element if kind == "sum" else out[o, last, i] * element

        flat = ctx.reshape(inputs[0], [ctx.opaque(d) for d in view])
        return ctx.reshape(kernel(ctx, f"cumulative_{kind}", [flat], [(view, dtype)], body)[0], own)

    return rule


def _around(shape: Sequence[Dim], axis: Dim) -> list[Dim]:
    """The extents before the axis, along it and after it, each as one; the axis may be known only at run time."""
    if isinstance(axis, int):
        at = axis % len(shape)
        return [product(shape[:at]), shape[at], product(shape[at + 1 :])]
    at = tirx.Select(axis < 0, axis + len(shape), axis)
    parts: list[Dim] = [wide(1)] * 3
    for i, dim in enumerate(shape):
        for part, inside in enumerate((at > i, at == i, at < i)):
            parts[part] = parts[part] * tirx.Select(inside, wide(dim), wide(1))
    return parts


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
