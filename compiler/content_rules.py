"""What operators of shape arithmetic give, element by element; None stands for an element that is not known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from optc.compiler import ir, symbolic
from optc.compiler.dimensions import SMALL, Array, dims, known_array, objects, product
from optc.compiler.symbolic import Dim

if TYPE_CHECKING:
    from optc.compiler.contents import Contents

Rule = Callable[["Contents", ir.Node], Any]


def _shape(c: Contents, node: ir.Node) -> Array | None:
    found = dims(node.inputs[0])
    if found is None:
        return None
    start, end = ir.attribute(node, "start", 0), ir.attribute(node, "end", len(found))
    return objects(list(found)[slice(start, end)])


def _size(c: Contents, node: ir.Node) -> Array | None:
    found = dims(node.inputs[0])
    return None if found is None else objects(product(found))


def _within(index: Array, size: int) -> bool:
    return bool(np.all(index < size) and np.all(index >= -size))


def _gather(c: Contents, node: ir.Node) -> Array | None:
    data, index = c.partly(node.inputs[0]), known_array(c.of(node.inputs[1]))
    axis = ir.attribute(node, "axis", 0)
    if data is None or index is None or data.ndim == 0 or not _within(index, data.shape[axis]):
        return None
    return objects(np.take(data, index, axis=axis))


def _gather_elements(c: Contents, node: ir.Node) -> Array | None:
    data, index = c.partly(node.inputs[0]), known_array(c.of(node.inputs[1]))
    if data is None or index is None or data.ndim != 1 or index.ndim != 1 or not _within(index, len(data)):
        return None
    return objects(data[index])


def _gather_nd(c: Contents, node: ir.Node) -> Array | None:
    data, index = c.partly(node.inputs[0]), known_array(c.of(node.inputs[1]))
    if data is None or index is None or data.ndim != 1 or index.shape[-1:] != (1,) or not _within(index, len(data)):
        return None
    return None if ir.attribute(node, "batch_dims", 0) else objects(data[index[..., 0]])


def _scatter(c: Contents, node: ir.Node) -> Array | None:
    """ScatterElements and ScatterND into a list of sizes."""
    data, index, updates = c.partly(node.inputs[0]), known_array(c.of(node.inputs[1])), c.partly(node.inputs[2])
    if data is None or index is None or updates is None or data.ndim != 1 or ir.attribute(node, "reduction", "none") != "none":
        return None
    if node.op_type == "ScatterND":
        if index.shape[-1:] != (1,):
            return None
        index = index[..., 0]
    if index.shape != updates.shape or not _within(index, len(data)):
        return None
    result = data.copy()
    result[index.ravel()] = updates.ravel()
    return result


def _slice(c: Contents, node: ir.Node) -> Array | None:
    data = c.partly(node.inputs[0])
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
    parts = [c.partly(v) for v in node.inputs]
    known = [p for p in parts if p is not None]
    if len(known) < len(parts) or any(p.ndim == 0 for p in known):
        return None
    return np.concatenate(known, axis=ir.attribute(node, "axis"))


def _same(c: Contents, node: ir.Node) -> Array | None:
    return c.partly(node.inputs[0])


def _cast(c: Contents, node: ir.Node) -> Array | None:
    data, to = c.partly(node.inputs[0]), ir.DataType(ir.attribute(node, "to"))
    if to == ir.DataType.BOOL and data is not None:
        return objects(_mapped(_nonzero, data))
    if to == ir.DataType.INT32 and data is not None:
        return objects(_mapped(lambda x: None if isinstance(x, int) and abs(x) >> 31 else x, data))
    return data if to == ir.DataType.INT64 else None


def _nonzero(x: Dim) -> int | None:
    return None if (same := _equal(x, 0)) is None else 1 - same


def _mapped(function: Callable[[Dim], Any], data: Array) -> Array:
    return _filled(data.shape, [None if x is None else function(x) for x in data.flat])


def _reshaped(c: Contents, node: ir.Node) -> Array | None:
    """Squeeze, Unsqueeze, Reshape, Flatten: the same elements in the shape that was inferred."""
    data, shape = c.partly(node.inputs[0]), node.outputs[0].shape
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
    data = c.partly(node.inputs[0])
    return None if data is None else np.transpose(data, ir.attribute(node, "perm"))


def _axes(c: Contents, node: ir.Node) -> list[int] | None:
    if "axes" in node.attributes:
        return list(ir.attribute(node, "axes"))
    given = known_array(c.of(node.inputs[1])) if len(node.inputs) > 1 else None
    return None if given is None else [int(a) for a in given.ravel()]


def _elementwise(function: Callable[[Any, Any], Any]) -> Rule:
    def rule(c: Contents, node: ir.Node) -> Array | None:
        result, *others = (c.partly(v) for v in node.inputs)
        for other in others:
            if result is None or other is None:
                return None
            a, b = np.broadcast_arrays(result, other)
            pairs = zip(a.flat, b.flat, strict=True)
            result = _filled(a.shape, [None if x is None or y is None else function(x, y) for x, y in pairs])
        return result

    return rule


def _unary(function: Callable[[Any], Any]) -> Rule:
    def rule(c: Contents, node: ir.Node) -> Array | None:
        data = c.partly(node.inputs[0])
        return None if data is None else _mapped(function, data)

    return rule


def _filled(shape: tuple[int, ...], elements: Sequence[Any]) -> Array:
    result = np.empty(len(elements), dtype=object)
    result[:] = elements
    return result.reshape(shape)


def _div(a: Dim, b: Dim) -> Dim | None:
    """ONNX divides integers towards zero; that is the floor where nothing is negative, and where nothing is left."""
    if b == 0:
        return None
    whole = symbolic.quotient(a, b)
    if whole is not None:
        return whole
    if not symbolic.nonnegative(b):
        return None
    if symbolic.nonnegative(a):
        return symbolic.floordiv(a, b)
    return -symbolic.floordiv(-a, b) if symbolic.nonnegative(-a) else None


def _mod(a: Dim, b: Dim) -> Dim | None:
    """The remainder has the divisor's sign."""
    return a - b * symbolic.floordiv(a, b) if b != 0 else None


