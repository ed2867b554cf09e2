"""Elementwise operators, with ONNX's broadcasting. Every one is a tensor expression, so it fuses into what produces its input.

Comparisons are written so that NaN stays NaN: `select(x < 0, 0, x)` gives x where the comparison is false.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes
import numpy as np
from tvm import te, tirx

from optc.compiler import ir
from optc.targets.tvm.lower import functions as fn
from optc.targets.tvm.lower.lowering import Dim, Lowering, Operand, Rule, is_constant

Scalar = Callable[..., Any]  # of TIR expressions


def broadcast(ctx: Lowering, shapes: Sequence[Sequence[Dim]]) -> list[Dim]:
    """ONNX's multidirectional broadcasting. Of two dimensions that cannot be proved equal the first is taken."""
    rank = max(len(shape) for shape in shapes)
    result: list[Dim] = [1] * rank
    for shape in shapes:
        for axis, dim in enumerate(shape, rank - len(shape)):
            if result[axis] == 1 if isinstance(result[axis], int) else isinstance(dim, int) and dim != 1:
                result[axis] = dim
    return result


def read(tensor: Any, index: Sequence[Any], dims: Sequence[Any] = ()) -> Any:
    """The element that broadcasts to `index` of a result of extents `dims`.

    An axis that is 1 in both is read at the index: fusion takes a constant there for a broadcast.
    """
    own = index[len(index) - len(tensor.shape) :]
    wide = list(dims)[len(dims) - len(tensor.shape) :] or [None] * len(own)
    return tensor(*[0 if _is_one(d) and not _is_one(w) else i for i, d, w in zip(own, tensor.shape, wide, strict=True)])


def _is_one(dim: Any) -> bool:
    return int(dim) == 1 if isinstance(dim, int | tirx.IntImm) else False


def elementwise(ctx: Lowering, name: str, f: Scalar, *operands: Operand, zeros: bool = True) -> Any:
    """f at every element. Constants of one element become immediates. Without `zeros` those of 0 do not: of 0·x and 0/x TVM
    makes 0, whatever x is."""
    shape = broadcast(ctx, [ctx.shape(x) for x in operands])
    fixed: dict[int, Any] = {}
    tensors: list[Any] = []
    for i, operand in enumerate(operands):
        if is_constant(operand) and operand.size == 1 and (zeros or operand.any()):
            fixed[i] = tirx.const(operand.ravel()[0].item(), str(operand.dtype))
        else:
            tensors.append(_fitted(ctx, ctx.tensor(operand), shape))

    def compute(*args: Any) -> Any:
        *held, dims = args

        def element(*index: Any) -> Any:
            rest = iter(held)
            return f(*[fixed[i] if i in fixed else read(next(rest), index, dims) for i in range(len(operands))])

        return te.compute(tuple(dims), element, name=name)

    return ctx.te(name, compute, *tensors, list(shape))


def _fitted(ctx: Lowering, var: Any, shape: Sequence[Dim]) -> Any:
    own = ctx.shape(var)
    wanted = list(shape[len(shape) - len(own) :])
    if all(d == 1 if isinstance(d, int) else False for d in own):
        return var
    expected = [d if isinstance(d, int) and d == 1 else w for d, w in zip(own, wanted, strict=True)]
    return var if ctx.same_shape(own, expected) else ctx.assume_shape(var, expected)


