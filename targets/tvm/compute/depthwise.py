"""Depthwise convolution over NHWC: every channel with its own window, channels along the vector."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import te, tirx

from optc.targets.tvm.compute.kernel import Array, Extent, Kernel, output_extent, pad_last, pair, round_up, simple, static
from optc.targets.tvm.compute.tile import Tile, lanes_for
from optc.targets.tvm.machine import Machine

_CHUNK = 64  # channels of a task: a few cache lines of each pixel
_PADDED_BYTES = 96 * 1024  # padded input of a task
_TYPICAL_WIDTH = 80  # stands for a symbolic width
_SYMBOLIC_ROWS = 4


def depthwise(
    machine: Machine,
    shape: Sequence[Extent],
    weight: Array,
    bias: Array | None = None,
    *,
    strides: Sequence[int] = (1, 1),
    dilations: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
) -> Kernel:
    """float32 NHWC convolution with group == channels: `weight` [C, 1, KH, KW].

    Weights are packed [KH, KW, C], C padded with zeros to the tile's width.
    """
    channels, _, *kernel = weight.shape
    window = list(zip(pair(kernel), pair(strides), pair(dilations), pads[:2], pads[2:], strict=True))
    extents = [output_extent(simple(e), *w) for e, w in zip(shape[1:3], window, strict=True)]
    tile = _tile(machine, extents[1], channels)
    span = round_up(channels, tile.width)
    block = _block(tile, span, extents, window)
    weights = [np.ascontiguousarray(pad_last(weight[:, 0].transpose(1, 2, 0), span))]
    if bias is not None:
        weights.append(np.ascontiguousarray(bias))

    def compute(x: Any, w: Any, *rest: Any, extents: Sequence[Extent] | None = None) -> Any:
        height, width = (simple(e) for e in x.shape[1:3])
        out = extents or [output_extent(e, *v) for e, v in zip((height, width), window, strict=True)]
        rounded = [round_up(out[0], block[0]), round_up(out[1], tile.mr)]
        sizes = [(r - 1) * s + (k - 1) * d + 1 for r, (k, s, d, _, _) in zip(rounded, window, strict=True)]
        (top, left), (sh, sw), (dh, dw) = pads[:2], strides, dilations

        def value(n: Any, h: Any, q: Any, c: Any) -> Any:
            inside = [h >= top, h < height + top, q >= left, q < width + left]
            if span > channels:
                inside.append(c < channels)
            return tirx.if_then_else(tirx.all(*inside), x[n, h - top, q - left, c], tirx.const(0, x.dtype))

        source = te.compute((x.shape[0], *sizes, span), value, name="pad", attrs={"optc.stage": "rows"})
        kh, kw = (te.reduce_axis((0, k), name=n) for k, n in zip(kernel, ("kh", "kw"), strict=True))
        acc = te.compute(
            (x.shape[0], *rounded, span),
            lambda n, h, q, c: te.sum(source[n, h * sh + kh * dh, q * sw + kw * dw, c] * w[kh, kw, c], axis=[kh, kw]),
            name="acc",
            attrs={**tile.attributes("depthwise", 2), "optc.block": list(block)},
        )
        return te.compute(
            (x.shape[0], *out, channels),
            lambda n, h, q, c: acc[n, h, q, c] + rest[0][c] if rest else acc[n, h, q, c],
            name="out",
        )

    return Kernel(
        tuple(weights),
        compute,
        lambda sizes: [output_extent(e, *v) for e, v in zip(sizes, window, strict=True)],
        depth=weight[0].size,
    )


def _tile(machine: Machine, width: Extent, channels: int) -> Tile:
    """Pixels x vectors: as many sums as half the registers hold, in tiles that waste little of the row."""
    lanes = lanes_for(machine, channels)
    vectors = -(-channels // lanes)
    nv = 2 if vectors % 2 == 0 else 1
    most = machine.registers // 2 // nv
    known = static(width)
    if known is None:
        return Tile(min(most, 8), nv, lanes)
    mr = min(range(1, min(most, known) + 1), key=lambda m: (-(-known // m) * (m + 1), -m))
    return Tile(mr, nv, lanes)


def _block(tile: Tile, span: int, extents: Sequence[Extent], window: Sequence[Sequence[int]]) -> tuple[int, int]:
    """Output rows and channels of one task: its padded input stays in cache, and few input rows are copied twice."""
    chunk = max(w for w in range(tile.width, max(_CHUNK, tile.width) + 1, tile.width) if span % w == 0)
    (kernel_h, stride_h, dilation_h, _, _), (_, stride_w, _, _, _) = window
    width, height = static(extents[1]), static(extents[0])
    row = (width or _TYPICAL_WIDTH) * stride_w * chunk * 4
    fit = max(1, (_PADDED_BYTES // row - (kernel_h - 1) * dilation_h) // stride_h)
    if height is None:
        return min(fit, _SYMBOLIC_ROWS), chunk
    return max(r for r in range(1, height + 1) if height % r == 0 and (r <= fit or r == 1)), chunk