def _remainder(c: Contents, node: ir.Node) -> Array | None:
    return None if ir.attribute(node, "fmod", 0) else MOD(c, node)


MOD = _elementwise(_mod)


def _sign(a: Dim) -> int | None:
    """-1, 0 or 1 where it is known."""
    if isinstance(a, int):
        return (a > 0) - (a < 0)
    return 1 if symbolic.nonnegative(a - 1) else -1 if symbolic.nonnegative(-a - 1) else None


def _equal(a: Dim, b: Dim) -> int | None:
    sign = _sign(a - b)
    return None if sign is None else int(sign == 0)


def _less(a: Dim, b: Dim) -> int | None:
    difference = b - a
    return 1 if symbolic.nonnegative(difference - 1) else 0 if symbolic.nonnegative(-difference) else None


def _at_most(a: Dim, b: Dim) -> int | None:
    return None if (found := _less(b, a)) is None else 1 - found


def _abs(a: Dim) -> Dim | None:
    return a if symbolic.nonnegative(a) else -a if symbolic.nonnegative(-a) else None


def _where(c: Contents, node: ir.Node) -> Array | None:
    condition, a, b = (c.partly(v) for v in node.inputs)
    if condition is None or a is None or b is None:
        return None
    every = np.broadcast_arrays(condition, a, b)
    return _filled(every[0].shape, [_chosen(*x) for x in zip(*(e.flat for e in every), strict=True)])


def _chosen(condition: Any, a: Any, b: Any) -> Any:
    if condition is None:
        return a if a == b else None
    return a if condition != 0 else b


def _clip(c: Contents, node: ir.Node) -> Array | None:
    data = c.partly(node.inputs[0])
    for bound, function in zip(node.inputs[1:], (symbolic.maximum, symbolic.minimum), strict=False):
        if bound is not None and data is not None:
            limit = c.of(bound)
            data = None if limit is None or limit.size != 1 else _mapped(partial(function, limit.item()), data)
    return data if len(node.inputs) > 1 else None


def _constant_of_shape(c: Contents, node: ir.Node) -> Array | None:
    shape, fill = known_array(c.of(node.inputs[0])), ir.attribute(node, "value")
    if shape is None or np.prod(shape) > SMALL or (fill is None or fill.dtype.kind not in "iub"):
        return None
    return objects(np.full(tuple(shape.tolist()), int(fill.ravel()[0])))


