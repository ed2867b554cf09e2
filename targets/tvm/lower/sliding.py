"""Windows that slide over any number of spatial axes of NC..., as convolution and pooling have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tvm import te, tirx

from optc.compiler import ir
from optc.targets.tvm.lower.lowering import Dim, Lowering, Operand

_OPAQUE = 8  # FuseOps' kOpaque: scheduled apart, since a guarded read inside a reduction cannot be vectorized


@dataclass(frozen=True)
class Window:
    """A value an axis of each: taps, steps in elements, and what is padded before and after (symbolic under SAME)."""

    kernel: tuple[Dim, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[Dim, ...]
    after: tuple[Dim, ...]
    ceil_mode: bool = False

    def extents(self, sizes: Sequence[Dim]) -> list[Dim]:
        """The output's extents, as ONNX has them."""
        return [self._extent(size, i) for i, size in enumerate(sizes)]

    def _extent(self, size: Dim, i: int) -> Dim:
        stride = self.strides[i]
        span = size + self.before[i] + self.after[i] - (self.kernel[i] - 1) * self.dilations[i] - 1
        if not self.ceil_mode:  # a window larger than the image is cut to it, as onnxruntime has it
            return (max(span, 0) if isinstance(span, int) else tirx.max(span, tirx.IntImm("int64", 0))) // stride + 1
        count = (span + stride - 1) // stride + 1
        over = (count - 1) * stride >= size + self.before[i]  # it would start in the padding after the image
        return count - int(over) if isinstance(count, int) else count - tirx.Cast("int64", over)


def window_of(ctx: Lowering, node: ir.Node, spatial: Sequence[Dim], kernel: Sequence[Dim], *, ceil_mode: bool = False) -> Window:
    """The node's window over `spatial` extents, with auto_pad resolved."""
    rank = len(kernel)
    if rank != len(spatial):
        raise ctx.fail(node, f"a window of {rank} axes over {len(spatial)} spatial dimensions")
    strides = tuple(int(s) for s in ir.attribute(node, "strides", [1] * rank))
    dilations = tuple(int(d) for d in ir.attribute(node, "dilations", [1] * rank))
    pads: list[Dim] = [int(p) for p in ir.attribute(node, "pads", [0] * 2 * rank)]
    auto = ir.attribute(node, "auto_pad", "NOTSET")
    if auto == "VALID":
        pads = [0] * 2 * rank
    elif auto in ("SAME_UPPER", "SAME_LOWER"):
        total = [same_pad(e, k, s, d) for e, k, s, d in zip(spatial, kernel, strides, dilations, strict=True)]
        small, large = [t // 2 for t in total], [t - t // 2 for t in total]
        pads = small + large if auto == "SAME_UPPER" else large + small
    pads = [ctx.opaque(p) for p in pads]
    taps = tuple(kernel)
    return Window(taps, strides, dilations, tuple(pads[:rank]), tuple(pads[rank:]), ceil_mode)


def same_pad(extent: Dim, kernel: Dim, stride: int, dilation: int) -> Dim:
    """What must be padded in all for an output of ceil(extent / stride)."""
    reach = (kernel - 1) * dilation
    if stride == 1:
        return reach
    total = ((extent + stride - 1) // stride - 1) * stride + reach + 1 - extent
    return max(total, 0) if isinstance(total, int) else tirx.max(total, tirx.IntImm("int64", 0))


def spread(
    ctx: Lowering,
    x: Operand,
    strides: Sequence[int],
    before: Sequence[Dim],
    after: Sequence[Dim],
    sizes: Sequence[Dim] | None = None,
) -> Any:
    """Spatial axes with strides - 1 zeros between elements and zeros around them; a negative pad cuts.

    `sizes` are the result's, where they are known without the pads.
    """
    own, first = ctx.shape(x), 2
    stop = first + len(strides)
    if all(s == 1 for s in strides) and all(isinstance(p, int) and p == 0 for p in (*before, *after)):
        return ctx.tensor(x)
    sizes = sizes or [
        d if isinstance(d, int) and d == 0 else (d - 1) * s + 1 + b + a
        for d, s, b, a in zip(own[first:stop], strides, before, after, strict=True)
    ]
    dims = [*own[:first], *[ctx.opaque(s) for s in sizes], *own[stop:]]

    def compute(x: Any, before: Any, dims: Any) -> Any:
        def element(*at: Any) -> Any:
            index, inside = list(at), []
            for axis, s, b in zip(range(first, stop), strides, before, strict=True):
                place = at[axis] - b
                inside += [place >= 0, place < (x.shape[axis] - 1) * s + 1]
                if s != 1:
                    inside.append(place % s == 0)
                index[axis] = place // s
            return tirx.if_then_else(tirx.all(*inside), x(*index), tirx.const(0, x.dtype))

        return te.compute(tuple(dims), element, name="pad")

    return ctx.te("pad", compute, ctx.tensor(x), list(before), dims, pattern=_OPAQUE)
