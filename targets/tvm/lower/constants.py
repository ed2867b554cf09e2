"""Evaluation at compile time: nodes whose inputs are constants, and integer arithmetic on symbolic dimensions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import tvm
from onnx.reference import ReferenceEvaluator

from optc.compiler import ir

_LIMIT = 1 << 22  # elements: a constant grown beyond this (ConstantOfShape, Expand, Tile) is better computed at run time


def concrete(operand: Any) -> Any:
    """Symbolic integers that turned out to be plain numbers, as an int64 array."""
    if isinstance(operand, np.ndarray) and operand.dtype == object:
        flat = [int(e) if isinstance(e, int | np.integer | tvm.tirx.IntImm) else e for e in operand.ravel()]
        if all(isinstance(e, int) for e in flat):
            return np.array(flat, np.int64).reshape(operand.shape)
    return operand


def fold(node: ir.Node, inputs: Sequence[Any], opset: int) -> list[Any] | None:
    """The node's results, where all its inputs are known at compile time; None where they are not."""
    present = [x for x in inputs if x is not None]
    if not all(isinstance(x, np.ndarray) for x in present) or node.domain not in ("", "ai.onnx") or list(ir.bodies(node)):
        return None  # a body may use values that are no inputs of the node
    if any(x.dtype == object for x in present):
        rule = _SYMBOLIC.get(node.op_type)
        return None if rule is None else rule(node, present)
    if node.op_type.startswith("Random") or node.op_type in ("Multinomial", "Bernoulli", "GRU", "LSTM", "RNN"):
        return None
    if node.op_type in ("ConstantOfShape", "Expand", "Tile") and _grown(present) > _LIMIT:
        return None
    names = [value.name if value is not None else "" for value in node.inputs]
    results = [value.name or "" for value in node.outputs]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            [ir.to_proto(node)],
            "fold",
            [onnx.helper.make_value_info(n, onnx.TypeProto()) for n in dict.fromkeys(names) if n],
            [onnx.helper.make_value_info(n, onnx.TypeProto()) for n in results if n],
        ),
        opset_imports=[onnx.helper.make_opsetid("", opset)],
    )
    feeds = {value.name or "": x for value, x in zip(node.inputs, inputs, strict=True) if value is not None}
    try:
        evaluator = ReferenceEvaluator(model)
    except (RuntimeError, NotImplementedError):  # it lacks this version of the operator (DequantizeLinear before opset 19)
        return None
    found = dict(zip([n for n in results if n], evaluator.run(None, feeds), strict=True))
    return [np.asarray(found[n]) if n else None for n in results]


def _grown(present: Sequence[ir.Array]) -> int:
    return int(np.prod([int(d) for d in present[-1].ravel()], dtype=object)) * max(1, present[0].size if len(present) > 1 else 1)


def _objects(found: Any) -> list[Any]:
    array = np.asarray(found, dtype=object)
    return [array]


def _slice(node: ir.Node, inputs: Sequence[Any]) -> list[Any] | None:
    data, *rest = inputs
    if any(x.dtype == object for x in rest):
        return None
    if not rest:  # opset 9
        rest = [np.array(ir.attribute(node, name)) for name in ("starts", "ends", "axes") if name in node.attributes]
    starts, ends = rest[0], rest[1]
    axes = rest[2] if len(rest) > 2 else np.arange(len(starts))
    steps = rest[3] if len(rest) > 3 else np.ones(len(starts), np.int64)
    index = [slice(None)] * data.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        stop: int | None = int(end)
        if step < 0 and end <= -data.shape[axis] - 1:
            stop = None
        index[int(axis)] = slice(int(start), stop, int(step))
    return _objects(data[tuple(index)])


def _axes(node: ir.Node, inputs: Sequence[Any]) -> tuple[int, ...] | None:
    found = inputs[1].ravel() if len(inputs) > 1 else ir.attribute(node, "axes")
    return None if found is None else tuple(int(a) for a in found)


