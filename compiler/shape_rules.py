"""Output dimensions of the operators whose dimensions are computed: convolutions, reshapes, slices, broadcasts.

A rule gives, for each output, its dimensions (None: unknown), from the dimensions and contents of the inputs.
ONNX's own inference does the rest: dtypes, ranks, numbers, and names that pass through unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from optc.compiler import ir, symbolic
from optc.compiler.contents import Contents, dims, known_array
from optc.compiler.symbolic import Dim

Dims = tuple[Dim | None, ...]
Rule = Callable[[Contents, ir.Node], "Sequence[Dims | None]"]

NOTHING: Sequence[Dims | None] = ()


def _window(node: ir.Node, spatial: int, kernel: Sequence[int]) -> Any:
    strides = ir.attribute(node, "strides") or (1,) * spatial
    dilations = ir.attribute(node, "dilations") or (1,) * spatial
    pads = ir.attribute(node, "pads") or (0,) * (2 * spatial)
    return strides, [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)], pads


def _kernel(node: ir.Node, spatial: int) -> Sequence[int] | None:
    given = ir.attribute(node, "kernel_shape")
    if given:
        return tuple(given)
    weight = dims(node.inputs[1]) if len(node.inputs) > 1 else None
    found = tuple(d for d in weight[2:] if isinstance(d, int)) if weight is not None else ()
    return found if len(found) == spatial else None


def _conv(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    """Conv and the pools: floor((d + pads - kernel) / stride) + 1."""
    x = dims(node.inputs[0])
    kernel = _kernel(node, len(x) - 2) if x is not None else None
    if x is None or kernel is None:
        return NOTHING
    strides, extents, pads = _window(node, len(x) - 2, kernel)
    auto, ceil = ir.attribute(node, "auto_pad", "NOTSET"), ir.attribute(node, "ceil_mode", 0)
    out: list[Dim | None] = []
    for i, (d, s, k) in enumerate(zip(x[2:], strides, extents, strict=True)):
        end = pads[i + len(x) - 2]
        if auto in ("SAME_UPPER", "SAME_LOWER"):
            out.append(symbolic.floordiv(d + (s - 1), s))
        elif auto == "VALID":
            out.append(symbolic.floordiv(d - k, s) + 1)
        elif ceil and end + s > k:
            out.append(None)  # a last window that would start in the padding is dropped
        else:
            out.append(symbolic.floordiv(d + (pads[i] + end - k + (s - 1 if ceil else 0)), s) + 1)
    weight = dims(node.inputs[1]) if node.op_type == "Conv" else None
    channels: Dim | None = x[1] if node.op_type != "Conv" else weight[0] if weight else None
    return [(x[0], channels, *out)] * len(node.outputs)


def _conv_transpose(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    x, weight = dims(node.inputs[0]), dims(node.inputs[1])
    kernel = _kernel(node, len(x) - 2) if x is not None else None
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


def _broadcast(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    shapes = [dims(v) for v in node.inputs if v is not None]
    return [broadcast_dims([s for s in shapes if s is not None])] if None not in shapes else NOTHING


def broadcast_dims(shapes: Sequence[Sequence[Dim]]) -> Dims:
    """Multidirectional broadcasting; None for a dimension that cannot be said."""
    rank = max(map(len, shapes), default=0)
    out: list[Dim | None] = []
    for i in range(rank):
        total: Dim | None = 1
        for shape in shapes:
            if i >= rank - len(shape) and total is not None:
                total = symbolic.broadcast(total, shape[i - rank + len(shape)])
        out.append(total)
    return tuple(out)


def _matmul(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    a, b = dims(node.inputs[0]), dims(node.inputs[1])
    if a is None or b is None or not a or not b:
        return NOTHING
    rows, columns = a[-2:-1], b[-1:] if len(b) > 1 else ()
    return [(*broadcast_dims([a[:-2], b[:-2]]), *rows, *columns)]


def _gemm(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    a, b = dims(node.inputs[0]), dims(node.inputs[1])
    if a is None or b is None or len(a) != 2 or len(b) != 2:
        return NOTHING
    return [(a[1 if ir.attribute(node, "transA", 0) else 0], b[0 if ir.attribute(node, "transB", 0) else 1])]


def _concat(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    shapes = [s for v in node.inputs if (s := dims(v)) is not None]
    if len(shapes) < len(node.inputs) or len({len(s) for s in shapes}) != 1:
        return NOTHING
    axis = ir.attribute(node, "axis", 1) % len(shapes[0])
    out: list[Dim] = [next((d for d in column if isinstance(d, int)), column[0]) for column in zip(*shapes, strict=True)]
    out[axis] = sum((s[axis] for s in shapes[1:]), shapes[0][axis])
    return [tuple(out)]


def _reshape(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    x, target = dims(node.inputs[0]), c.of(node.inputs[1]) if len(node.inputs) > 1 else None
    if target is None or target.ndim != 1:
        return NOTHING
    return [reshape_dims(x, list(target), bool(ir.attribute(node, "allowzero", 0)))]


def reshape_dims(x: Sequence[Dim] | None, target: Sequence[Dim], allowzero: bool) -> Dims:
    """The dimensions that Reshape gives: 0 copies, one -1 is what is left."""
    out: list[Dim | None] = []
    for i, d in enumerate(target):
        copied = x[i] if x is not None and i < len(x) else None
        out.append(None if d == -1 else copied if d == 0 and not allowzero else d)
    rest = [i for i, d in enumerate(target) if d == -1]
    others = [d for i, d in enumerate(out) if i not in rest]
    if len(rest) == 1 and x is not None and None not in others:
        quotient = symbolic.floordiv(_product(x), divisor) if (divisor := _product(others)) != 0 else None
        out[rest[0]] = quotient
    return tuple(out)


def _product(factors: Sequence[Any]) -> Dim:
    total: Dim = 1
    for f in factors:
        total = total * f
    return total


def _flatten(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    x = dims(node.inputs[0])
    if x is None:
        return NOTHING
    axis = ir.attribute(node, "axis", 1)
    axis = axis + len(x) if axis < 0 else axis
    return [(_product(x[:axis]), _product(x[axis:]))]


def _expand(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    x, target = dims(node.inputs[0]), c.of(node.inputs[1])
    return [broadcast_dims([x, list(target)])] if x is not None and target is not None and target.ndim == 1 else NOTHING


def _tile(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    x, repeats = dims(node.inputs[0]), c.of(node.inputs[1])
    if x is None or repeats is None or len(repeats) != len(x):
        return NOTHING
    return [tuple(d * r for d, r in zip(x, repeats, strict=True))]


def _slice(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    x = dims(node.inputs[0])
    if x is None:
        return NOTHING
    if "starts" in node.attributes:
        given: list[Any] = [ir.attribute(node, "starts"), ir.attribute(node, "ends"), ir.attribute(node, "axes"), None]
    else:
        given = [c.of(v) for v in node.inputs[1:]] + [None] * (5 - len(node.inputs))
        if any(g is None and v is not None for g, v in zip(given, node.inputs[1:], strict=False)):
            return NOTHING
    starts, ends, axes, steps = given
    axes = list(range(len(starts))) if axes is None else [int(a) % len(x) for a in axes]
    out: list[Dim | None] = list(x)
    for i, axis in enumerate(axes):
        out[axis] = _slice_dim(x[axis], starts[i], ends[i], 1 if steps is None else steps[i])
    return [tuple(out)]


def _slice_dim(d: Dim, start: Dim, end: Dim, step: Dim) -> Dim | None:
    if isinstance(d, int) and isinstance(start, int) and isinstance(end, int) and isinstance(step, int):
        return len(range(*slice(start, None if step < 0 and end < -d else end, step).indices(d)))
    if step == -1 and start == -1 and isinstance(end, int) and end < -(1 << 30):
        return d  # reversed
    if not isinstance(step, int) or step <= 0:
        return None
    last = _clamp(d, end)
    if isinstance(start, int) and start < 0 and last == d:
        return symbolic.floordiv(symbolic.minimum(-start, d) + (step - 1), step)
    first = start if symbolic.nonnegative(start) else _clamp(d, start)  # beyond the end, nothing is left anyhow
    if first is None or last is None:
        return None
    return symbolic.floordiv(symbolic.maximum(last - first, 0) + (step - 1), step)


def _clamp(d: Dim, index: Dim) -> Dim | None:
    """Where a slice's index falls in a dimension; negative ones count from its end."""
    if isinstance(index, int) and index > 1 << 30:
        return d
    if isinstance(index, int) and index < 0:
        return symbolic.maximum(d + index, 0)
    return symbolic.minimum(index, d) if symbolic.nonnegative(index) else None