def _range(c: Contents, node: ir.Node) -> Array | None:
    given = [known_array(c.of(v)) for v in node.inputs]
    if any(g is None for g in given):
        return None
    start, stop, step = (int(g.ravel()[0]) for g in given if g is not None)
    return objects(np.arange(start, stop, step)) if step and abs((stop - start) // step) <= SMALL else None


def _expand(c: Contents, node: ir.Node) -> Array | None:
    data, shape = c.partly(node.inputs[0]), known_array(c.of(node.inputs[1]))
    if data is None or shape is None or np.prod(shape) > SMALL:
        return None
    return objects(np.broadcast_to(data, np.broadcast_shapes(data.shape, tuple(shape.tolist()))))


def _tile(c: Contents, node: ir.Node) -> Array | None:
    data, repeats = c.partly(node.inputs[0]), known_array(c.of(node.inputs[1]))
    if data is None or repeats is None or len(repeats) != data.ndim or data.size * np.prod(repeats) > SMALL:
        return None
    return np.tile(data, repeats.tolist())


def _reduced(function: Callable[[Any, Any], Any], start: int | None) -> Rule:
    """Over all elements of a list."""

    def rule(c: Contents, node: ir.Node) -> Array | None:
        data, axes = c.of(node.inputs[0]), _axes(c, node)
        absent = axes is None and (len(node.inputs) < 2 or node.inputs[1] is None)
        every = axes in ([0], [-1]) or (absent and not ir.attribute(node, "noop_with_empty_axes", 0))
        if data is None or data.ndim != 1 or not every:
            return None
        elements = [*([] if start is None else [start]), *data]
        if not elements:
            return None
        total = elements[0]
        for x in elements[1:]:
            total = function(total, x)
        return _filled((1,) if ir.attribute(node, "keepdims", 1) else (), [total])

    return rule


def _cumsum(c: Contents, node: ir.Node) -> Array | None:
    data = c.of(node.inputs[0])
    if data is None or data.ndim != 1 or ir.attribute(node, "reverse", 0) or ir.attribute(node, "exclusive", 0):
        return None
    return _filled(data.shape, [sum(data[:i], data[i]) for i in range(len(data))])


def _split(c: Contents, node: ir.Node) -> list[Array] | None:
    data = c.partly(node.inputs[0])
    if data is None or data.ndim != 1:
        return None
    given = c.of(node.inputs[1]) if len(node.inputs) > 1 else ir.attribute(node, "split")
    sizes = known_array(None if given is None else objects(given))
    if sizes is None:
        if len(data) % len(node.outputs):
            return None
        sizes = np.full(len(node.outputs), len(data) // len(node.outputs))
    return list(np.split(data, np.cumsum(sizes)[:-1])) if sizes.sum() == len(data) else None


def _if(c: Contents, node: ir.Node) -> list[Any] | None:
    """What both branches give."""
    found: list[Array | None] = []
    for first, second in zip(*(body.outputs for body in ir.bodies(node)), strict=True):
        a, b = c.partly(first), c.partly(second)
        if a is None or b is None or a.shape != b.shape:
            found.append(None)
        else:
            found.append(_filled(a.shape, [x if x == y else None for x, y in zip(a.flat, b.flat, strict=True)]))
    return found


RULES: dict[str, Rule] = {
    "Shape": _shape,
    "Size": _size,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "ScatterElements": _scatter,
    "ScatterND": _scatter,
    "Slice": _slice,
    "Concat": _concat,
    "Split": _split,
    "Identity": _same,
    "Cast": _cast,
    "Squeeze": _reshaped,
    "Unsqueeze": _reshaped,
    "Reshape": _reshaped,
    "Flatten": _reshaped,
    "Transpose": _transpose,
    "Expand": _expand,
    "Tile": _tile,
    "Range": _range,
    "ConstantOfShape": _constant_of_shape,
    "ReduceProd": _reduced(lambda a, b: a * b, 1),
    "ReduceSum": _reduced(lambda a, b: a + b, 0),
    "ReduceMax": _reduced(symbolic.maximum, None),
    "ReduceMin": _reduced(symbolic.minimum, None),
    "CumSum": _cumsum,
    "Where": _where,
    "If": _if,
    "Equal": _elementwise(_equal),
    "Less": _elementwise(_less),
    "Greater": _elementwise(lambda a, b: _less(b, a)),
    "LessOrEqual": _elementwise(_at_most),
    "GreaterOrEqual": _elementwise(lambda a, b: _at_most(b, a)),
    "Not": _unary(lambda a: 1 - a),
    "And": _elementwise(min),
    "Or": _elementwise(max),
    "Add": _elementwise(lambda a, b: a + b),
    "Sub": _elementwise(lambda a, b: a - b),
    "Mul": _elementwise(lambda a, b: a * b),
    "Div": _elementwise(_div),
    "Mod": _remainder,
    "Max": _elementwise(symbolic.maximum),
    "Min": _elementwise(symbolic.minimum),
    "Sum": _elementwise(lambda a, b: a + b),
    "Clip": _clip,
    "Neg": _unary(lambda a: -a),
    "Abs": _unary(_abs),
    "Sign": _unary(_sign),
}
"""Operator -> its result from contents and shapes of its inputs: an array, a list of them for several outputs, or None."""
