"""Shape arithmetic: what is known of the elements of small integer tensors, as dimensions (compiler/symbolic.py).

`contents(graph).of(value)` follows Shape, Gather, Slice, Concat and their like back to constants and to the shapes of values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from optc.compiler import ir, symbolic
from optc.compiler.analysis import analysis

SMALL = 64
"""Larger tensors are data, not shapes."""
INTEGERS = frozenset(
    ir.DataType[name] for name in ("BOOL", *(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)))
)
DEPTH = 64
"""How far back shape arithmetic is followed."""

Array = ir.Array


def dims(value: ir.Value | None) -> tuple[symbolic.Dim, ...] | None:
    """The dimensions of a value; None: the rank is unknown.

    A dimension without a name counts as a name of its own, and so does a named one of a graph output: there the name is what
    an exporter called it, and nothing makes sure that it means the same as in an input.
    """
    if value is None or value.shape is None:
        return None
    own = value.is_graph_output() and not value.is_graph_input()
    return tuple(
        d if isinstance(d, int) else symbolic.name(f"{value.name}_d{i}") if own or d.value is None else symbolic.parse(d.value)
        for i, d in enumerate(value.shape)
    )


def known_array(array: Array | None) -> Array | None:
    """The content as an integer array where every element is a number (of uint64, one that int64 holds)."""
    if array is None or not all(isinstance(x, int) and x < 1 << 63 for x in array.flat):
        return None
    return array.astype(np.int64)


@analysis
def contents(graph: ir.Graph) -> Contents:
    """The shape arithmetic of a graph, shared by the passes between which it does not change."""
    return Contents()


class Contents:
    """Contents of values, remembered while the graph does not change."""

    def __init__(self) -> None:
        self._known: dict[ir.Value, Array | None] = {}
        self._depth = 0

    def of(self, value: ir.Value | None) -> Array | None:
        """The elements, an array of objects (int or symbolic.Expr) in the value's shape; None where they cannot be known."""
        if value is None or (value.dtype is not None and not (value.dtype.is_integer() or value.dtype == ir.DataType.BOOL)):
            return None
        if value not in self._known:
            if self._depth >= DEPTH:
                return None
            self._depth += 1
            self._known[value] = self._find(value)
            self._depth -= 1
        return self._known[value]

    def _find(self, value: ir.Value) -> Array | None:
        held = ir.const_tensor(value)
        if held is not None:
            return _objects(held.numpy()) if held.size <= SMALL and held.dtype in INTEGERS else None
        node = value.producer()
        if node is None or node.domain not in ("", "ai.onnx") or node.op_type not in RULES:
            return None
        found = RULES[node.op_type](self, node)
        if isinstance(found, list):
            found = found[value.index() or 0]
        return found if found is None or (found.size <= SMALL and _fits(found, value.dtype)) else None


def _fits(content: Array, dtype: ir.DataType | None) -> bool:
    """Whether no number is out of the dtype's range: there integers wrap, and are not what exact arithmetic says."""
    if dtype is None or dtype == ir.DataType.BOOL:
        return True
    low, high = int(dtype.min), int(dtype.max)
    return all(low <= x <= high for x in content.flat if isinstance(x, int))


def _objects(array: Any) -> Array:
    result = np.empty(np.shape(array), dtype=object)
    for i, x in np.ndenumerate(np.asarray(array)):
        result[i] = x if isinstance(x, symbolic.Expr) else int(x)
    return result


def _shape(c: Contents, node: ir.Node) -> Array | None:
    found = dims(node.inputs[0])
    if found is None:
        return None
    start, end = ir.attribute(node, "start", 0), ir.attribute(node, "end", len(found))
    return _objects(list(found)[slice(start, end)])


def _size(c: Contents, node: ir.Node) -> Array | None:
    found = dims(node.inputs[0])
    return None if found is None else _objects(_product(found))


def _product(factors: Any) -> symbolic.Dim:
    total: symbolic.Dim = 1
    for f in factors:
        total = total * f
    return total


