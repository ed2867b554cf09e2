"""Fourier transforms as products with a matrix of roots of unity, and what is used around them.

A transform of length n by a matrix takes O(n^2); for the lengths of speech and spectra (up to some thousands) the packed
product is fast, and its angles are exact: k * t is reduced modulo n before it becomes a float.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import te, tirx

from optc.compiler import ir
from optc.targets.tvm import compute
from optc.targets.tvm.lower.lowering import Dim, Lowering, Operand, Rule, is_constant
from optc.targets.tvm.lower.movement import permute
from optc.targets.tvm.lower.packed import call
from optc.targets.tvm.lower.refusal import dtype_of


def dft(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """x [..., 1 or 2], the last axis real and imaginary parts. A constant length takes a packed product."""
    x = inputs[0]
    rank = len(ctx.shape(x))
    if ctx.opset < 20:
        axis = int(ir.attribute(node, "axis", 1))
    else:
        axis = _number(ctx, node, inputs[2], "axis") if len(inputs) > 2 and inputs[2] is not None else -2
    axis %= rank
    inverse, half = bool(ir.attribute(node, "inverse", 0)), bool(ir.attribute(node, "onesided", 0))
    length = ctx.shape(x)[axis]
    if inverse and half:
        length = ctx.opaque(2 * (length - 1))
    if len(inputs) > 1 and inputs[1] is not None:
        length = ctx.opaque(ctx.integers(node, inputs[1], "dft_length")[0])
    parts = ctx.shape(x)[-1]
    if parts not in (1, 2) or axis == rank - 1:
        raise ctx.fail(node, "its last axis is not known to hold real or complex numbers")
    last = [i for i in range(rank - 1) if i != axis] + [axis, rank - 1]
    lines = permute(ctx, x, last)
    if inverse and half:
        y = _real_inverse(ctx, node, lines, length)
    else:
        y = transform(ctx, lines, length, ctx.opaque(length // 2 + 1) if half else length, inverse=inverse)
    return permute(ctx, y, [last.index(i) for i in range(rank)])


def _number(ctx: Lowering, node: ir.Node, operand: Operand, what: str) -> int:
    if not is_constant(operand):
        raise ctx.fail(node, f"its {what} is computed at run time")
    return int(np.asarray(operand).ravel()[0])


def transform(ctx: Lowering, lines: Operand, length: Dim, bins: Dim, *, inverse: bool) -> Any:
    """lines [..., n, 1 or 2] -> [..., bins, 2]: cut or padded with zeros to `length`, then transformed."""
    *outer, given, parts = ctx.shape(lines)
    if not ctx.same(given, length):
        lines = _fitted(ctx, lines, length)
    dtype = ctx.dtype(lines)
    if isinstance(length, int) and isinstance(bins, int):
        matrix = _roots(length, bins, int(parts), inverse=inverse).astype(dtype)
        flat = ctx.reshape(lines, [*outer, length * int(parts)])
        return ctx.reshape(_product(ctx, flat, matrix), [*outer, bins, 2])
    return _direct(ctx, lines, length, bins, inverse=inverse)


def _product(ctx: Lowering, x: Any, matrix: ir.Array) -> Any:
    if ctx.dtype(x) == "float32":
        return call(ctx, "gemm", compute.gemm(ctx.machine, ctx.shape(x), matrix), x)

    def product(x: Any, m: Any) -> Any:
        k = te.reduce_axis((0, m.shape[0]), name="k")
        return te.compute((*x.shape[:-1], m.shape[1]), lambda *at: te.sum(x(*at[:-1], k) * m(k, at[-1]), axis=k), name="dft")

    return ctx.te("dft", product, x, ctx.tensor(matrix))


def _roots(length: int, bins: int, parts: int, *, inverse: bool) -> ir.Array:
    """[length * parts, bins * 2]: from interleaved real and imaginary parts to such."""
    turn = 2 * np.pi * (np.outer(np.arange(length), np.arange(bins)) % length) / length
    real, imaginary = np.cos(turn), np.sin(turn) * (1 if inverse else -1)
    matrix = np.empty((length, parts, bins, 2))
    matrix[:, 0, :, 0], matrix[:, 0, :, 1] = real, imaginary
    if parts == 2:
        matrix[:, 1, :, 0], matrix[:, 1, :, 1] = -imaginary, real
    return matrix.reshape(length * parts, bins * 2) / (length if inverse else 1)


def _direct(ctx: Lowering, lines: Operand, length: Dim, bins: Dim, *, inverse: bool) -> Any:
    """For a length known only at run time: a table of roots is computed once, then summed over."""
    dtype, parts = ctx.dtype(lines), int(ctx.shape(lines)[-1])
    n = tirx.IntImm("int64", length) if isinstance(length, int) else length

    def table(n: Any) -> Any:
        def root(t: Any, part: Any) -> Any:
            angle = tirx.Cast("float64", t) * tirx.const(2 * math.pi, "float64") / tirx.Cast("float64", n)
            return tirx.if_then_else(part == 0, tirx.cos(angle), tirx.sin(angle)).astype(dtype)

        return te.compute((n, 2), root, name="roots")

    sign = 1 if inverse else -1

    def compute(x: Any, roots: Any, n: Any, bins: Any) -> Any:
        k = te.reduce_axis((0, n), name="k")

        def element(*at: Any) -> Any:
            *outer, j, part = at
            turn = k * j % n
            c, s = roots(turn, 0), roots(turn, 1) * tirx.const(sign, dtype)
            value = x(*outer, k, 0) * tirx.if_then_else(part == 0, c, s)
            if parts == 2:
                value = value + x(*outer, k, 1) * tirx.if_then_else(part == 0, -s, c)
            return te.sum(value, axis=k)

        total = te.compute((*x.shape[:-2], bins, 2), element, name="dft")
        if not inverse:
            return total
        return te.compute(total.shape, lambda *at: total(*at) / n.astype(dtype), name="scaled")

    count = tirx.IntImm("int64", bins) if isinstance(bins, int) else bins
    return ctx.te("dft", compute, ctx.tensor(lines), ctx.te("roots", table, n), n, count)


def _real_inverse(ctx: Lowering, node: ir.Node, lines: Operand, length: Dim) -> Any:
    """From the bins of a real signal: [..., bins, 2] -> [..., length, 1]. Bins above the half are conjugates of those below."""
    *outer, given, parts = ctx.shape(lines)
    if parts != 2:
        raise ctx.fail(node, "a onesided inverse of real numbers")
    if not isinstance(length, int):
        raise ctx.fail(node, "a onesided inverse of a length that is known only at run time")
    bins = length // 2 + 1
    if not ctx.same(given, bins):
        lines = _fitted(ctx, lines, bins)
    turn = 2 * np.pi * (np.outer(np.arange(bins), np.arange(length)) % length) / length
    count = np.where((np.arange(bins) == 0) | (2 * np.arange(bins) == length), 1.0, 2.0)[:, None] / length
    matrix = np.stack([np.cos(turn) * count, -np.sin(turn) * count], 1).reshape(bins * 2, length)
    flat = ctx.reshape(lines, [*outer, bins * 2])
    return ctx.reshape(_product(ctx, flat, matrix.astype(ctx.dtype(lines))), [*outer, length, 1])


def _fitted(ctx: Lowering, lines: Operand, length: Dim) -> Any:
    """The last axis but one cut, or padded with zeros, to `length`."""

    def compute(x: Any, length: Any) -> Any:
        def element(*at: Any) -> Any:
            return tirx.if_then_else(at[-2] < x.shape[-2], x(*at), tirx.const(0, x.dtype))

        return te.compute((*x.shape[:-2], length, x.shape[-1]), element, name="fitted")

    return ctx.te("fitted", compute, ctx.tensor(lines), tirx.IntImm("int64", length) if isinstance(length, int) else length)


def stft(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """signal [N, length, 1 or 2] -> [N, frames, bins, 2]."""
    signal, window = inputs[0], inputs[2] if len(inputs) > 2 else None
    step = _number(ctx, node, inputs[1], "frame_step")
    if len(inputs) > 3 and inputs[3] is not None:
        size: Dim = _number(ctx, node, inputs[3], "frame_length")
    elif window is not None:
        size = ctx.shape(window)[0]
    else:
        raise ctx.fail(node, "it has neither a window nor a frame_length")
    n, length, *rest = ctx.shape(signal)
    if not rest:
        signal, rest = ctx.reshape(signal, [n, length, 1]), [1]
    half = bool(ir.attribute(node, "onesided", 1))
    if half and rest[0] == 2:
        raise ctx.fail(node, "a onesided transform of complex numbers")
    frames = ctx.opaque((length - size) // step + 1)

    def framed(x: Any, dims: Any, *w: Any) -> Any:
        def element(b: Any, f: Any, t: Any, part: Any) -> Any:
            value = x(b, f * step + t, part)
            return value * w[0](t) if w else value

        return te.compute(tuple(dims), element, name="frames")

    given = [] if window is None else [ctx.tensor(window)]
    lines = ctx.te("frames", framed, ctx.tensor(signal), [n, frames, size, rest[0]], *given)
    return transform(ctx, lines, size, ctx.opaque(size // 2 + 1) if half else size, inverse=False)


def window(*coefficients: float) -> Rule:
    """A sum of cosines: HannWindow and its kin, of a size that may be symbolic."""

    def rule(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
        size = ctx.opaque(ctx.integers(node, inputs[0], "size")[0])
        dtype = dtype_of(ir.DataType(ir.attribute(node, "output_datatype", 1)), node.outputs[0].name)
        periodic = bool(ir.attribute(node, "periodic", 1))

        def compute(size: Any) -> Any:
            whole = tirx.Cast("float64", size if periodic else size - 1)

            def element(i: Any) -> Any:
                total: Any = tirx.const(0.0, "float64")
                for k, c in enumerate(coefficients):
                    angle = tirx.Cast("float64", i) * tirx.const(2 * math.pi * k, "float64") / whole
                    total = total + tirx.const(c, "float64") * tirx.cos(angle)
                return total.astype(dtype)

            return te.compute((size,), element, name="window")

        return ctx.te("window", compute, tirx.IntImm("int64", size) if isinstance(size, int) else size)

    return rule


def mel_weights(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """[dft_length / 2 + 1, num_mel_bins]: triangles between edges that are evenly spaced on the mel scale."""
    bands, length = (ctx.integers(node, inputs[i], what)[0] for i, what in ((0, "num_mel_bins"), (1, "dft_length")))
    rate, low, high = (ctx.reshape(x, [1]) for x in inputs[2:5])
    dtype = str(np.dtype(ir.DataType(ir.attribute(node, "output_datatype", 1)).numpy()))
    bins = ctx.opaque(length // 2 + 1)

    def real(value: Any) -> Any:
        return value.astype("float64") if not isinstance(value, float) else tirx.const(value, "float64")

    def edges(rate: Any, low: Any, high: Any, bands: Any, length: Any) -> Any:
        def edge(i: Any) -> Any:
            first, last = (real(2595.0) * tirx.log10(real(1.0) + real(f(0)) / real(700.0)) for f in (low, high))
            mel = real(i) * ((last - first) / real(bands + 2)) + first
            hertz = real(700.0) * (tirx.power(real(10.0), mel / real(2595.0)) - real(1.0))
            return tirx.floor(real(length + 1) * hertz / real(rate(0))).astype("int64")

        return te.compute((bands + 2,), edge, name="edges")

    def weights(edges: Any, bins: Any, bands: Any) -> Any:
        def weight(j: Any, i: Any) -> Any:
            low, peak, high = (edges(i + k) for k in range(3))
            one = tirx.IntImm("int64", 1)
            rising = real(j - low) / real(tirx.max(peak - low, one))
            falling = real(high - j) / real(tirx.max(high - peak, one))
            up = tirx.Select(low == peak, tirx.Select(j == peak, real(1.0), real(0.0)), rising)
            found = tirx.Select(tirx.all(j >= low, j <= peak), up, real(0.0))
            return tirx.Select(tirx.all(peak < high, j >= peak, j < high), falling, found).astype(dtype)

        return te.compute((bins, bands), weight, name="mel")

    counts = [tirx.IntImm("int64", d) if isinstance(d, int) else d for d in (bands, length, bins)]
    found = ctx.te("edges", edges, rate, low, high, *counts[:2])
    return ctx.te("mel", weights, found, counts[2], counts[0])
