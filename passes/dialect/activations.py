"""The activations that onnxruntime's fused operators apply, as they name and parametrize them."""

from __future__ import annotations

from typing import Any

import numpy as np

from optc.compiler import ir
from optc.compiler.pattern import PatternBuilder, Var

DOMAIN = "com.microsoft"

IN_BOTH = ("Relu", "Sigmoid", "Tanh", "LeakyRelu", "HardSigmoid")
IN_CONV = (*IN_BOTH, "Clip", "HardSwish")
IN_GEMM = (*IN_BOTH, "Elu", "Celu", "Softplus", "Softsign")
PARAMETERS = {
    "LeakyRelu": {"alpha": 0.01},
    "HardSigmoid": {"alpha": 0.2, "beta": 0.5},
    "Elu": {"alpha": 1.0},
    "Celu": {"alpha": 1.0},
}
"""Attributes of the activation and what they are where they are left out."""


def activated(op: PatternBuilder, op_type: str, x: Any) -> Any:
    """A node of the activation, called `activation`."""
    bounds = (Var("low", const=True, optional=True), Var("high", const=True, optional=True)) if op_type == "Clip" else ()
    return getattr(op, op_type)(x, *bounds, name="activation")


def parameters(activation: ir.Node) -> list[float] | None:
    """The activation's parameters in the order in which onnxruntime takes them; None where they are no numbers."""
    if activation.op_type == "Clip":
        return _bounds(activation)
    wanted = PARAMETERS.get(activation.op_type, {})
    return [float(ir.attribute(activation, name, default)) for name, default in wanted.items()]


def _bounds(clip: ir.Node) -> list[float] | None:
    limits = np.finfo(np.float32)
    found = []
    for i, (name, default) in enumerate((("min", limits.min), ("max", limits.max))):
        held = ir.const(clip.inputs[i + 1]) if len(clip.inputs) > i + 1 and clip.inputs[i + 1] is not None else None
        bound = float(ir.attribute(clip, name, default) if held is None else held.item() if held.size == 1 else np.nan)
        found.append(bound)
    return None if np.isnan(found).any() or found[0] > found[1] else found