def _gather(c: Contents, node: ir.Node) -> Array | None:
    data, index = c.of(node.inputs[0]), known_array(c.of(node.inputs[1]))
    axis = ir.attribute(node, "axis", 0)
    if data is None or index is None or data.ndim == 0 or np.any(index >= data.shape[axis]) or np.any(index < -data.shape[axis]):
        return None
    return _objects(np.take(data, index, axis=axis))


def _slice(c: Contents, node: ir.Node) -> Array | None:
    data = c.of(node.inputs[0])
    if "starts" in node.attributes:
        starts, ends = ir.attribute(node, "starts"), ir.attribute(node, "ends")
        axes, steps = ir.attribute(node, "axes"), None
    else:
        given = [known_array(c.of(v)) for v in node.inputs[1:]]
        if any(g is None and v is not None for g, v in zip(given, node.inputs[1:], strict=True)):
            return None
        starts, ends, axes, steps = (*(None if g is None else g.tolist() for g in given), None, None)[:4]
    if data is None or starts is None or ends is None:
        return None
    index = [slice(None)] * data.ndim
    for i, axis in enumerate(axes if axes is not None else range(len(starts))):
        step = steps[i] if steps is not None else 1
        end = None if step < 0 and ends[i] < -data.shape[axis] else ends[i]
        index[axis] = slice(starts[i], end, step)
    return data[tuple(index)]


def _concat(c: Contents, node: ir.Node) -> Array | None:
    parts = [c.of(v) for v in node.inputs]
    known = [p for p in parts if p is not None]
    if len(known) < len(parts) or any(p.ndim == 0 for p in known):
        return None
    return np.concatenate(known, axis=ir.attribute(node, "axis"))


def _same(c: Contents, node: ir.Node) -> Array | None:
    return c.of(node.inputs[0])


def _cast(c: Contents, node: ir.Node) -> Array | None:
    to = ir.DataType(ir.attribute(node, "to"))
    return c.of(node.inputs[0]) if to in (ir.DataType.INT32, ir.DataType.INT64) else None


def _reshaped(c: Contents, node: ir.Node) -> Array | None:
    """Squeeze, Unsqueeze, Reshape: the same elements in the shape that ONNX inferred."""
    data, shape = c.of(node.inputs[0]), node.outputs[0].shape
    if data is None:
        return None
    if shape is not None and shape.is_static():
        return data.reshape(tuple(shape.numpy())) if int(np.prod(shape.numpy())) == data.size else None
    axes = _axes(c, node)
    if node.op_type == "Unsqueeze":
        return None if axes is None else np.expand_dims(data, tuple(axes))
    if node.op_type == "Squeeze":
        return np.squeeze(data, tuple(axes) if axes is not None else None)
    target = known_array(c.of(node.inputs[1])) if len(node.inputs) > 1 else None
    return None if target is None or np.any(target == 0) else data.reshape(tuple(target.tolist()))


def _transpose(c: Contents, node: ir.Node) -> Array | None:
    data = c.of(node.inputs[0])
    return None if data is None else np.transpose(data, ir.attribute(node, "perm"))


def _axes(c: Contents, node: ir.Node) -> list[int] | None:
    if "axes" in node.attributes:
        return list(ir.attribute(node, "axes"))
    given = known_array(c.of(node.inputs[1])) if len(node.inputs) > 1 else None
    return None if given is None else [int(a) for a in given.ravel()]


def _elementwise(function: Callable[[Any, Any], Any]) -> Callable[[Contents, ir.Node], Array | None]:
    def rule(c: Contents, node: ir.Node) -> Array | None:
        operands = [c.of(v) for v in node.inputs]
        result = operands[0]
        for other in operands[1:]:
            if result is None or other is None:
                return None
            a, b = np.broadcast_arrays(result, other)
            elements = [function(x, y) for x, y in zip(a.flat, b.flat, strict=True)]
            if any(e is None for e in elements):
                return None
            result = _objects(_filled(a.shape, elements))
        return result

    return rule


def _filled(shape: tuple[int, ...], elements: list[Any]) -> Array:
    result = np.empty(len(elements), dtype=object)
    result[:] = elements
    return result.reshape(shape)


