"""Convolutions over NHWC (or a few-channel NCHW image), weights constant; 1x1 and depthwise ones have kernels of their own."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import te, tirx

from optc.targets.tvm.compute.depthwise import depthwise
from optc.targets.tvm.compute.gemm import gemm
from optc.targets.tvm.compute.kernel import Array, Extent, Kernel, output_extent, pad_last, pair, round_up, simple, static
from optc.targets.tvm.compute.tile import choose, of_group
from optc.targets.tvm.machine import Machine

_FEW_CHANNELS = 8  # up to here padding costs as much as the products: it is done by rows, in cache


def conv2d(
    machine: Machine,
    shape: Sequence[Extent],
    weight: Array,
    bias: Array | None = None,
    *,
    strides: Sequence[int] = (1, 1),
    dilations: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
    group: int = 1,
    layout: str = "NHWC",
    rank: int = 0,
) -> Kernel:
    """float32 convolution to NHWC as ONNX's Conv: `weight` [O, I / group, KH, KW], `pads` (top, left, bottom, right).

    `layout` is x's: NHWC, or NCHW for an image of few channels. Batch, height and width may be symbolic.
    Weights are packed [group, O / group / width, KH, KW, I / group, width], O / group padded to the tile's width with zeros;
    where nothing is padded, group and block are one axis. `rank` is that of the tile among those of `choose`.
    """
    channels = shape[3] if layout == "NHWC" else shape[1]
    outputs, inputs, *kernel = weight.shape
    if group > 1 and inputs == 1 and outputs == group and layout == "NHWC":
        return depthwise(machine, shape, weight, bias, strides=strides, dilations=dilations, pads=pads)
    if tuple(kernel) == (1, 1) and group == 1 and layout == "NHWC" and tuple(strides) == (1, 1) and not any(pads):
        return gemm(machine, shape, np.ascontiguousarray(weight[:, :, 0, 0].T), bias, rank)
    height, width = shape[1:3] if layout == "NHWC" else shape[2:4]
    window = list(zip(pair(kernel), pair(strides), pair(dilations), pads[:2], pads[2:], strict=True))
    extents = [output_extent(simple(e), *w) for e, w in zip((height, width), window, strict=True)]
    axis = 1 if static(extents[1]) == 1 and static(extents[0]) != 1 else 2
    per_group = outputs // group
    tile = (of_group if group > 1 else choose)(machine, extents[axis - 1], per_group, rank=rank)
    packed = weight.reshape(group, per_group, inputs, *kernel).transpose(0, 3, 4, 2, 1)
    packed = pad_last(packed, round_up(per_group, tile.width)).reshape(group, *kernel, inputs, -1, tile.width)
    weights = [np.ascontiguousarray(packed.transpose(0, 4, 1, 2, 3, 5))]
    flat = group == 1 or per_group % tile.width == 0  # no tile has channels of two groups
    if flat:
        weights[0] = weights[0].reshape(1, -1, *weights[0].shape[2:])
    if bias is not None:
        weights.append(np.ascontiguousarray(bias))
    few = static(channels) is not None and channels <= _FEW_CHANNELS

    def compute(x: Any, w: Any, *rest: Any, extents: Sequence[Extent] | None = None) -> Any:
        b = rest[0] if rest else None
        image = _Image(x, layout)
        out = extents or [output_extent(e, *v) for e, v in zip(image.extents, window, strict=True)]
        rounded = [round_up(e, tile.mr) if axis == i + 1 else e for i, e in enumerate(out)]
        source = image
        if any(pads) or static(rounded[axis - 1]) is None or static(rounded[axis - 1]) != static(out[axis - 1]):
            source = image.padded(
                [(r - 1) * s + (k - 1) * d + 1 for r, (k, s, d, _, _) in zip(rounded, window, strict=True)],
                pads[:2],
                "rows" if few else "whole",
            )
        kh, kw = (te.reduce_axis((0, k), name=n) for k, n in zip(kernel, ("kh", "kw"), strict=True))
        k = te.reduce_axis((0, inputs), name="k")
        (sh, sw), (dh, dw) = strides, dilations
        span = w.shape[1] * tile.width

        def product(n: Any, h: Any, q: Any, *c: Any) -> Any:
            g, j = (0, *c) if flat else c
            first = (g if not flat else j // per_group if group > 1 else 0) * inputs
            return te.sum(
                source(n, h * sh + kh * dh, q * sw + kw * dw, first + k) * w[g, j // tile.width, kh, kw, k, j % tile.width],
                axis=[kh, kw, k],
            )

        columns = (span,) if flat else (group, span)
        acc = te.compute((x.shape[0], *rounded, *columns), product, name="acc", attrs=dict(tile.attributes("tile", axis)))

        def finish(n: Any, h: Any, q: Any, c: Any) -> Any:
            total = acc[n, h, q, c] if flat else acc[n, h, q, c // per_group, c % per_group]
            return total if b is None else total + b[c]

        return te.compute((x.shape[0], *out, outputs), finish, name="out")

    return Kernel(
        tuple(weights),
        compute,
        lambda sizes: [output_extent(e, *v) for e, v in zip(sizes, window, strict=True)],
        depth=weight[0].size,
    )


class _Image:
    """A tensor addressed (n, h, w, c), whichever way it lies in memory."""

    def __init__(self, tensor: Any, layout: str) -> None:
        self.tensor = tensor
        self.layout = layout

    def __call__(self, n: Any, h: Any, w: Any, c: Any) -> Any:
        return self.tensor[n, h, w, c] if self.layout == "NHWC" else self.tensor[n, c, h, w]

    @property
    def extents(self) -> list[Extent]:
        """Height and width."""
        shape = list(self.tensor.shape)
        return [simple(e) for e in (shape[1:3] if self.layout == "NHWC" else shape[2:4])]

    def padded(self, extents: Sequence[Extent], before: Sequence[int], stage: str) -> "_Image":
        """The image with zeros around it, `extents` high and wide."""
        (height, width), (top, left) = self.extents, before
        zero = tirx.const(0, self.tensor.dtype)

        def value(*i: Any) -> Any:
            n, h, w, c = i if self.layout == "NHWC" else (i[0], i[2], i[3], i[1])
            inside = tirx.all(h >= top, h < height + top, w >= left, w < width + left)
            return tirx.if_then_else(inside, self(n, h - top, w - left, c), zero)

        shape = list(self.tensor.shape)
        at = 1 if self.layout == "NHWC" else 2
        shape[at : at + 2] = extents
        return _Image(te.compute(shape, value, name="pad", attrs={"optc.stage": stage}), self.layout)
