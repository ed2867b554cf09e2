"""Dimensions of what slides over images and series, and of what resizes them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from optc.compiler import ir, symbolic
from optc.compiler.dimensions import NOTHING, Dims, dims
from optc.compiler.symbolic import Dim

if TYPE_CHECKING:
    from optc.compiler.contents import Contents


FINEST = 64
"""Sizes times a scale are exact in float32 for scales of at most this denominator."""


def _window(node: ir.Node, spatial: int, kernel: Sequence[int]) -> Any:
    strides = ir.attribute(node, "strides") or (1,) * spatial
    dilations = ir.attribute(node, "dilations") or (1,) * spatial
    pads = ir.attribute(node, "pads") or (0,) * (2 * spatial)
    return strides, [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)], pads


def _kernel(node: ir.Node, spatial: int, weight: ir.Value | None) -> Sequence[int] | None:
    given = ir.attribute(node, "kernel_shape")
    if given:
        return tuple(given)
    shape = dims(weight)
    found = tuple(d for d in shape[2:] if isinstance(d, int)) if shape is not None else ()
    return found if len(found) == spatial else None


def _weight(node: ir.Node) -> ir.Value | None:
    """The second input; of QLinearConv the fourth."""
    at = 3 if node.op_type == "QLinearConv" else 1
    return node.inputs[at] if len(node.inputs) > at else None


def conv(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    """Convolutions and pools: floor((d + pads - kernel) / stride) + 1."""
    x, pool = dims(node.inputs[0]), node.op_type.endswith("Pool")
    kernel = _kernel(node, len(x) - 2, None if pool else _weight(node)) if x is not None else None
    if x is None or kernel is None or len(kernel) != len(x) - 2:
        return NOTHING
    strides, extents, pads = _window(node, len(x) - 2, kernel)
    auto, ceil = ir.attribute(node, "auto_pad", "NOTSET"), ir.attribute(node, "ceil_mode", 0)
    out: list[Dim | None] = []
    for i, (d, s, k) in enumerate(zip(x[2:], strides, extents, strict=True)):
        start, end = pads[i], pads[i + len(x) - 2]
        if auto in ("SAME_UPPER", "SAME_LOWER"):
            out.append(symbolic.floordiv(d + (s - 1), s))
        elif auto == "VALID":
            out.append(symbolic.floordiv(d - k, s) + 1)
        elif ceil:
            whole = symbolic.floordiv(d + (start + end - k + (s - 1)), s) + 1
            starting = symbolic.floordiv(d + (start - 1), s) + 1  # a last window that would start in the padding is dropped
            out.append(symbolic.minimum(whole, starting) if end < k else None)
        else:
            out.append(symbolic.floordiv(d + (start + end - k), s) + 1)
    weight = None if pool else dims(_weight(node))
    channels: Dim | None = x[1] if pool else weight[0] if weight else None
    return [(x[0], channels, *out)] * len(node.outputs)


def global_pool(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    x = dims(node.inputs[0])
    return [(*x[:2], *(1 for _ in x[2:]))] if x is not None else NOTHING


def conv_transpose(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    x, weight = dims(node.inputs[0]), dims(node.inputs[1])
    kernel = _kernel(node, len(x) - 2, _weight(node)) if x is not None else None
    if x is None or weight is None or kernel is None or not isinstance(weight[1], int):
        return NOTHING
    strides, extents, pads = _window(node, len(x) - 2, kernel)
    extra = ir.attribute(node, "output_padding") or (0,) * len(kernel)
    fixed = ir.attribute(node, "output_shape")
    out: list[Dim | None] = []
    for i, (d, s, k) in enumerate(zip(x[2:], strides, extents, strict=True)):
        auto = ir.attribute(node, "auto_pad", "NOTSET")
        total = 0 if auto == "VALID" else pads[i] + pads[i + len(kernel)]
        same = auto in ("SAME_UPPER", "SAME_LOWER")
        out.append(fixed[-len(kernel) :][i] if fixed else d * s if same else (d - 1) * s + (extra[i] + k - total))
    return [(x[0], weight[1] * ir.attribute(node, "group", 1), *out)]


def resize(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    """Resize and Upsample: given sizes, or floor(d · scale)."""
    x = dims(node.inputs[0])
    if x is None or ir.attribute(node, "keep_aspect_ratio_policy", "stretch") != "stretch":
        return NOTHING
    axes = [a % len(x) for a in ir.attribute(node, "axes", range(len(x)))]
    out: list[Dim | None] = list(x)
    sizes = c.partly(node.inputs[3]) if len(node.inputs) > 3 else None
    if sizes is not None and len(sizes) == len(axes):
        for axis, size in zip(axes, sizes, strict=True):
            out[axis] = size
        return [tuple(out)]
    at = 2 if len(node.inputs) > 2 else 1
    scales = ir.const(node.inputs[at]) if len(node.inputs) > at else ir.attribute(node, "scales")
    if scales is None or len(scales) != len(axes) or ir.attribute(node, "coordinate_transformation_mode") == "tf_crop_and_resize":
        return NOTHING
    for axis, scale in zip(axes, scales, strict=True):
        out[axis] = _scaled(x[axis], Fraction(float(scale)))
    return [tuple(out)]


def _scaled(d: Dim, scale: Fraction) -> Dim | None:
    return symbolic.floordiv(d * scale.numerator, scale.denominator) if scale.denominator <= FINEST else None


def grid_sample(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    x, grid = dims(node.inputs[0]), dims(node.inputs[1])
    return [(*x[:2], *grid[1:-1])] if x is not None and grid is not None else NOTHING


def depth_to_space(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    x, block = dims(node.inputs[0]), ir.attribute(node, "blocksize")
    if x is None or len(x) != 4:
        return NOTHING
    if node.op_type == "DepthToSpace":
        return [(x[0], symbolic.floordiv(x[1], block * block), x[2] * block, x[3] * block)]
    return [(x[0], x[1] * (block * block), symbolic.floordiv(x[2], block), symbolic.floordiv(x[3], block))]


RULES = {
    **dict.fromkeys(("Conv", "ConvInteger", "QLinearConv", "MaxPool", "AveragePool", "LpPool"), conv),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"), global_pool),
    "ConvTranspose": conv_transpose,
    "Resize": resize,
    "Upsample": resize,
    "GridSample": grid_sample,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": depth_to_space,
}
