"""Operators that move elements and compute none: transposes, slices, gathers, joins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import te, tirx, topi

from optc.compiler import ir
from optc.targets.tvm.destinations import AXIS
from optc.targets.tvm.lower import fed_axes, types
from optc.targets.tvm.lower.elementwise import read
from optc.targets.tvm.lower.lowering import Dim, Lowering, Operand, is_constant


def axis_of(ctx: Lowering, node: ir.Node, operand: Operand, default: int = 0) -> int:
    return int(ir.attribute(node, "axis", default)) % max(1, len(ctx.shape(operand)))


def axes_of(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand], rank: int, index: int = 1) -> list[Dim] | None:
    """Axes from an input (newer opsets) or an attribute, some perhaps fed at run time (fed_axes.py); None where left out."""
    if len(inputs) > index and inputs[index] is not None:
        found: Any = ctx.integers(node, inputs[index], "axes")
    else:
        found = ir.attribute(node, "axes")
    return None if found is None else [int(a) % max(rank, 1) if isinstance(a, int) else a for a in found]


def product(dims: Sequence[Dim]) -> Dim:
    result: Dim = 1
    for dim in dims:
        result = result * dim
    return result


def identity(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    return inputs[0]


def dropout(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """At inference, or where nothing is dropped: the input, and a mask of ones."""
    ratio, training = (*inputs, None, None)[1:3]
    if training is not None and not any(is_constant(x) and not x.any() for x in (ratio, training)):
        raise ctx.fail(node, "it is in training mode")
    shape = ctx.shape(inputs[0])
    return [inputs[0]] if len(node.outputs) < 2 else [inputs[0], full(ctx, shape, np.array(True))]


def full(ctx: Lowering, shape: Sequence[Dim], value: ir.Array) -> Any:
    value = types.hold(value)
    dtype = str(value.dtype)
    number = tirx.const(value.ravel()[0].item(), dtype)
    return ctx.te("full", lambda dims: te.compute(tuple(dims), lambda *_: number, name="full"), list(shape))


def constant_of_shape(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    return full(
        ctx, [ctx.opaque(d) for d in ctx.integers(node, inputs[0], "shape")], ir.attribute(node, "value", np.zeros(1, np.float32))
    )


def shape(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    dims = ctx.shape(inputs[0])[ir.attribute(node, "start", 0) : ir.attribute(node, "end")]
    found = np.empty(len(dims), object)
    found[:] = dims
    return found


def size(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    found = np.empty((), object)
    found[()] = ctx.simplify(product(ctx.shape(inputs[0])))
    return found


def reshape(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """0 keeps the dimension, unless allowzero; -1 is what is left."""
    data = inputs[0]
    wanted = ctx.integers(node, inputs[1], "shape") if len(inputs) > 1 else list(ir.attribute(node, "shape"))
    own = ctx.shape(data)
    if any(ctx.given(d) for d in wanted):
        return ctx.reshape(data, _settled(ctx, own, wanted, zeros=not ir.attribute(node, "allowzero", 0)))
    wanted = [ctx.opaque(d) for d in wanted]
    if not ir.attribute(node, "allowzero", 0):
        wanted = [own[i] if isinstance(d, int) and d == 0 else d for i, d in enumerate(wanted)]
    if any(isinstance(d, int) and d == -1 for d in wanted):
        at = next(i for i, d in enumerate(wanted) if isinstance(d, int) and d == -1)
        wanted[at] = _quotient(ctx, own, [d for i, d in enumerate(wanted) if i != at])
    return ctx.reshape(data, wanted)


def _settled(ctx: Lowering, own: Sequence[Dim], wanted: Sequence[Dim], zeros: bool) -> list[Dim]:
    """A shape of numbers that were fed: which of them are 0 or -1 is seen at run time."""
    zero, one = tirx.IntImm("int64", 0), tirx.IntImm("int64", 1)
    own, dims = ([tirx.IntImm("int64", d) if isinstance(d, int) else d for d in part] for part in (own, wanted))
    if zeros:
        dims = [tirx.Select(d == zero, own[i] if i < len(own) else one, d) for i, d in enumerate(dims)]
    part = product([tirx.Select(d < zero, one, d) for d in dims])
    rest = tirx.floordiv(product([*own, one]), tirx.max(part, one))
    return [ctx.opaque(tirx.Select(d < zero, rest, d)) for d in dims]


def _quotient(ctx: Lowering, whole: Sequence[Dim], part: Sequence[Dim]) -> Dim:
    """The product of `whole` over the product of `part`, with common factors cancelled: exact even where one is zero."""
    rest, left = list(whole), []
    for dim in part:
        same = next((i for i, other in enumerate(rest) if ctx.same(dim, other)), None)
        if same is None:
            left.append(dim)
        else:
            rest.pop(same)
    above, below = product(rest), product(left)
    if isinstance(below, int) and below == 0:
        return 0
    return ctx.opaque(above // below)


def flatten(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    own = ctx.shape(inputs[0])
    axis = int(ir.attribute(node, "axis", 1))
    axis = axis + len(own) if axis < 0 else axis
    return ctx.reshape(inputs[0], [ctx.opaque(product(own[:axis])), ctx.opaque(product(own[axis:]))])


def squeeze(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    own = ctx.shape(inputs[0])
    axes = axes_of(ctx, node, inputs, len(own))
    if axes is not None and not fed_axes.fixed(axes):
        return ctx.reshape(inputs[0], fed_axes.without(ctx, own, axes))
    if axes is None:
        axes = [i for i, d in enumerate(own) if isinstance(d, int) and d == 1]
    gone = {a % len(own) for a in axes}
    x = inputs[0]
    if any(not isinstance(own[a], int) for a in gone):  # seen at run time, where another extent than 1 must not pass
        x = ctx.assume_shape(ctx.tensor(x), [1 if i in gone else d for i, d in enumerate(own)])
    return ctx.reshape(x, [d for i, d in enumerate(own) if i not in gone])


def unsqueeze(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    own = ctx.shape(inputs[0])
    given = ctx.integers(node, inputs[1], "axes") if len(inputs) > 1 else ir.attribute(node, "axes")
    if not fed_axes.fixed(given):
        return ctx.reshape(inputs[0], fed_axes.with_ones(ctx, own, given))
    axes = {int(a) % (len(own) + len(given)) for a in given}
    rest = iter(own)
    return ctx.reshape(inputs[0], [1 if i in axes else next(rest) for i in range(len(own) + len(axes))])


def transpose(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    rank = len(ctx.shape(inputs[0]))
    return permute(ctx, inputs[0], list(ir.attribute(node, "perm", range(rank)[::-1])))


def permute(ctx: Lowering, operand: Operand, order: Sequence[int]) -> Any:
    """A view where only dimensions of extent 1 move."""
    own = ctx.shape(operand)
    moved = [i for i in order if not (isinstance(own[i], int) and own[i] == 1)]
    if moved == sorted(moved):
        return ctx.reshape(operand, [own[i] for i in order])

    def compute(x: Any) -> Any:
        back = [order.index(i) for i in range(len(order))]
        return te.compute([x.shape[i] for i in order], lambda *at: x(*[at[i] for i in back]), name="transpose")

    return ctx.te("transpose", compute, ctx.tensor(operand))


def concat(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    axis = axis_of(ctx, node, inputs[0])
    first = ctx.shape(inputs[0])
    parts = []
    for operand in inputs:
        var = ctx.tensor(operand)
        own = ctx.shape(var)
        wanted = [d if i == axis else f for i, (d, f) in enumerate(zip(own, first, strict=True))]
        if isinstance(own[axis], int) and own[axis] == 0:
            continue
        parts.append(var if ctx.same_shape(own, wanted) else ctx.assume_shape(var, wanted))
    if len(parts) < 2:
        return parts[0] if parts else inputs[0]
    return ctx.te("concat", lambda *xs: topi.concatenate(xs, axis), *parts, marks={AXIS: axis})


def split(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    axis = axis_of(ctx, node, inputs[0])
    extent = ctx.shape(inputs[0])[axis]
    if len(inputs) > 1 and inputs[1] is not None:
        sizes = ctx.integers(node, inputs[1], "split")
    elif "split" in node.attributes:
        sizes = list(ir.attribute(node, "split"))
    else:
        count = int(ir.attribute(node, "num_outputs", len(node.outputs)))
        each = -(-extent // count) if isinstance(extent, int) else tirx.ceildiv(extent, tirx.IntImm("int64", count))
        sizes = [each] * (count - 1) + [extent - each * (count - 1)]
    results, start = [], 0
    for each in sizes:
        results.append(cut(ctx, inputs[0], {axis: (start, each, 1)}))
        start = start + each
    return results


def cut(ctx: Lowering, operand: Operand, ranges: dict[int, tuple[Dim, Dim, int]]) -> Any:
    """A slice: axis -> (first, count, step)."""
    own = ctx.shape(operand)
    dims = [ctx.opaque(ranges[i][1]) if i in ranges else d for i, d in enumerate(own)]
    if ctx.same_shape(own, dims) and all(step == 1 for _, _, step in ranges.values()):
        return operand
    axes = sorted(ranges)
    steps = {a: ranges[a][2] for a in axes}

    def compute(x: Any, starts: Any, dims: Any) -> Any:
        first = dict(zip(axes, starts, strict=True))
        return te.compute(
            tuple(dims), lambda *at: x(*[first[i] + j * steps[i] if i in first else j for i, j in enumerate(at)]), name="slice"
        )

    return ctx.te("slice", compute, ctx.tensor(operand), [ctx.opaque(ranges[a][0]) for a in axes], dims)


def expand(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """Either extent of an axis may be 1, and which one is may be known only at run time."""
    wanted = [ctx.opaque(d) for d in ctx.integers(node, inputs[1], "shape")]
    own = ctx.shape(inputs[0])
    rank = max(len(own), len(wanted))
    pairs = zip([1] * (rank - len(own)) + own, [1] * (rank - len(wanted)) + wanted, strict=True)
    dims = [ctx.opaque(_wider(ctx, have, want)) for have, want in pairs]
    if ctx.same_shape(dims, own):
        return inputs[0]
    open_axes = [
        i
        for i, (have, out) in enumerate(zip(own, dims[rank - len(own) :], strict=True))
        if not isinstance(have, int) and not ctx.same(have, out)
    ]

    def compute(x: Any, dims: Any) -> Any:
        def element(*at: Any) -> Any:
            index = list(at)
            for i in open_axes:
                index[rank - len(own) + i] = tirx.min(index[rank - len(own) + i], x.shape[i] - 1)
            return read(x, index)

        return te.compute(tuple(dims), element, name="expand")

    return ctx.te("expand", compute, ctx.tensor(inputs[0]), dims)


def _wider(ctx: Lowering, have: Dim, want: Dim) -> Dim:
    if isinstance(want, int):
        return have if want == 1 else want
    if isinstance(have, int) or ctx.same(have, want):
        return want if isinstance(have, int) and have == 1 else have
    return tirx.Select(want == 1, have, want)


def tile(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    own = ctx.shape(inputs[0])
    repeats = ctx.integers(node, inputs[1], "repeats")
    dims = [ctx.opaque(d * r) for d, r in zip(own, repeats, strict=True)]
    return ctx.te(
        "tile",
        lambda x, dims: te.compute(tuple(dims), lambda *at: x(*[i % d for i, d in zip(at, x.shape, strict=True)]), name="tile"),
        ctx.tensor(inputs[0]),
        dims,
    )


def range_(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """Of integers whose number follows from dimensions; the pass count-results makes another operator of the others."""
    if any("float" in ctx.dtype(x) for x in inputs):
        raise ctx.fail(node, "its limits are floats of run time, and the pass count-results left it alone")
    start, limit, delta = (ctx.integers(node, x, "bounds")[0] for x in inputs)
    if not isinstance(delta, int):
        raise ctx.fail(node, "its step depends on a dimension")
    count = (limit - start + delta - (1 if delta > 0 else -1)) // delta
    if not (isinstance(start, int) and start == 0 and delta > 0):  # the limit may lie before the start
        count = max(count, 0) if isinstance(count, int) else tirx.max(count, tirx.IntImm("int64", 0))
    known = node.outputs[0].dtype
    dtype = "int64" if known is None else str(known.numpy())

    def compute(first: Any, dims: Any) -> Any:
        return te.compute(tuple(dims), lambda i: (first[0] + i * delta).astype(dtype), name="range")

    return ctx.te("range", compute, [ctx.opaque(start)], [ctx.opaque(count)])


def depth_to_space(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    n, c, h, w = ctx.shape(inputs[0])
    b = int(ir.attribute(node, "blocksize"))
    if ir.attribute(node, "mode", "DCR") == "DCR":
        view = ctx.reshape(inputs[0], [n, b, b, c // (b * b), h, w])
        moved = permute(ctx, view, [0, 3, 4, 1, 5, 2])
    else:
        view = ctx.reshape(inputs[0], [n, c // (b * b), b, b, h, w])
        moved = permute(ctx, view, [0, 1, 4, 2, 5, 3])
    return ctx.reshape(moved, [n, c // (b * b), ctx.opaque(h * b), ctx.opaque(w * b)])


def space_to_depth(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    n, c, h, w = ctx.shape(inputs[0])
    b = int(ir.attribute(node, "blocksize"))
    h, w = ctx.opaque(h // b), ctx.opaque(w // b)
    view = ctx.reshape(inputs[0], [n, c, h, b, w, b])
    order = [0, 3, 5, 1, 2, 4] if ir.attribute(node, "mode", "DCR") == "DCR" else [0, 1, 3, 5, 2, 4]
    return ctx.reshape(permute(ctx, view, order), [n, c * b * b, h, w])