def _pad(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    x = dims(node.inputs[0])
    pads: Any = (
        ir.attribute(node, "pads") if "pads" in node.attributes else c.of(node.inputs[1]) if len(node.inputs) > 1 else None
    )
    if x is None or pads is None:
        return NOTHING
    axes = range(len(x))
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        given = known_array(c.of(node.inputs[3]))
        if given is None:
            return NOTHING
        axes = [int(a) % len(x) for a in given]  # type: ignore[assignment]
    out: list[Dim | None] = list(x)
    for i, axis in enumerate(axes):
        out[axis] = x[axis] + pads[i] + pads[i + len(axes)]
    return [tuple(out)]


def _resize(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    """Resize and Upsample: given sizes, or floor(d · scale) for scales that are whole numbers."""
    x = dims(node.inputs[0])
    if x is None or "axes" in node.attributes or ir.attribute(node, "keep_aspect_ratio_policy", "stretch") != "stretch":
        return NOTHING
    sizes = c.of(node.inputs[3]) if len(node.inputs) > 3 else None
    if sizes is not None and len(sizes) == len(x):
        return [tuple(sizes)]
    at = 2 if len(node.inputs) > 2 else 1
    scales = ir.const(node.inputs[at]) if len(node.inputs) > at else ir.attribute(node, "scales")
    if scales is None or len(scales) != len(x):
        return NOTHING
    return [tuple(_scaled(d, float(s)) for d, s in zip(x, scales, strict=True))]


def _scaled(d: Dim, scale: float) -> Dim | None:
    if scale.is_integer():
        return d * int(scale)
    inverse = 1 / scale if scale > 0 else 0.5
    return symbolic.floordiv(d, int(inverse)) if inverse.is_integer() else None


def _split(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    x = dims(node.inputs[0])
    if x is None:
        return NOTHING
    axis, count = ir.attribute(node, "axis", 0) % len(x), len(node.outputs)
    given: Any = c.of(node.inputs[1]) if len(node.inputs) > 1 and node.inputs[1] is not None else ir.attribute(node, "split")
    if given is None and len(node.inputs) > 1 and node.inputs[1] is not None:
        return NOTHING
    if given is None:
        whole = x[axis]
        if "num_outputs" in node.attributes and not isinstance(whole, int):  # all the same, the last may be smaller
            size = symbolic.floordiv(whole + (count - 1), count)
            given = [size] * (count - 1) + [whole - size * (count - 1)]
        else:
            given = [symbolic.floordiv(whole, count)] * count
            if isinstance(whole, int) and whole % count:
                return NOTHING
    return [(*x[:axis], size, *x[axis + 1 :]) for size in given]


def _constant_of_shape(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    shape = c.of(node.inputs[0])
    return [tuple(shape)] if shape is not None and shape.ndim == 1 else NOTHING


def _range(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    start, stop, step = (c.of(v) for v in node.inputs)
    if start is None or stop is None or step is None:
        return NOTHING
    a, b, k = start.item(), stop.item(), step.item()
    if not isinstance(k, int) or k <= 0:
        return NOTHING
    return [(symbolic.maximum(symbolic.floordiv(b - a + (k - 1), k), 0),)]


def _depth_to_space(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    x, block = dims(node.inputs[0]), ir.attribute(node, "blocksize")
    if x is None or len(x) != 4:
        return NOTHING
    if node.op_type == "DepthToSpace":
        return [(x[0], symbolic.floordiv(x[1], block * block), x[2] * block, x[3] * block)]
    return [(x[0], x[1] * (block * block), symbolic.floordiv(x[2], block), symbolic.floordiv(x[3], block))]


def _topk(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    x, k = dims(node.inputs[0]), c.of(node.inputs[1]) if len(node.inputs) > 1 else None
    if x is None or k is None or k.size != 1:
        return NOTHING
    axis = ir.attribute(node, "axis", -1) % len(x)
    return [(*x[:axis], k.reshape(-1)[0], *x[axis + 1 :])] * 2


_BROADCASTING = (
    "Add Sub Mul Div Pow Mod And Or Xor Equal Greater Less GreaterOrEqual LessOrEqual Where Min Max Sum Mean "
    "BitShift BitwiseAnd BitwiseOr BitwiseXor"
)

RULES: dict[str, Rule] = {
    **dict.fromkeys(_BROADCASTING.split(), _broadcast),
    **dict.fromkeys(("Conv", "MaxPool", "AveragePool", "LpPool"), _conv),
    "ConvTranspose": _conv_transpose, "MatMul": _matmul, "Gemm": _gemm, "Concat": _concat, "Reshape": _reshape,
    "Flatten": _flatten, "Expand": _expand, "Tile": _tile, "Slice": _slice, "Pad": _pad, "Resize": _resize, "Upsample": _resize,
    "Split": _split, "ConstantOfShape": _constant_of_shape, "Range": _range, "TopK": _topk,
    "DepthToSpace": _depth_to_space, "SpaceToDepth": _depth_to_space,
}  # fmt: skip


def result(node: ir.Node) -> Dims | None:
    """Dimensions of the first output, from the inputs where the operator has a rule, else as recorded."""
    found = outputs(Contents(), node)
    return found[0] if found and found[0] is not None and None not in found[0] else dims(node.outputs[0])


def outputs(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    """Dimensions of the outputs by the operator's rule; empty where there is none or it cannot say."""
    rule = RULES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    return rule(c, node) if rule is not None else NOTHING
