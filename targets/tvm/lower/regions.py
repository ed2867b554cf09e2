"""Samples in regions of images, as RoiAlign takes them; as many as a region is large where no number is given."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tvm import tirx

from optc.targets.tvm.lower.loops import Array, cell, each, held, kernel, rows, wide
from optc.targets.tvm.lower.lowering import Lowering, Operand


@dataclass(frozen=True)
class Form:
    """What comes out of a region [height, width], how it is placed in the image, and how samples are pooled."""

    height: int
    width: int
    scale: float
    aligned: bool
    largest: bool


def adaptive(ctx: Lowering, x: Operand, rois: Operand, images: Operand, form: Form) -> Any:
    """x [N, C, H, W], rois [R, 4], images [R] -> [R, C, height, width], of ceil(size of a cell) samples along each side."""
    dtype = ctx.dtype(x)
    half, factor = tirx.const(0.5 if form.aligned else 0.0, dtype), tirx.const(form.scale, dtype)

    def body(ins: Sequence[Array], outs: Sequence[Array]) -> None:
        (x, rois, images), (out,) = ins, outs
        with rows(out.shape) as (r, c, h, w):
            sides = []
            for position, count, at in ((h, form.height, 1), (w, form.width, 0)):
                start, end = (rois[r, at + corner] * factor - half for corner in (0, 2))
                size = end - start if form.aligned else tirx.max(end - start, tirx.const(1, dtype))
                extent = held(size / tirx.const(count, dtype))
                samples = held(tirx.max(tirx.ceil(extent).astype("int64"), wide(0)))
                sides.append((held(start + position.astype(dtype) * extent), extent, samples))
            total = cell(tirx.const(0, dtype), dtype)
            (top, tall, down), (left, broad, across) = sides
            with each(0, down) as iy, each(0, across) as ix:
                steps = ((top, tall, down, iy), (left, broad, across, ix))
                half_step = tirx.const(0.5, dtype)
                places = [a + (i.astype(dtype) + half_step) * b / n.astype(dtype) for a, b, n, i in steps]
                value = held(sampled(x, (wide(images[r]), c), places, dtype, form.largest))
                if form.largest:
                    total[0] = tirx.Select(iy + ix == wide(0), value, tirx.max(total[0], value))
                else:
                    total[0] = total[0] + value
            number = tirx.max(down * across, wide(1)).astype(dtype)
            out[r, c, h, w] = total[0] if form.largest else total[0] / number

    shape = [ctx.shape(rois)[0], ctx.shape(x)[1], form.height, form.width]
    return kernel(ctx, "roi_align", [x, rois, images], [(shape, dtype)], body)[0]


def sampled(x: Any, lead: Sequence[Any], places: Sequence[Any], dtype: str, largest: bool) -> Any:
    """The value between four elements (or the largest of their shares), zero further than one outside the image."""
    inside, taps = [], []
    zero, one = tirx.const(0, dtype), tirx.const(1, dtype)
    for place, extent in zip(places, x.shape[2:], strict=True):
        size = tirx.Cast(dtype, extent)
        inside += [place >= -one, place <= size]
        bounded = tirx.max(tirx.min(place, size - one), zero)
        low = tirx.floor(bounded)
        index, share = low.astype("int64"), bounded - low
        taps.append([(index, one - share), (tirx.min(index + 1, extent - 1), share)])
    total: Any = None
    for (i, a), (j, b) in itertools.product(*taps):
        value = x[(*lead, i, j)] * (a * b)
        total = value if total is None else tirx.max(total, value) if largest else total + value
    return tirx.if_then_else(tirx.all(*inside), total, zero)
