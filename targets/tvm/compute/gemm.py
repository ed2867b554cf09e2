"""Dense layers: A[..., M, K] x W[K, N] + bias, W constant. A 1x1 convolution is one, over the pixels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import te

from optc.targets.tvm.compute.kernel import Array, Extent, Kernel, pad_last, round_up, static
from optc.targets.tvm.compute.tile import Tile, choose, whole_rows
from optc.targets.tvm.machine import Machine

_BATCH_ROWS = 4  # rows of a tile when only the batch, often 1, runs along them


def gemm(machine: Machine, shape: Sequence[Extent], weight: Array, bias: Array | None = None, rank: int = 0) -> Kernel:
    """float32 x[..., K] -> [..., N] with `weight` [K, N] and `bias` [N]; leading dimensions may be symbolic.

    Weights are packed [N / width, K, width], N padded with zeros to the tile's width.
    `rank` is that of the tile among those of `choose`.
    """
    axis = _row_axis(shape)
    extent = shape[axis]
    inner, outer = weight.shape
    tile = choose(machine, extent, outer, most=_BATCH_ROWS if static(extent) is None and axis == 0 else 32, rank=rank)
    packed = pad_last(weight, round_up(outer, tile.width)).reshape(inner, -1, tile.width)
    weights = [np.ascontiguousarray(packed.transpose(1, 0, 2))]
    if bias is not None:
        weights.append(np.ascontiguousarray(bias))

    def compute(x: Any, w: Any, *rest: Any) -> Any:
        return _compute(tile, axis, outer, x, w, *rest)

    return Kernel(tuple(weights), compute, depth=inner)


def _row_axis(shape: Sequence[Extent]) -> int:
    """The axis that rows of a tile run along: the innermost leading one that is not known to be 1."""
    return next((a for a in range(len(shape) - 2, 0, -1) if static(shape[a]) != 1), 0)


def _compute(tile: Tile, axis: int, outer: int, x: Any, w: Any, bias: Any = None) -> Any:
    lead = list(x.shape[:-1])
    rounded = list(lead)
    rounded[axis] = round_up(lead[axis], tile.mr)
    a = whole_rows(x, axis, tile.mr)
    k = te.reduce_axis((0, x.shape[-1]), name="k")
    acc = te.compute(
        (*rounded, w.shape[0] * tile.width),
        lambda *i: te.sum(a[(*i[:-1], k)] * w[i[-1] // tile.width, k, i[-1] % tile.width], axis=k),
        name="acc",
        attrs=dict(tile.attributes("tile", axis)),
    )
    return te.compute((*lead, outer), lambda *i: acc[i] + bias[i[-1]] if bias is not None else acc[i], name="out")