def _squeeze(node: ir.Node, inputs: Sequence[Any]) -> list[Any]:
    return _objects(np.squeeze(inputs[0], _axes(node, inputs)))


def _unsqueeze(node: ir.Node, inputs: Sequence[Any]) -> list[Any]:
    return _objects(np.expand_dims(inputs[0], _axes(node, inputs) or ()))


def _gather(node: ir.Node, inputs: Sequence[Any]) -> list[Any] | None:
    if inputs[1].dtype == object:
        return None
    return _objects(np.take(inputs[0], inputs[1].astype(np.int64), axis=ir.attribute(node, "axis", 0)))


def _concat(node: ir.Node, inputs: Sequence[Any]) -> list[Any]:
    return _objects(np.concatenate([x.astype(object) for x in inputs], axis=ir.attribute(node, "axis", 0)))


def _reshape(node: ir.Node, inputs: Sequence[Any]) -> list[Any] | None:
    return None if inputs[1].dtype == object else _objects(inputs[0].reshape([int(d) for d in inputs[1]]))


def _cast(node: ir.Node, inputs: Sequence[Any]) -> list[Any] | None:
    return list(inputs) if ir.attribute(node, "to") in (ir.DataType.INT64, ir.DataType.INT32) else None


def _identity(node: ir.Node, inputs: Sequence[Any]) -> list[Any]:
    return list(inputs)


def _elementwise(f: Callable[..., Any]) -> Callable[[ir.Node, Sequence[Any]], list[Any]]:
    def rule(node: ir.Node, inputs: Sequence[Any]) -> list[Any]:
        return _objects(np.frompyfunc(f, len(inputs), 1)(*[_exact(x) for x in inputs]))

    return rule


def _exact(x: Any) -> Any:
    """Python's integers: NumPy's would meet an expression on the left and not know it."""
    exact = np.empty(x.shape, object)
    exact.ravel()[:] = [int(e) if isinstance(e, int | np.integer) else e for e in x.ravel()]
    return exact


def _product(node: ir.Node, inputs: Sequence[Any]) -> list[Any]:
    return _objects(np.prod(inputs[0], axis=_axes(node, inputs), keepdims=bool(ir.attribute(node, "keepdims", 1))))


def _equal(a: Any, b: Any) -> Any:
    """A dimension is never negative, so it differs from -1; other questions stay open (None)."""
    if isinstance(a, int) and isinstance(b, int):
        return a == b
    return False if (isinstance(a, int) and a < 0) or (isinstance(b, int) and b < 0) else None


def _compare(node: ir.Node, inputs: Sequence[Any]) -> list[Any] | None:
    found = np.frompyfunc(_equal, 2, 1)(*[_exact(x) for x in inputs])
    return None if any(e is None for e in np.ravel(found)) else [np.asarray(found, np.bool_)]


def _where(node: ir.Node, inputs: Sequence[Any]) -> list[Any] | None:
    condition, a, b = inputs
    return None if condition.dtype == object else _objects(np.where(condition, a.astype(object), b.astype(object)))


_SYMBOLIC: dict[str, Callable[[ir.Node, Sequence[Any]], list[Any] | None]] = {
    "Add": _elementwise(lambda a, b: a + b),
    "Cast": _cast,
    "Concat": _concat,
    "Div": _elementwise(lambda a, b: a // b),
    "Equal": _compare,
    "Gather": _gather,
    "Identity": _identity,
    "Max": _elementwise(lambda a, b: tvm.te.max(a, b)),
    "Min": _elementwise(lambda a, b: tvm.te.min(a, b)),
    "Mod": _elementwise(lambda a, b: a % b),
    "Mul": _elementwise(lambda a, b: a * b),
    "ReduceProd": _product,
    "Reshape": _reshape,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Sub": _elementwise(lambda a, b: a - b),
    "Unsqueeze": _unsqueeze,
    "Where": _where,
}
