"""Dimensions of what only moves elements: reshapes, slices, pads, transposes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from optc.compiler import ir, symbolic
from optc.compiler.dimensions import NOTHING, Dims, broadcast_dims, dims, known_array, product
from optc.compiler.symbolic import Dim

if TYPE_CHECKING:
    from optc.compiler.contents import Contents


def _reshape(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    x, target = dims(node.inputs[0]), c.partly(node.inputs[1]) if len(node.inputs) > 1 else None
    if target is None or target.ndim != 1:
        return NOTHING
    return [reshape_dims(x, list(target), bool(ir.attribute(node, "allowzero", 0)))]


def reshape_dims(x: Sequence[Dim] | None, target: Sequence[Dim | None], allowzero: bool) -> Dims:
    """The dimensions that Reshape gives: 0 copies, one -1 is what is left; an element that is not known may be either."""
    out: list[Dim | None] = []
    for i, d in enumerate(target):
        copied = x[i] if x is not None and i < len(x) else None
        out.append(None if d == -1 else copied if d == 0 and not allowzero else d)
    rest = [i for i, d in enumerate(target) if d == -1]
    others = [d for i, d in enumerate(out) if i not in rest]
    if len(rest) == 1 and x is not None and None not in others:
        quotient = symbolic.floordiv(product(x), divisor) if (divisor := product(others)) != 0 else None
        out[rest[0]] = quotient
    return tuple(out)


def _flatten(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    x = dims(node.inputs[0])
    if x is None:
        return NOTHING
    axis = ir.attribute(node, "axis", 1)
    axis = axis + len(x) if axis < 0 else axis
    return [(product(x[:axis]), product(x[axis:]))]


def _expand(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    x, target = dims(node.inputs[0]), c.partly(node.inputs[1])
    return [broadcast_dims([x, list(target)])] if x is not None and target is not None and target.ndim == 1 else NOTHING


def _tile(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    x, repeats = dims(node.inputs[0]), c.partly(node.inputs[1])
    if x is None or repeats is None or repeats.shape != (len(x),):
        return NOTHING
    return [tuple(None if r is None else d * r for d, r in zip(x, repeats, strict=True))]


def _slice(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    x = dims(node.inputs[0])
    if x is None:
        return NOTHING
    if "starts" in node.attributes:
        given: list[Any] = [ir.attribute(node, "starts"), ir.attribute(node, "ends"), ir.attribute(node, "axes"), None]
    else:
        absent = [v is None for v in node.inputs[1:]] + [True] * (5 - len(node.inputs))
        given = [c.partly(v) for v in node.inputs[1:]] + [None] * (5 - len(node.inputs))
        if any(g is None and not a for g, a in zip(given, absent, strict=True)):
            return NOTHING
    starts, ends, axes, steps = given
    if axes is not None and any(a is None for a in axes):
        return NOTHING
    axes = list(range(len(starts))) if axes is None else [int(a) % len(x) for a in axes]
    out: list[Dim | None] = list(x)
    for i, axis in enumerate(axes):
        bounds = (starts[i], ends[i], 1 if steps is None else steps[i])
        out[axis] = None if None in bounds else _slice_dim(x[axis], *bounds)
    return [tuple(out)]


def _slice_dim(d: Dim, start: Dim, end: Dim, step: Dim) -> Dim | None:
    if isinstance(d, int) and isinstance(start, int) and isinstance(end, int) and isinstance(step, int):
        return len(range(*slice(start, None if step < 0 and end < -d else end, step).indices(d))) if step else None
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
    if symbolic.nonnegative(-index - 1):
        return symbolic.maximum(d + index, 0)
    return symbolic.minimum(index, d) if symbolic.nonnegative(index) else None


def _pad(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    x = dims(node.inputs[0])
    pads: Any = (
        ir.attribute(node, "pads") if "pads" in node.attributes else c.partly(node.inputs[1]) if len(node.inputs) > 1 else None
    )
    if x is None or pads is None:
        return NOTHING
    axes: Sequence[int] = range(len(x))
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        given = known_array(c.of(node.inputs[3]))
        if given is None:
            return NOTHING
        axes = [int(a) % len(x) for a in given]
    if len(pads) != 2 * len(axes):
        return NOTHING
    out: list[Dim | None] = list(x)
    for i, axis in enumerate(axes):
        before, after = pads[i], pads[i + len(axes)]
        out[axis] = None if before is None or after is None else x[axis] + before + after
    return [tuple(out)]


def _split(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    x = dims(node.inputs[0])
    if x is None:
        return NOTHING
    axis, count = ir.attribute(node, "axis", 0) % len(x), len(node.outputs)
    given: Any = c.partly(node.inputs[1]) if len(node.inputs) > 1 and node.inputs[1] is not None else ir.attribute(node, "split")
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


def _transpose(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    x = dims(node.inputs[0])
    return [tuple(x[i] for i in ir.attribute(node, "perm", range(len(x))[::-1]))] if x is not None else NOTHING


def given_axes(c: Contents, node: ir.Node, rank: int) -> tuple[bool, list[int]]:
    """Whether the axes are known, and which they are (none where they are left out)."""
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        held = known_array(c.of(node.inputs[1]))
        return held is not None, [] if held is None else [int(a) % rank for a in held.ravel()]
    return True, [a % rank for a in ir.attribute(node, "axes", ())]


def _squeeze(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    x = dims(node.inputs[0])
    known, axes = given_axes(c, node, len(x)) if x else (False, [])
    if x is None or not known or not axes:  # which extents are 1 may depend on the run
        return NOTHING
    return [tuple(d for i, d in enumerate(x) if i not in axes)]


def _unsqueeze(c: Contents, node: ir.Node) -> Sequence[Dims | None]:
    x = dims(node.inputs[0])
    if x is None:
        return NOTHING
    if "axes" in node.attributes:
        axes = list(ir.attribute(node, "axes"))
    else:
        held = known_array(c.of(node.inputs[1]))
        if held is None:
            return NOTHING
        axes = held.ravel().tolist()
    rank = len(x) + len(axes)
    new, rest = {a % rank for a in axes}, iter(x)
    return [tuple(1 if i in new else next(rest) for i in range(rank))]


RULES = {
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Expand": _expand,
    "Tile": _tile,
    "Slice": _slice,
    "Pad": _pad,
    "Split": _split,
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
}
