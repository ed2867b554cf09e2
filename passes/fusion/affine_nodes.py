"""Operators that scale and shift by constants: y = x·scale + shift, however an exporter wrote it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optc.compiler import ir
from optc.compiler.contents import dims
from optc.compiler.rewrite import Refuse
from optc.passes.fusion.products import FLOATS


@dataclass(frozen=True)
class Affine:
    """y = x·scale + shift, elementwise: float64 arrays that broadcast against x; None for a scale of 1, a shift of 0."""

    scale: ir.Array | None = None
    shift: ir.Array | None = None

    def then(self, other: Affine) -> Affine:
        """This, and the other one after it."""
        scale = other.scale if self.scale is None else self.scale if other.scale is None else self.scale * other.scale
        moved = self.shift if self.shift is None or other.scale is None else self.shift * other.scale
        shift = other.shift if moved is None else moved if other.shift is None else moved + other.shift
        return Affine(scale, shift)


def operand(node: ir.Node) -> ir.Value | None:
    """The computed operand of an affine node."""
    if len(node.inputs) == 2 and ir.const_tensor(node.inputs[0]) is not None:
        return node.inputs[1]
    return node.inputs[0] if node.inputs else None


def affine(node: ir.Node) -> Affine | Refuse | None:
    """What a node that scales or shifts by constants does to its computed operand; None for any other node."""
    if ir.standard(node, "BatchNormalization"):
        return _batch_norm(node)
    if not ir.standard(node, "Add", "Sub", "Mul", "Div", "Neg"):
        return None
    if node.outputs[0].dtype not in FLOATS:
        return None
    if node.op_type == "Neg":
        return Affine(scale=np.array(-1.0))
    first, second = (ir.const_tensor(v) for v in node.inputs)
    if (first is None) == (second is None):
        return None
    held = first if first is not None else second
    c = np.asarray(held.numpy()).astype(np.float64) if held is not None else np.zeros(())
    if not np.isfinite(c).all():
        return Refuse("its constant is not finite")
    if node.op_type == "Add":
        return Affine(shift=c)
    if node.op_type == "Mul":
        return Affine(scale=c)
    if node.op_type == "Sub":
        return Affine(shift=-c) if first is None else Affine(np.array(-1.0), c)
    if first is not None:
        return None  # c / x
    return Affine(scale=1 / c) if c.all() else Refuse("it divides by zero")


def _batch_norm(node: ir.Node) -> Affine | Refuse:
    shape, arrays = dims(node.inputs[0]), [ir.const(v) for v in node.inputs[1:]]
    if ir.attribute(node, "training_mode", 0) or any(v.uses() or v.is_graph_output() for v in node.outputs[1:]):
        return Refuse("it is in training mode")
    if any(a is None for a in arrays):
        return Refuse("its statistics are not constants")
    if shape is None or len(shape) < 2:
        return Refuse(f"it has no channels, or the rank of '{node.inputs[0].name if node.inputs[0] else ''}' is unknown")
    gamma, beta, mean, variance = (a.astype(np.float64) for a in arrays if a is not None)
    if gamma.ndim != 1:
        return Refuse(f"it scales by an array of shape {list(gamma.shape)}, not by one value a channel")
    with np.errstate(all="ignore"):
        scale = gamma / np.sqrt(variance + ir.attribute(node, "epsilon", 1e-5))
        shift = beta - mean * scale
    if not (np.isfinite(scale).all() and np.isfinite(shift).all()):
        return Refuse("its scale is not finite")
    channels = (-1, *[1] * (len(shape) - 2))
    return Affine(scale.reshape(channels), shift.reshape(channels))
