"""Products with a weight (Conv, ConvTranspose, Gemm, MatMul): where their channels lie, and how they take scales and shifts."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from optc.compiler import ir
from optc.compiler.contents import dims
from optc.compiler.rewrite import Builder, Refuse

FLOATS = frozenset(ir.DataType[name] for name in ("FLOAT16", "BFLOAT16", "FLOAT", "DOUBLE"))


class Room:
    """By how many bytes the weights may still grow: a weight that others use too is copied, never changed.

    Those who scale one weight alike share the copy.
    """

    def __init__(self, size: int) -> None:
        self.left = size
        self.short: float = 0  # the least that was refused
        self._copies: dict[tuple[ir.Value, int, bytes], ir.Value] = {}

    def take(self, new: int, *old: ir.Value | None) -> Refuse | None:
        """Room for an array of `new` bytes in place of one use of each of these values."""
        freed = sum(held.nbytes for v in old if v is not None and len(v.uses()) == 1 and (held := ir.const_tensor(v)) is not None)
        if new - freed > self.left:
            self.short = min(self.short, new - freed)
            names = ", ".join(f"'{v.name}'" for v in old if v is not None)
            return Refuse(f"{names} stays in use: {new - freed} bytes more, {self.left} are left of max-growth")
        self.left -= new - freed
        return None

    def scaled(self, op: Builder, p: Product, scale: ir.Array, axis: int) -> ir.Value | Refuse:
        """The weight of `p`, a constant, times a factor for each channel of that axis of its view."""
        held, key = ir.const_tensor(p.weight), (p.weight, axis, scale.tobytes())
        if held is None:
            return Refuse(f"the weight '{p.weight.name}' is not a constant")
        copy = self._copies.get(key)
        found = copy is not None and copy.is_initializer() and copy.graph is not None
        refused = self.take(0 if found else held.nbytes, p.weight)
        if refused is not None:
            return refused
        if copy is not None and found:
            return copy
        made = p.scaled(held.numpy(), scale, axis)
        if not np.isfinite(made).all():
            return Refuse(f"'{p.weight.name}' times the scale is not finite")
        value = op.value(made, f"{(p.weight.name or 'weight').removesuffix('_scaled')}_scaled")
        if value is None:
            return Refuse(f"'{p.weight.name}' has no elements")
        self._copies[key] = value
        return value


@dataclass(frozen=True)
class Product:
    """A product and the geometry of its weight.

    The weight is seen as [groups, first, second, rest]. `out` is the axis (1 or 2) of the output channels there, `3 - out` that
    of the input channels. The channels of the result, of `rank` dimensions, are its dimension `axis`.
    """

    node: ir.Node
    x: ir.Value
    weight: ir.Value
    bias: ir.Value | None
    channels: int
    rank: int
    axis: int
    out: int
    groups: int = 1

    def scaled(self, w: ir.Array, scale: ir.Array, axis: int) -> ir.Array:
        """The weight times a factor for each channel of that axis of the view, computed in float32 or wider."""
        wide = np.promote_types(np.float32, w.dtype) if w.dtype.kind == "f" else np.dtype(np.float32)
        shape = (self.groups, -1, 1, 1) if axis == 1 else (self.groups, 1, -1, 1)
        factors = scale.astype(wide).reshape((1, 1, 1, 1) if scale.size == 1 else shape)
        made: ir.Array = (self.view(w).astype(wide, copy=False) * factors).reshape(w.shape).astype(w.dtype, copy=False)
        return made

    def sums(self, w: ir.Array, shift: ir.Array) -> ir.Array:
        """What a constant of one value for each input channel adds to each output channel, as float64 [channels]."""
        view = self.view(w).astype(np.float64).sum(axis=3)  # [groups, first, second]
        inputs = self.groups * view.shape[3 - self.out]
        added = np.broadcast_to(shift.astype(np.float64), (inputs,)).reshape(self.groups, -1)
        made: ir.Array = np.einsum("gab,gb->ga" if self.out == 1 else "gab,ga->gb", view, added).reshape(-1)
        return made

    def view(self, w: ir.Array) -> ir.Array:
        seen: ir.Array = w.reshape(self.groups, w.shape[0] // self.groups, w.shape[1], prod(w.shape[2:]))
        return seen

    @property
    def inputs(self) -> int | None:
        """The number of input channels."""
        shape = dims(self.weight)
        found = None if shape is None else shape[2 - self.out]
        return found * (self.groups if self.out == 1 else 1) if isinstance(found, int) else None


def product(node: ir.Node) -> Product | Refuse | None:
    """What is known of a node that is a product with a weight; None for any other operator."""
    if not ir.standard(node, "Conv", "ConvTranspose", "Gemm", "MatMul"):
        return None
    left, right = node.inputs[0], node.inputs[1]
    if left is None or right is None:
        return None
    if (right.dtype or node.outputs[0].dtype) not in FLOATS:
        return Refuse("it is no product of floats")
    if node.op_type == "MatMul":
        return _matmul(node, left, right)
    shape, bias = dims(right), node.inputs[2] if len(node.inputs) > 2 else None
    if shape is None:
        return Refuse(f"the rank of '{right.name}' is unknown")
    if node.op_type == "Gemm":
        transposed = bool(ir.attribute(node, "transB", 0))
        return _known(node, left, right, bias, shape[0 if transposed else 1], 2, 1, 1 if transposed else 2)
    groups = ir.attribute(node, "group", 1)
    first = node.op_type == "Conv"
    channels = shape[0] if first else shape[1] * groups
    return _known(node, left, right, bias, channels, len(shape), 1, 1 if first else 2, groups)


def _matmul(node: ir.Node, left: ir.Value, right: ir.Value) -> Product | Refuse | None:
    """A constant matrix on the right, or on the left of at least a matrix; else whatever is on the right."""
    if dims(left) is None or dims(right) is None:
        return Refuse("the ranks of its operands are not known")
    swapped = ir.const_tensor(right) is None and ir.const_tensor(left) is not None
    x, weight = (right, left) if swapped else (left, right)
    shape = dims(weight) or ()
    if len(shape) != 2 or (swapped and len(dims(x) or ()) < 2):
        return None if ir.const_tensor(weight) is None else Refuse(f"'{weight.name}' is no matrix")
    rank = len(dims(x) or ())
    return (
        _known(node, x, weight, None, shape[0], rank, rank - 2, 1)
        if swapped
        else _known(node, x, weight, None, shape[1], rank, rank - 1, 2)
    )


def _known(
    node: ir.Node, x: ir.Value, weight: ir.Value, bias: ir.Value | None, channels: object, rank: int, axis: int, out: int,
    groups: int = 1,
) -> Product | Refuse:  # fmt: skip
    if not isinstance(channels, int):
        return Refuse(f"the number of channels of '{weight.name}' is unknown")
    return Product(node, x, weight, bias, channels, rank, axis, out, groups)


def along(array: ir.Array, rank: int, axis: int, size: int) -> ir.Array | None:
    """A constant that broadcasts against a value of that rank, as [1] or [size], where it varies along one axis at most."""
    shape = (1,) * (rank - array.ndim) + array.shape
    if len(shape) != rank or any(d != 1 for i, d in enumerate(shape) if i != axis) or shape[axis] not in (1, size):
        return None
    return array.reshape(-1)


def rebuilt(op: Builder, p: Product, room: Room, scale: ir.Array | None, shift: ir.Array | None) -> ir.Value | Refuse:
    """The product whose result is that of `p` times `scale` plus `shift`, each float64 [1] or [channels], or None."""
    attributes = dict(p.node.attributes)
    weight = p.weight
    bias: ir.Value | ir.Array | None = p.bias
    if scale is not None:
        if ir.const_tensor(p.weight) is None:
            return _by_alpha(op, p, scale, shift)
        scaled = room.scaled(op, p, scale, p.out)
        if isinstance(scaled, Refuse):
            return scaled
        weight = scaled
    if shift is not None or (scale is not None and bias is not None):
        found = _bias(p, scale, shift)
        if isinstance(found, Refuse):
            return found
        bias = found
        attributes.pop("beta", None)
    if p.node.op_type != "MatMul":
        return _value(getattr(op, p.node.op_type)(p.x, weight, bias, **attributes))
    if bias is None:
        return _value(op.MatMul(*((p.x, weight) if p.axis == p.rank - 1 else (weight, p.x))))
    if p.rank != 2 or p.axis != 1:
        return Refuse(f"a MatMul of rank {p.rank} has no bias")
    return _value(op.Gemm(p.x, weight, bias))


def _bias(p: Product, scale: ir.Array | None, shift: ir.Array | None) -> ir.Array | Refuse:
    total: ir.Array = np.zeros(1)
    if p.bias is not None:
        held = ir.const(p.bias)
        if held is None:
            return Refuse(f"the bias '{p.bias.name}' is not a constant")
        total = held.astype(np.float64) * ir.attribute(p.node, "beta", 1.0)
    total = total if scale is None else total * scale
    total = total if shift is None else total + shift
    dtype = (p.weight.dtype or p.node.outputs[0].dtype or ir.DataType.FLOAT).numpy()
    if rounds(total, dtype):
        return Refuse("its bias would be so large that it rounds what it is added to")
    conv = p.node.op_type.startswith("Conv")
    return np.broadcast_to(total, (p.channels,) if conv else np.broadcast_shapes(total.shape, (1,))).astype(dtype)


def rounds(array: ir.Array, dtype: np.dtype[np.generic]) -> bool:
    """Whether adding this rounds ordinary numbers of the dtype: sums with such constants are not exchanged."""
    digits = {"float16": 10, "bfloat16": 7, "float64": 52}.get(dtype.name, 23)
    return bool(np.any(~(np.abs(array) < 2.0 ** (digits - 2))))


def _by_alpha(op: Builder, p: Product, scale: ir.Array, shift: ir.Array | None) -> ir.Value | Refuse:
    """One factor for the product of two computed matrices is a Gemm's alpha (and beta)."""
    if p.node.op_type not in ("Gemm", "MatMul") or p.rank != 2 or len(dims(p.weight) or ()) != 2:
        return Refuse(f"the weight '{p.weight.name}' is not a constant")
    if scale.size != 1 or shift is not None:
        return Refuse(f"the weight '{p.weight.name}' is not a constant, and alpha is one number")
    factor = float(scale.item())
    alpha, beta = (ir.attribute(p.node, name, 1.0) * factor for name in ("alpha", "beta"))
    attributes = {**p.node.attributes, "alpha": alpha, "beta": beta if p.bias is not None else None}
    return _value(op.Gemm(p.x, p.weight, p.bias, **attributes))


def _value(made: object) -> ir.Value:
    if not isinstance(made, ir.Value):
        raise TypeError("a product has one result")
    return made
