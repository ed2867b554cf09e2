"""A scale and a shift of feature maps that are flattened into the rows of a product become part of it."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from optc.compiler import ir
from optc.compiler.contents import dims
from optc.compiler.rewrite import Builder, Refuse
from optc.passes.fusion.absorb import alone
from optc.passes.fusion.affine_nodes import Affine, affine, operand
from optc.passes.fusion.products import Product, Room, product, rebuilt


def before_flattened(room: Room) -> Any:
    """Gemm(Flatten(x·s + t), w, b) -> Gemm(Flatten(x), w·s, b + w·t), as at the head of face and person recognition."""

    def rewrite(op: Builder, node: ir.Node) -> Any:
        p = product(node)
        view = p.x.producer() if isinstance(p, Product) else None
        maps = view.inputs[0] if view is not None and ir.standard(view, "Flatten", "Reshape") else None
        maker = maps.producer() if maps is not None else None
        found, x = (affine(maker), operand(maker)) if maker is not None else (None, None)
        if (
            not isinstance(p, Product)
            or not isinstance(found, Affine)
            or view is None
            or maps is None
            or maker is None
            or x is None
        ):
            return None
        held = ir.const_tensor(p.weight)
        if held is None or p.rank != 2 or p.axis != 1 or ir.attribute(node, "transA", 0):
            return Refuse(f"the weight '{p.weight.name}' is not a constant on the right")
        columns = _columns(found, maps, p)
        refused = columns if isinstance(columns, Refuse) else alone(p.x, node) or alone(maps, view)
        if isinstance(columns, Refuse) or refused is not None:
            return refused
        if dims(x) != dims(maps):
            return Refuse(f"the constants of {ir.node_id(maker)} may change the shape of '{x.name}'")
        added = None if columns.shift is None else p.sums(held.numpy(), columns.shift) * ir.attribute(node, "alpha", 1.0)
        weight = p.weight if columns.scale is None else room.scaled(op, p, columns.scale, 3 - p.out)
        if isinstance(weight, Refuse):
            return weight
        for gone in (maker, view):
            op.match.nodes[id(gone)] = gone
        rows = getattr(op, view.op_type)(x, *view.inputs[1:], **view.attributes)
        return rebuilt(op, replace(p, x=rows, weight=weight), room, None, added)

    return rewrite


def _columns(found: Affine, maps: ir.Value, p: Product) -> Affine | Refuse:
    """The constants as one value for each column of the flattened maps."""
    shape, rows = dims(maps), dims(p.x)
    sizes = [d for d in shape[1:] if isinstance(d, int)] if shape is not None else []
    if shape is None or rows is None or len(shape) < 3 or len(sizes) < len(shape) - 1:
        return Refuse(f"the size of '{maps.name}' is not known")
    if rows != (shape[0], prod(sizes)):
        return Refuse(f"'{p.x.name}' is not one row for each of '{maps.name}'")
    arrays = []
    for a in (found.scale, found.shift):
        if a is not None and (a.ndim > len(shape) or (a.ndim == len(shape) and a.shape[0] != 1)):
            return Refuse("its constants differ from row to row")
        arrays.append(None if a is None else np.broadcast_to(a, (1, *sizes)).reshape(-1))
    return Affine(*arrays)
