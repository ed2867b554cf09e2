"""A scale and a shift taken back to the products whose results they change, through what lets them pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from optc.compiler import ir
from optc.compiler.contents import dims
from optc.compiler.rewrite import Builder, Refuse
from optc.passes.fusion.affine_nodes import Affine, affine, operand
from optc.passes.fusion.products import Product, Room, along, product, rebuilt

Moved = Sequence[tuple[int, Affine]]
"""For inputs of an operator: what must happen to them so that the wanted happens to its result."""


def alone(value: ir.Value, user: ir.Node) -> Refuse | None:
    """Why a value may not change: something else sees it."""
    if value.is_graph_output():
        return Refuse(f"'{value.name}' is also an output of the graph")
    others = [n for n in value.consumers() if n is not user]
    if others:
        return Refuse(f"'{value.name}' is also used by {ir.node_id(others[0])}")
    maker = value.producer()
    if maker is None or maker.graph is not user.graph:
        return Refuse(f"'{value.name}' is computed in another graph")
    return Refuse(f"{ir.node_id(user)} uses '{value.name}' twice") if len(value.uses()) > 1 else None


def absorbed(op: Builder, y: ir.Value, wanted: Affine, room: Room, user: ir.Node) -> ir.Value | Refuse | None:
    """y·scale + shift, computed by what computes y, with other weights; None where there is no product behind y."""
    node = y.producer()
    if node is None or y.index() != 0:
        return None
    p = product(node)
    if p is None:
        return _biased(op, y, node, wanted, room, user) if ir.standard(node, "Add") else _through(op, y, node, wanted, room, user)
    if isinstance(p, Refuse):
        return p
    if node.op_type == "MatMul" and p.rank != 2 and wanted.scale is None:
        return None  # MatMul and Add is how such a product with a bias is written
    refused = alone(y, user)
    if refused is not None:
        return refused
    op.match.nodes[id(node)] = node
    fitting = _channels(p, wanted)
    return fitting if isinstance(fitting, Refuse) else rebuilt(op, p, room, fitting.scale, fitting.shift)


def _channels(p: Product, wanted: Affine) -> Affine | Refuse:
    """The constants as vectors over the channels of a product."""
    found = [None if a is None else along(a, p.rank, p.axis, p.channels) for a in (wanted.scale, wanted.shift)]
    for given, vector in zip((wanted.scale, wanted.shift), found, strict=True):
        if given is not None and vector is None:
            return Refuse(f"a constant of shape {list(given.shape)} is not one value for each of {p.channels} channels")
    return Affine(*found)


def _biased(op: Builder, y: ir.Value, node: ir.Node, wanted: Affine, room: Room, user: ir.Node) -> ir.Value | Refuse | None:
    """Add(MatMul(x, w), b), a product with a bias where Gemm takes no such ranks."""
    bias, inner = affine(node), operand(node)
    maker = inner.producer() if inner is not None else None
    p = product(maker) if maker is not None else None
    if wanted.scale is None or inner is None or maker is None or not isinstance(bias, Affine) or not isinstance(p, Product):
        return None
    if maker.op_type != "MatMul" or p.axis != p.rank - 1:
        return None
    refused = alone(y, user) or alone(inner, node)
    if refused is not None:
        return refused
    fitting, total = _channels(p, wanted), _channels(p, bias.then(wanted))
    if isinstance(fitting, Refuse) or isinstance(total, Refuse) or total.shift is None:
        return fitting if isinstance(fitting, Refuse) else Refuse(f"{ir.node_id(node)} adds no value for each channel")
    op.match.nodes[id(maker)] = maker
    scaled = rebuilt(op, p, room, fitting.scale, None)
    if isinstance(scaled, Refuse):
        return scaled
    op.match.nodes[id(node)] = node
    dtype = (p.weight.dtype or ir.DataType.FLOAT).numpy()
    made: ir.Value = op.Add(scaled, total.shift.astype(dtype))
    return made


def _through(op: Builder, y: ir.Value, node: ir.Node, wanted: Affine, room: Room, user: ir.Node) -> ir.Value | Refuse | None:
    rank = len(dims(y) or ())
    moved = MOVES[node.op_type](node, wanted, rank) if ir.standard(node, *MOVES) else None
    if not moved:
        return None
    inputs: list[ir.Value | None] = list(node.inputs)
    for i, change in moved:
        x = inputs[i]
        found = absorbed(op, x, change, room, node) if x is not None else None
        if not isinstance(found, ir.Value):
            return found
        inputs[i] = found
    refused = alone(y, user)
    if refused is not None:
        return refused
    op.match.nodes[id(node)] = node
    made: ir.Value = getattr(op, node.op_type)(*inputs, **node.attributes)
    return made


def _vectors(wanted: Affine, rank: int) -> bool:
    """Whether the constants vary along the channels, dimension 1, at most."""
    return all(
        a is None or along(a, rank, 1, ((1,) * (rank - a.ndim) + a.shape)[1] if rank > 1 and a.ndim <= rank else 1) is not None
        for a in (wanted.scale, wanted.shift)
    )


def _positive(wanted: Affine) -> bool:
    return wanted.scale is None or bool((wanted.scale > 0).all())


def _single(wanted: Affine) -> Affine | None:
    """The same numbers for every element."""
    arrays = (wanted.scale, wanted.shift)
    if any(a is not None and a.size != 1 for a in arrays):
        return None
    return Affine(*(None if a is None else a.reshape(1) for a in arrays))


def _max_pool(node: ir.Node, wanted: Affine, rank: int) -> Moved | None:
    return [(0, wanted)] if _positive(wanted) and _vectors(wanted, rank) and len(node.outputs) == 1 else None


def _average_pool(node: ir.Node, wanted: Affine, rank: int) -> Moved | None:
    """A shift passes where the padding does not count."""
    counted = ir.attribute(node, "count_include_pad", 0)
    return [(0, wanted)] if _vectors(wanted, rank) and (wanted.shift is None or not counted) else None


def _rectifier(node: ir.Node, wanted: Affine, rank: int) -> Moved | None:
    return [(0, wanted)] if wanted.shift is None and _positive(wanted) else None


def _view(node: ir.Node, wanted: Affine, rank: int) -> Moved | None:
    single = _single(wanted)
    return None if single is None or rank == 0 else [(0, single)]


def _transpose(node: ir.Node, wanted: Affine, rank: int) -> Moved | None:
    perm = ir.attribute(node, "perm") or tuple(range(rank))[::-1]
    arrays = (wanted.scale, wanted.shift)
    if rank == 0 or any(a is not None and a.ndim > rank for a in arrays):
        return None
    back = np.argsort(perm)
    return [(0, Affine(*(None if a is None else a.reshape((1,) * (rank - a.ndim) + a.shape).transpose(back) for a in arrays)))]


def _concat(node: ir.Node, wanted: Affine, rank: int) -> Moved | None:
    """Each input takes its part of the constants."""
    if rank == 0 or len({id(v) for v in node.inputs}) < len(node.inputs):
        return None
    axis, at, parts = ir.attribute(node, "axis", 1) % rank, 0, []
    for i, value in enumerate(node.inputs):
        shape = dims(value)
        size = shape[axis] if shape is not None else None
        if not isinstance(size, int):
            return None
        arrays = [_part(a, rank, axis, at, size) for a in (wanted.scale, wanted.shift)]
        parts.append((i, Affine(*arrays)))
        at += size
    return parts


def _part(array: ir.Array | None, rank: int, axis: int, at: int, size: int) -> ir.Array | None:
    if array is None or array.ndim < rank - axis or array.shape[axis - rank] == 1:
        return array
    return array.take(range(at, at + size), axis=axis - rank)


def _resize(node: ir.Node, wanted: Affine, rank: int) -> Moved | None:
    """Copies of elements: any constants along the channels pass."""
    copies = ir.attribute(node, "mode", "nearest") == "nearest" and _vectors(wanted, rank)
    outside = ir.attribute(node, "coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize"
    return [(0, wanted)] if copies and not outside else None


MOVES: dict[str, Callable[[ir.Node, Affine, int], Moved | None]] = {
    "MaxPool": _max_pool,
    "GlobalMaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": _average_pool,
    **dict.fromkeys(("Relu", "LeakyRelu", "PRelu"), _rectifier),
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze", "DepthToSpace", "SpaceToDepth"), _view),
    "Transpose": _transpose,
    "Concat": _concat,
    "Resize": _resize,
}
"""Operator -> what must happen to its inputs so that `wanted` happens to its result of that rank; None where nothing does it."""
