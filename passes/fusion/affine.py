"""Scales and shifts by constants, and normalizations by known statistics, become part of a product beside them, or one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from optc.compiler import ir
from optc.compiler.contents import dims
from optc.compiler.edit import Editor
from optc.compiler.numerics import Numerics
from optc.compiler.rewrite import Builder, PatternBuilder, Refuse, RewritePass, Rule, apply_rules
from optc.passes.fusion import matmul_add
from optc.passes.fusion.absorb import absorbed, alone
from optc.passes.fusion.affine_nodes import Affine, affine, operand
from optc.passes.fusion.flattened import before_flattened
from optc.passes.fusion.products import Product, Room, along, product, rebuilt, rounds


@dataclass(frozen=True)
class FuseAffine(RewritePass):
    """Add, Sub, Mul, Div, Neg by constants and BatchNormalization become part of the product before or after them.

    The products are Conv, ConvTranspose, Gemm and MatMul. After a product: P(x, w, b)·s + t -> P(x, w·s, b·s + t), also where
    poolings, rectifiers, transposes, concatenations and reshapes stand between that let the scale pass. Before one:
    P(x·s + t, w, b) -> P(x, w·s, b + w·t), the shift only where nothing is padded. Two in sequence become one. A Gemm's alpha and
    beta go into its constants.

    `max_growth`: by how many bytes the weights may grow in all (a weight that others use is copied).
    """

    max_growth: int = 1 << 24

    name = "fuse-affine"
    numerics = Numerics.REASSOCIATED

    def run(self, edit: Editor) -> None:
        room, steps = Room(self.max_growth), -1
        while room.short <= room.left and len(edit.steps) > steps:  # a weight whose last user went made room
            room.short, steps = math.inf, len(edit.steps)
            apply_rules(edit, _rules(room))

    def rules(self) -> Sequence[Rule]:
        return _rules(Room(self.max_growth))


def _rules(room: Room) -> Sequence[Rule]:
    return (
        *matmul_add.RULES,
        *(Rule(f"{op_type.lower()}-after-product", _elementwise(op_type), _after(room)) for op_type in AFFINE),
        *(Rule(f"affine-before-{op_type.lower()}", _product(op_type), _before(room)) for op_type in PRODUCTS),
        *(Rule(f"affine-before-flattened-{t.lower()}", _product(t), before_flattened(room)) for t in ("Gemm", "MatMul")),
        Rule("factors-of-gemm", _product("Gemm"), _factors(room)),
        *(Rule(f"{op_type.lower()}-after-affine", _elementwise(op_type), _merged(room)) for op_type in AFFINE),
    )


AFFINE = ("Add", "Sub", "Mul", "Div", "Neg", "BatchNormalization")
PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def _elementwise(op_type: str) -> Any:
    arity = {"Neg": 1, "BatchNormalization": 5}.get(op_type, 2)

    def pattern(op: PatternBuilder, a: Any, b: Any, c: Any, d: Any, e: Any) -> Any:
        return getattr(op, op_type)(*(a, b, c, d, e)[:arity], name="node")

    return pattern


def _product(op_type: str) -> Any:
    def pattern(op: PatternBuilder, x: Any, w: Any, b: Any | None) -> Any:
        return getattr(op, op_type)(*(x, w, b)[: 2 + (op_type != "MatMul")], name="node")

    return pattern


def _after(room: Room) -> Any:
    def rewrite(op: Builder, node: ir.Node) -> Any:
        found, y = affine(node), operand(node)
        if not isinstance(found, Affine) or y is None:
            return found
        left = room.left
        result = absorbed(op, y, found, room, node)
        if not isinstance(result, ir.Value):
            room.left = left
        return result

    return rewrite


def _before(room: Room) -> Any:
    def rewrite(op: Builder, node: ir.Node) -> Any:
        p = product(node)
        maker = p.x.producer() if isinstance(p, Product) else None
        found = affine(maker) if maker is not None else None
        x = operand(maker) if maker is not None else None
        if not isinstance(p, Product) or not isinstance(found, Affine) or maker is None or x is None:
            return None
        held, fitting = ir.const_tensor(p.weight), _input_channels(p, found)
        if held is None:
            return Refuse(f"the weight '{p.weight.name}' is not a constant")
        if isinstance(fitting, Refuse):
            return fitting
        if not node.op_type.startswith("Conv") and _normalized(x):
            return Refuse(f"{ir.node_id(maker)} may be the end of a normalization")
        refused = alone(p.x, node)
        if refused is not None:
            return refused
        added = None if fitting.shift is None else p.sums(held.numpy(), fitting.shift) * ir.attribute(node, "alpha", 1.0)
        weight = p.weight if fitting.scale is None else room.scaled(op, p, fitting.scale, 3 - p.out)
        if isinstance(weight, Refuse):
            return weight
        op.match.nodes[id(maker)] = maker
        return rebuilt(op, replace(p, x=x, weight=weight), room, None, added)

    return rewrite


def _input_channels(p: Product, found: Affine) -> Affine | Refuse:
    """The constants as vectors over the input channels of a product; a shift of zeros is none."""
    size, conv = p.inputs, p.node.op_type.startswith("Conv")
    if size is None or ir.attribute(p.node, "transA", 0):
        return Refuse(f"{ir.node_id(p.node)} has no input channels of known number, or transposes them")
    axis = 1 if conv else p.rank - 1 if p.axis == p.rank - 1 else p.rank - 2
    vectors = []
    for given in (found.scale, found.shift):
        vectors.append(None if given is None else along(given, p.rank, axis, size))
        if given is not None and vectors[-1] is None:
            return Refuse(f"a constant of shape {list(given.shape)} is not one value for each of {size} input channels")
    scale, shift = vectors
    if shift is None or not shift.any():
        return Affine(scale)
    if p.node.op_type == "ConvTranspose":
        return Refuse("a shift before a transposed convolution is no shift after it")
    padded = ir.attribute(p.node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID", "") or any(ir.attribute(p.node, "pads") or ())
    return Refuse(f"{ir.node_id(p.node)} pads with zeros, which are not shifted") if padded else Affine(scale, shift)


def _normalized(x: ir.Value) -> bool:
    """Whether x is a product or quotient of two computed values, or one scaled: other passes look for normalizations there."""
    maker = x.producer()
    if maker is not None and isinstance(affine(maker), Affine):
        inner = operand(maker)
        maker = inner.producer() if inner is not None else None
    return maker is not None and ir.standard(maker, "Mul", "Div") and affine(maker) is None


def _factors(room: Room) -> Any:
    """alpha and beta go into constants."""

    def rewrite(op: Builder, node: ir.Node) -> Any:
        p, alpha, beta = product(node), ir.attribute(node, "alpha", 1.0), ir.attribute(node, "beta", 1.0)
        if not isinstance(p, Product) or (alpha == 1 and beta == 1):
            return None
        bias = None if p.bias is None else ir.const(p.bias)
        if ir.const_tensor(p.weight) is None or (p.bias is not None and bias is None):
            return Refuse("its weight or bias is not a constant")
        weight = p.weight if alpha == 1 else room.scaled(op, p, np.full(1, alpha), p.out)
        if isinstance(weight, Refuse):
            return weight
        scaled = None if bias is None else (bias.astype(np.float64) * beta).astype(bias.dtype)
        return op.Gemm(p.x, weight, scaled, **{**node.attributes, "alpha": None, "beta": None})

    return rewrite


def _merged(room: Room) -> Any:
    def rewrite(op: Builder, node: ir.Node) -> Any:
        second, y = affine(node), operand(node)
        maker = y.producer() if y is not None else None
        first = affine(maker) if maker is not None else None
        x = operand(maker) if maker is not None else None
        if not isinstance(second, Affine) or not isinstance(first, Affine) or y is None or maker is None or x is None:
            return None
        dtype = (node.outputs[0].dtype or ir.DataType.FLOAT).numpy()
        if any(a.shift is not None and rounds(a.shift, dtype) for a in (first, second)):
            return Refuse("a constant is so large that it rounds what it is added to")
        refused = alone(y, node)
        if refused is not None:
            return refused
        total = first.then(second)
        op.match.nodes[id(maker)] = maker
        if total.scale is not None and total.shift is not None:
            return _batch_norm(op, x, node, total, dtype)
        c = total.scale if total.scale is not None else total.shift
        if c is None:
            return None
        held = c.astype(dtype)
        if not np.isfinite(held).all() or np.any((held == 0) != (c == 0)):
            return Refuse("the two constants together leave the range of their type")
        refused = room.take(held.nbytes, *(v for n in (maker, node) for v in n.inputs if v is not operand(n)))
        return refused or (op.Add(x, held) if total.scale is None else op.Mul(x, held))

    return rewrite


def _batch_norm(op: Builder, x: ir.Value, node: ir.Node, total: Affine, dtype: Any) -> Any:
    """Scale and shift of each channel in one node."""
    shape = dims(x)
    channels = shape[1] if shape is not None and len(shape) > 1 else None
    if shape is None or not isinstance(channels, int) or len(dims(node.outputs[0]) or ()) != len(shape):
        return Refuse(f"the number of channels of '{x.name}' is unknown")
    vectors = [along(a, len(shape), 1, channels) for a in (total.scale, total.shift) if a is not None]
    scalars = all(v is None or v.size == 1 for v in vectors)
    if channels == 1 or any(v is None for v in vectors) or (scalars and len(shape) != 4):
        return Refuse("it scales and shifts by other constants than one for each channel")
    if dtype not in (np.float32, np.float64):
        return Refuse(f"engines normalize no {dtype}")
    scale, shift = (np.broadcast_to(v, (channels,)).astype(dtype) for v in vectors if v is not None)
    return op.BatchNormalization(x, scale, shift, np.zeros(channels, dtype), np.ones(channels, dtype), epsilon=0.0)
