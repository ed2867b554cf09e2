"""Pooling over NHWC."""

from collections.abc import Sequence
from typing import Any

from tvm import te, tirx

from optc.targets.tvm.compute.kernel import Extent, Kernel, pair, simple
from optc.targets.tvm.machine import Machine


def max_pool(
    machine: Machine,
    shape: Sequence[Extent],
    *,
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
    ceil_mode: bool = False,
) -> Kernel:
    """ONNX's MaxPool over NHWC; `pads` (top, left, bottom, right)."""
    window = _Window(kernel, strides, dilations, pads, ceil_mode)

    def compute(x: Any, extents: Sequence[Extent] | None = None) -> Any:
        lowest = tirx.min_value(x.dtype)
        kh, kw = window.axes()

        def value(n: Any, h: Any, w: Any, c: Any) -> Any:
            i, j, inside = window.source(x, h, w, kh, kw)
            taken = x[n, i, j, c] if inside is None else tirx.if_then_else(inside, x[n, i, j, c], lowest)
            return te.max(taken, axis=[kh, kw])

        return te.compute(window.output(x, extents), value, name="acc", attrs={"optc.kind": "pool"})

    return Kernel((), compute, window.extents)


def average_pool(
    machine: Machine,
    shape: Sequence[Extent],
    *,
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
    ceil_mode: bool = False,
    count_include_pad: bool = False,
) -> Kernel:
    """ONNX's AveragePool over NHWC. With `count_include_pad` the divisor counts padding, but nothing beyond it."""
    window = _Window(kernel, strides, dilations, pads, ceil_mode)

    def compute(x: Any, extents: Sequence[Extent] | None = None) -> Any:
        kh, kw = window.axes()

        def value(n: Any, h: Any, w: Any, c: Any) -> Any:
            i, j, inside = window.source(x, h, w, kh, kw)
            zero = tirx.const(0, x.dtype)
            return te.sum(x[n, i, j, c] if inside is None else tirx.if_then_else(inside, x[n, i, j, c], zero), axis=[kh, kw])

        acc = te.compute(window.output(x, extents), value, name="acc", attrs={"optc.kind": "pool"})
        return te.compute(
            window.output(x, extents),
            lambda n, h, w, c: acc[n, h, w, c] / window.count(x, h, w, count_include_pad).astype(x.dtype),
            name="out",
        )

    return Kernel((), compute, window.extents)


def global_average_pool(machine: Machine, shape: Sequence[Extent]) -> Kernel:
    """The mean over height and width: [N, H, W, C] -> [N, 1, 1, C]."""

    def compute(x: Any) -> Any:
        n, height, width, c = x.shape
        i, j = te.reduce_axis((0, height), name="i"), te.reduce_axis((0, width), name="j")
        acc = te.compute(
            (n, 1, 1, c), lambda b, _h, _w, k: te.sum(x[b, i, j, k], axis=[i, j]), name="acc", attrs={"optc.kind": "pool"}
        )
        area = simple(height * width)
        area = tirx.const(area, x.dtype) if isinstance(area, int) else tirx.Cast(x.dtype, area)
        return te.compute((n, 1, 1, c), lambda *k: acc[k] / area, name="out")

    return Kernel((), compute)


class _Window:
    """A pooling window sliding over height and width."""

    def __init__(
        self, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], pads: Sequence[int], ceil_mode: bool
    ) -> None:
        self.kernel, self.strides, self.dilations = pair(kernel), pair(strides), pair(dilations)
        self.before, self.after = pair(pads[:2]), pair(pads[2:])
        self.ceil_mode = ceil_mode

    def axes(self) -> tuple[Any, Any]:
        kh, kw = (te.reduce_axis((0, k), name=n) for k, n in zip(self.kernel, ("kh", "kw"), strict=True))
        return kh, kw

    def output(self, x: Any, extents: Sequence[Extent] | None = None) -> tuple[Extent, ...]:
        return (x.shape[0], *(extents or self.extents(x.shape[1:3])), x.shape[3])

    def extents(self, sizes: Sequence[Extent]) -> list[Extent]:
        """Output height and width for an input's."""
        return [self._extent(simple(e), i) for i, e in enumerate(sizes)]

    def _extent(self, extent: Extent, i: int) -> Extent:
        span = extent + self.before[i] + self.after[i] - (self.kernel[i] - 1) * self.dilations[i] - 1
        if not self.ceil_mode:  # a window larger than the image is cut to it, as onnxruntime has it
            return (max(span, 0) if isinstance(span, int) else tirx.max(span, 0)) // self.strides[i] + 1
        size = (span + self.strides[i] - 1) // self.strides[i] + 1
        # a window that would start in the padding after the image is left out, as ONNX has it
        over = (size - 1) * self.strides[i] >= extent + self.before[i]
        return size - int(over) if isinstance(size, int) else size - tirx.Cast("int64", over)

    def source(self, x: Any, h: Any, w: Any, kh: Any, kw: Any) -> tuple[Any, Any, Any]:
        """Where a tap reads, and whether that is inside the image (None: always)."""
        i = h * self.strides[0] + kh * self.dilations[0] - self.before[0]
        j = w * self.strides[1] + kw * self.dilations[1] - self.before[1]
        fits = all(isinstance(simple(e), int) and simple(e) >= self.kernel[n] for n, e in enumerate(x.shape[1:3]))
        if fits and not any((*self.before, *self.after)) and not self.ceil_mode:
            return i, j, None
        return i, j, tirx.all(i >= 0, i < x.shape[1], j >= 0, j < x.shape[2])

    def count(self, x: Any, h: Any, w: Any, include_pad: bool) -> Any:
        """Elements the divisor counts for output (h, w)."""
        total: Any = 1
        for i, (o, extent) in enumerate(zip((h, w), x.shape[1:3], strict=True)):
            start = o * self.strides[i] - self.before[i]
            low, high = (-self.before[i], extent + self.after[i]) if include_pad else (0, extent)
            d, k = self.dilations[i], self.kernel[i]
            first = te.max(0, (low - start + d - 1) // d)
            last = te.min(k, (high - start + d - 1) // d)
            total = total * (last - first)
        return total