def _div(a: symbolic.Dim, b: symbolic.Dim) -> symbolic.Dim | None:
    """ONNX divides integers towards zero; that is the floor only where nothing is negative."""
    if isinstance(b, int) and b > 0 and symbolic.nonnegative(a):
        return symbolic.floordiv(a, b)
    return (
        symbolic.floordiv(a, b) if isinstance(b, symbolic.Expr) and symbolic.nonnegative(a) and symbolic.nonnegative(b) else None
    )


def _mod(a: symbolic.Dim, b: symbolic.Dim) -> symbolic.Dim | None:
    quotient = _div(a, b)
    return None if quotient is None else a - b * quotient


def _equal(a: symbolic.Dim, b: symbolic.Dim) -> int | None:
    difference = a - b
    if isinstance(difference, int):
        return int(difference == 0)
    return 0 if symbolic.nonnegative(difference - 1) or symbolic.nonnegative(-difference - 1) else None


def _where(c: Contents, node: ir.Node) -> Array | None:
    condition, a, b = known_array(c.of(node.inputs[0])), c.of(node.inputs[1]), c.of(node.inputs[2])
    return None if condition is None or a is None or b is None else _objects(np.where(condition != 0, a, b))


def _constant_of_shape(c: Contents, node: ir.Node) -> Array | None:
    shape, fill = known_array(c.of(node.inputs[0])), ir.attribute(node, "value")
    if shape is None or np.prod(shape) > SMALL or (fill is None or fill.dtype.kind not in "iub"):
        return None
    return _objects(np.full(tuple(shape.tolist()), int(fill.ravel()[0])))


def _range(c: Contents, node: ir.Node) -> Array | None:
    given = [known_array(c.of(v)) for v in node.inputs]
    if any(g is None for g in given):
        return None
    start, stop, step = (int(g.ravel()[0]) for g in given if g is not None)
    return _objects(np.arange(start, stop, step)) if step and abs((stop - start) // step) <= SMALL else None


def _expand(c: Contents, node: ir.Node) -> Array | None:
    data, shape = c.of(node.inputs[0]), known_array(c.of(node.inputs[1]))
    if data is None or shape is None or np.prod(shape) > SMALL:
        return None
    return _objects(np.broadcast_to(data, np.broadcast_shapes(data.shape, tuple(shape.tolist()))))


def _reduce_prod(c: Contents, node: ir.Node) -> Array | None:
    data = c.of(node.inputs[0])
    if data is None or data.ndim != 1:
        return None
    return _objects(np.reshape(np.array(_product(data), dtype=object), (1,) if ir.attribute(node, "keepdims", 1) else ()))


def _split(c: Contents, node: ir.Node) -> list[Array] | None:
    data = c.of(node.inputs[0])
    if data is None or data.ndim != 1:
        return None
    given = c.of(node.inputs[1]) if len(node.inputs) > 1 else ir.attribute(node, "split")
    sizes = known_array(None if given is None else _objects(given))
    if sizes is None:
        if len(data) % len(node.outputs):
            return None
        sizes = np.full(len(node.outputs), len(data) // len(node.outputs))
    return list(np.split(data, np.cumsum(sizes)[:-1])) if sizes.sum() == len(data) else None


RULES: dict[str, Callable[[Contents, ir.Node], Any]] = {
    "Shape": _shape,
    "Size": _size,
    "Gather": _gather,
    "Slice": _slice,
    "Concat": _concat,
    "Split": _split,
    "Identity": _same,
    "Cast": _cast,
    "Squeeze": _reshaped,
    "Unsqueeze": _reshaped,
    "Reshape": _reshaped,
    "Transpose": _transpose,
    "Expand": _expand,
    "Range": _range,
    "ConstantOfShape": _constant_of_shape,
    "ReduceProd": _reduce_prod,
    "Where": _where,
    "Equal": _elementwise(_equal),
    "Add": _elementwise(lambda a, b: a + b),
    "Sub": _elementwise(lambda a, b: a - b),
    "Mul": _elementwise(lambda a, b: a * b),
    "Div": _elementwise(_div),
    "Mod": _elementwise(_mod),
    "Max": _elementwise(symbolic.maximum),
    "Min": _elementwise(symbolic.minimum),
}
"""Operator -> its result from contents and shapes of its inputs: an array, a list of them for several outputs, or None."""