def simple(f: Scalar, name: str = "", zeros: bool = True) -> Rule:
    """A rule for an operator whose element is a function of its inputs' elements alone; `zeros`: see `elementwise`."""

    def rule(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
        return elementwise(ctx, name or node.op_type.lower(), f, *inputs, zeros=zeros)

    return rule


def folded(f: Scalar) -> Rule:
    """A rule for an operator of any number of inputs, folded from the left."""

    def rule(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
        def element(first: Any, *rest: Any) -> Any:
            for item in rest:
                first = f(first, item)
            return first

        return elementwise(ctx, node.op_type.lower(), element, *inputs)

    return rule


def with_attributes(f: Callable[..., Any], **defaults: Any) -> Rule:
    """A rule for a unary operator with attributes: f(x, attribute, ...), in the order of `defaults`."""

    def rule(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
        values = [ir.attribute(node, name, default) for name, default in defaults.items()]
        values = [float(np.float32(v)) if isinstance(v, float) else v for v in values]  # attributes are float32
        return elementwise(ctx, node.op_type.lower(), lambda x: f(x, *values), inputs[0])

    return rule


def clip(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """A bound that is missing is the type's lowest or highest finite number; where bounds cross, the upper one wins.

    Before opset 11 they are attributes.
    """
    dtype = ctx.dtype(inputs[0])
    if ctx.opset < 11:
        given: list[Operand] = [
            np.array(node.attributes[b].value, dtype) if b in node.attributes else None for b in ("min", "max")
        ]
    else:
        given = [inputs[i] if len(inputs) > i else None for i in (1, 2)]
    limits: Any = ml_dtypes.finfo(dtype) if "float" in dtype else np.iinfo(dtype)  # type: ignore[no-untyped-call]
    low, high = (np.array(limit, dtype) if b is None else b for b, limit in zip(given, (limits.min, limits.max), strict=True))
    return elementwise(ctx, "clip", lambda x, a, b: fn.at_most(fn.at_least(x, a), b), inputs[0], low, high)


def pow_(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """The result has the base's type. Small constant exponents become products and roots."""
    base, exponent = inputs
    dtype = ctx.dtype(base)
    if is_constant(exponent) and exponent.size == 1 and float(exponent.ravel()[0]) in (2.0, 3.0, 0.5) and "float" in dtype:
        kind = float(exponent.ravel()[0])
        exact: dict[float, Scalar] = {2.0: lambda x: x * x, 3.0: lambda x: x * x * x, 0.5: tirx.sqrt}
        return elementwise(ctx, "pow", lambda x, _: exact[kind](x), base, exponent)
    if "int" in dtype:
        return elementwise(
            ctx, "pow", lambda x, y: tirx.round(tirx.pow(x.astype("float64"), y.astype("float64"))).astype(dtype), base, exponent
        )
    return elementwise(ctx, "pow", lambda x, y: tirx.pow(x, y.astype(dtype)), base, exponent)


def prelu(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    return elementwise(ctx, "prelu", lambda x, s: tirx.Select(x < fn.number(0, x), x * s, x), *inputs)


def gelu(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    f = fn.gelu_tanh if ir.attribute(node, "approximate", "none") == "tanh" else fn.gelu
    return elementwise(ctx, "gelu", f, inputs[0])


def mod(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """fmod=1: the sign of the dividend, as in C; else the sign of the divisor, as in Python."""
    c_like = bool(ir.attribute(node, "fmod", 0))
    if "float" in ctx.dtype(inputs[0]):
        return elementwise(ctx, "mod", fn.fmod if c_like else fn.floor_mod, *inputs)
    return elementwise(ctx, "mod", tirx.truncmod if c_like else tirx.floormod, *inputs)


def shift(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """A shift by less than nothing, or by the whole width and more, leaves what the sign fills in: -1 or 0."""
    left, dtype = ir.attribute(node, "direction") == "LEFT", ctx.dtype(inputs[0])
    width = int(dtype.lstrip("uint"))

    def element(a: Any, b: Any) -> Any:
        zero = fn.number(0, a)
        inside = b < fn.number(width, b) if dtype[0] == "u" else tirx.all(b >= fn.number(0, b), b < fn.number(width, b))
        by = tirx.min(b, fn.number(width - 1, b))
        filled = zero if left or dtype[0] == "u" else tirx.Select(a < zero, fn.number(-1, a), zero)
        return tirx.Select(inside, a << by if left else a >> by, filled)

    return elementwise(ctx, "shift", element, *inputs)


def mean(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    def element(*items: Any) -> Any:
        return sum(items[1:], start=items[0]) / fn.number(len(items), items[0])

    return elementwise(ctx, "mean", element, *inputs)
