"""Images cut into four by every second row and column become SpaceToDepth: how detectors begin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from optc.compiler import ir
from optc.compiler.contents import Contents, dims, known_array
from optc.compiler.numerics import Numerics
from optc.compiler.rewrite import Builder, Const, PatternBuilder, Refuse, RewritePass, Rule

_FAR = 1 << 30


@dataclass(frozen=True)
class FuseSpaceToDepth(RewritePass):
    """Concat of x[:, :, i::2, j::2] for the four (i, j) along the channels -> SpaceToDepth(x).

    Its channels are in the order of rows, then columns; another order is that of the weight of the convolution behind it, or a
    Gather.
    """

    name = "fuse-space-to-depth"
    numerics = Numerics.REASSOCIATED

    def rules(self) -> Sequence[Rule]:
        return (Rule("space-to-depth", _quarters, _space_to_depth), Rule("channels-in-weight", _picked, _into_weight))


def _quarters(op: PatternBuilder, a: Any, b: Any, c: Any, d: Any) -> Any:
    return op.Concat(a, b, c, d, axis=1)


def _space_to_depth(op: Builder, a: ir.Value, b: ir.Value, c: ir.Value, d: ir.Value) -> Any:
    found = [_cut(v) for v in (a, b, c, d)]
    places = [(i, j) for _, i, j in found if i is not None and j is not None]
    x, shape = found[0][0], dims(found[0][0])
    if any(v is not x for v, _, _ in found) or sorted(places) != [(0, 0), (0, 1), (1, 0), (1, 1)]:
        return Refuse("it does not join the four quarters of an image")
    if shape is None or len(shape) != 4 or not isinstance(shape[1], int) or x.dtype != ir.DataType.FLOAT:
        return Refuse("it is not of a known number of channels in float32")
    y = op.SpaceToDepth(x, blocksize=2)
    order = [2 * i + j for i, j in places]
    if order == sorted(order):
        return y
    channels = np.concatenate([np.arange(shape[1]) + block * shape[1] for block in order])
    return op.Gather(y, channels, axis=1)


def _cut(value: ir.Value) -> tuple[ir.Value, int | None, int | None]:
    """What a value is cut of by slices, and the first row and column of each two that it takes; None where it takes others."""
    first: dict[int, int] = {}
    node = value.producer()
    while node is not None and ir.standard(node, "Slice") and len(node.inputs) == 5:
        contents = Contents()
        starts, ends, axes, steps = (known_array(contents.of(v)) for v in node.inputs[1:])
        if starts is None or ends is None or axes is None or steps is None or node.inputs[0] is None:
            break
        for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
            shape = dims(node.inputs[0])
            extent = shape[axis] if shape is not None and axis < len(shape) else None
            whole = end >= _FAR or (isinstance(extent, int) and end >= extent)
            if start not in (0, 1) or step != 2 or not whole or axis not in (2, 3) or axis in first:
                return value, None, None
            first[int(axis)] = int(start)
        value = node.inputs[0]
        node = value.producer()
    return value, first.get(2), first.get(3)


def _picked(op: PatternBuilder, x: Any, channels: Const, w: Const, b: Any | None) -> Any:
    return op.Conv(op.Gather(x, channels, axis=1), w, b, group=1, name="conv")


def _into_weight(op: Builder, conv: ir.Node, x: ir.Value, channels: Const, w: Const, b: ir.Value | None) -> Any:
    shape = dims(x)
    if shape is None or channels.ndim != 1 or not np.array_equal(np.sort(channels), np.arange(channels.size)):
        return Refuse("it does not take every channel once")
    if shape[1] != channels.size:
        return Refuse("it does not take every channel")
    return op.Conv(x, np.ascontiguousarray(w[:, np.argsort(channels)]), b, **conv.attributes)
