"""Constants that are one number."""

from __future__ import annotations

import numpy as np

from optc.compiler import ir, shape_rules
from optc.compiler.contents import dims


def scalar(c: ir.Array | None, x: ir.Value) -> float | None:
    """The number that a constant is beside x, which keeps its shape; None where it is another thing, or no number."""
    if c is None or c.size != 1 or x.shape is None or c.ndim > len(x.shape) or np.isnan(c).any():
        return None
    return float(c.item())


def same_shape(x: ir.Value, last: ir.Node) -> bool:
    """Whether the result of a node surely has the shape of x."""
    return dims(x) is not None and dims(x) == shape_rules.result(last)


def is_float(x: ir.Value) -> bool:
    return x.dtype in (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE)


def activates(x: ir.Value) -> bool:
    """Whether engines have kernels of activations for x: onnxruntime has those of doubles for few, in few opsets."""
    return is_float(x) and x.dtype != ir.DataType.DOUBLE
