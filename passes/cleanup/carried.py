"""Operators through which a permutation of axes can be carried: op(Transpose(x)) = Transpose(op'(x))."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from optc.compiler import ir
from optc.passes.cleanup.operands import axes_of, rank

ELEMENTWISE = frozenset(
    {
        "Abs", "Add", "And", "BitShift", "Cast", "Ceil", "Celu", "Clip", "Cos", "Div", "Dropout", "Elu", "Equal", "Erf", "Exp",
        "Floor", "Gelu", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "Identity", "IsInf", "IsNaN", "LeakyRelu",
        "Less", "LessOrEqual", "Log", "Max", "Mean", "Min", "Mish", "Mod", "Mul", "Neg", "Not", "Or", "PRelu", "Pow",
        "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Swish",
        "Tanh", "ThresholdedRelu", "Where", "Xor",
    }
)  # fmt: skip
REDUCTIONS = frozenset(
    {
        "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
        "ReduceSum", "ReduceSumSquare",
    }
)  # fmt: skip
_ALONG = {"Concat": 1, "Split": 0, "Softmax": -1, "LogSoftmax": -1, "Hardmax": -1, "ArgMax": 0, "ArgMin": 0, "CumSum": 0}
"""Operators along one axis, and the default of their attribute `axis`."""
_QUANTIZERS = frozenset({"QuantizeLinear", "DequantizeLinear"})
_PARAMETERS = frozenset({"Clip", "Dropout"})
"""Elementwise operators all of whose inputs but the first are scalars."""


def carries(node: ir.Node, perm: Sequence[int], opset: int) -> bool:
    """Whether the operator is one through which `perm` can be carried, with all that is to be known of it."""
    count = len(perm)
    if not ir.standard(node, node.op_type) or "broadcast" in node.attributes or not node.inputs or rank(node.outputs[0]) != count:
        return False
    kind = node.op_type
    if kind != "Split" and any(v.uses() or v.is_graph_output() for v in node.outputs[1:]):
        return False
    if kind in ELEMENTWISE:
        operands = node.inputs[:1] if kind in _PARAMETERS else node.inputs
        return all(v is not None and (ir.const_tensor(v) is not None or rank(v) in (0, count)) for v in operands)
    if rank(node.inputs[0]) != count:
        return False
    if kind == "Concat":
        return all(rank(v) == count for v in node.inputs)
    if kind in ("Softmax", "LogSoftmax", "Hardmax"):
        return opset >= 13
    if kind in ("ArgMax", "ArgMin"):
        return bool(ir.attribute(node, "keepdims", 1))
    if kind in ("Split", "CumSum"):
        return kind == "Split" or ir.const_tensor(node.inputs[1]) is not None
    if kind in REDUCTIONS:
        return bool(ir.attribute(node, "keepdims", 1)) and axes_of(node) is not None
    if kind in _QUANTIZERS:
        return (rank(node.inputs[1]) or 0) == 0 or (ir.const_tensor(node.inputs[1]) is not None and rank(node.inputs[1]) == 1)
    if kind == "Pad":
        return opset >= 11 and len(node.inputs) in (2, 3) and ir.const_tensor(node.inputs[1]) is not None
    return kind == "Slice" and _slice_axes(node) is not None


def absorbs(node: ir.Node, perm: Sequence[int]) -> bool:
    """Whether the operator gives the same whether its input is permuted or not, once its axes are: a reduction that drops all
    that is out of order."""
    if not ir.standard(node, *REDUCTIONS) or ir.attribute(node, "keepdims", 1) or rank(node.inputs[0]) != len(perm):
        return False
    axes = axes_of(node)
    left = [] if axes is None else [p for i, p in enumerate(perm) if i not in axes]
    return axes is not None and left == sorted(left)


def operands(node: ir.Node) -> list[int]:
    """Which inputs are permuted: those that have the axes of the result, or constants that broadcast to it."""
    many = node.op_type == "Concat" or (node.op_type in ELEMENTWISE and node.op_type not in _PARAMETERS)
    return [i for i, v in enumerate(node.inputs if many else node.inputs[:1]) if v is not None and rank(v) != 0]


def moved_constant(array: ir.Array, perm: Sequence[int]) -> ir.Array:
    """The constant that broadcasts against the unpermuted value as `array` did against the permuted one."""
    if array.size == 1:
        return array
    full = array.reshape((1,) * (len(perm) - array.ndim) + array.shape)
    return np.ascontiguousarray(full.transpose(np.argsort(perm)))


def moved(node: ir.Node, perm: Sequence[int]) -> tuple[dict[int, ir.Array], dict[str, Any]]:
    """What changes of an operator that is carried through: constant inputs by index, and attributes."""
    kind, count = node.op_type, len(perm)
    if kind == "CumSum":
        axis = np.asarray(ir.const(node.inputs[1]))
        return {1: np.array(perm[int(axis.reshape(-1)[0]) % count], axis.dtype).reshape(axis.shape)}, {}
    if kind in _QUANTIZERS:
        return {}, {"axis": perm[int(ir.attribute(node, "axis", 1)) % count]} if rank(node.inputs[1]) == 1 else {}
    if kind in _ALONG:
        return {}, {"axis": perm[int(ir.attribute(node, "axis", _ALONG[kind])) % count]}
    if kind in REDUCTIONS:
        axes = [perm[a] for a in axes_of(node) or ()]
        return ({1: np.array(axes, np.int64)}, {}) if len(node.inputs) > 1 else ({}, {"axes": axes})
    if kind == "Pad":
        pads = np.asarray(ir.const(node.inputs[1])).reshape(2, count)
        return {1: np.ascontiguousarray(pads[:, np.argsort(perm)].reshape(-1))}, {}
    if kind == "Slice":
        axes = [perm[a] for a in _slice_axes(node) or ()]
        return ({}, {"axes": axes}) if "starts" in node.attributes else ({3: np.array(axes, np.int64)}, {})
    return {}, {}


def _slice_axes(node: ir.Node) -> tuple[int, ...] | None:
    count = rank(node.inputs[0])
    if count is None:
        return None
    if "starts" in node.attributes:
        given = ir.attribute(node, "axes", tuple(range(len(ir.attribute(node, "starts")))))
    else:
        axes = ir.const(node.inputs[3]) if len(node.inputs) > 3 else None
        given = None if axes is None else tuple(int(a) for a in axes)
    return None if given is None else tuple(a % count for a in given)
