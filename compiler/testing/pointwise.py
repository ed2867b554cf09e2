"""Steps that compute element by element: arithmetic with broadcasting, activations, integers, truth values, casts, choices."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from optc.compiler.testing.writer import BOOL, DOUBLE, FLOAT, HALF, INT32, INT64, Known, Writer, broadcast

CONSTANTS = (0.0, 1.0, 0.5, 2.0, 3.0, -1.0, -0.25, 1.5)
REAL = (FLOAT, FLOAT, FLOAT, DOUBLE, HALF)
WHOLE = (INT64, INT32)

SMOOTH: dict[str, Callable[[float], float]] = {
    "Relu": lambda b: b,
    "Neg": lambda b: b,
    "Abs": lambda b: b,
    "Identity": lambda b: b,
    "Tanh": lambda b: 1.0,
    "Sigmoid": lambda b: 1.0,
    "Erf": lambda b: 1.0,
    "Softsign": lambda b: 1.0,
    "HardSigmoid": lambda b: 1.0,
    "Elu": lambda b: b,
    "Selu": lambda b: 2 * b,
    "LeakyRelu": lambda b: b,
    "Softplus": lambda b: b + 1,
    "Celu": lambda b: b,
    "Sin": lambda b: 1.0,
    "Cos": lambda b: 1.0,
    "Atan": lambda b: 1.6,
    "Asinh": lambda b: b,
    "Softmax": lambda b: 1.0,
    "LogSoftmax": lambda b: b + 4,
    "Dropout": lambda b: b,
    "Gelu": lambda b: b,
    "HardSwish": lambda b: b,
    "Mish": lambda b: b,
    "Swish": lambda b: b,
}
"""Operators of one value whose result moves little where the value moves little; and the bound of the result."""
KEEPS = ("Relu", "Neg", "Abs", "Identity", "Dropout")
ONLY_FLOAT = (
    "Selu",
    "Celu",
    "Mish",
    "Elu",
    "Softplus",
    "Softsign",
    "HardSigmoid",
    "Erf",
    "Gelu",
    "HardSwish",
    "LeakyRelu",
    "Atan",
    "Asinh",
)
STEEP = ("Floor", "Ceil", "Round", "Sign", "ThresholdedRelu", "Shrink", "Hardmax")


def unary(w: Writer) -> None:
    x = w.pick(REAL)
    op = w.choose(tuple(SMOOTH))
    if x is None or not w.has(op) or (x.dtype != FLOAT and op in ONLY_FLOAT):
        return
    if op in ("Softmax", "LogSoftmax") and x.rank == 0:
        return
    w.put(w.like(op, x, bound=SMOOTH[op](x.bound), exact=x.exact and op in KEEPS, **_attributes(w, op, x)))


def _attributes(w: Writer, op: str, x: Known) -> dict[str, Any]:
    if op in ("Softmax", "LogSoftmax"):
        return {"axis": w.integer(-x.rank, x.rank - 1) if w.scope.opset >= 13 else x.rank - 1}
    if op in ("Elu", "LeakyRelu", "Celu") and w.chance(0.5):
        return {"alpha": w.choose((0.01, 0.1, 1.0))}
    if op == "HardSigmoid" and w.chance(0.7):
        return {"alpha": w.choose((1 / 6, 0.2)), "beta": 0.5}
    if op == "Gelu" and w.chance(0.4):
        return {"approximate": "tanh"}
    return {}


def dropout_with_mask(w: Writer) -> None:
    x = w.pick()
    if x is None or not w.has("Dropout", 12):
        return
    out, mask = w.nodes_of("Dropout", [x.name], 2)
    w.put(Known(out, x.dtype, x.shape, x.exact, x.bound))
    w.put(Known(mask, BOOL, x.shape, True, 1.0))


def steep(w: Writer) -> None:
    """Operators that jump: only of values that no rewrite computes with other rounding."""
    x = w.pick(exact=True)
    op = w.choose(STEEP)
    if x is None or x.rank == 0 or not w.has(op):
        return
    w.put(w.like(op, x, exact=True, bound=x.bound + 1))


def binary(w: Writer) -> None:
    a = w.pick(REAL)
    b = a and w.pick((a.dtype,), fits=lambda k: broadcast(k.shape, a.shape) is not None)
    if a is None or b is None:
        return
    if w.chance(0.3):
        # x - x' of two values that are nearly alike leaves only rounding, so that differences are of values that are not
        b = w.binary("Mul", b, w.const(np.asarray(w.choose((0.37, 1.7))), b.dtype))
        w.put(w.binary("Sub", a, b))
    elif w.chance(0.15) and a.dtype == FLOAT:
        w.put(w.like("Sum" if w.chance(0.5) else "Mean", a, b, a, shape=broadcast(a.shape, b.shape), bound=2 * a.bound + b.bound))
    else:
        w.put(w.binary(w.choose(("Add", "Mul", "Max", "Min")), a, b))


def with_constant(w: Writer) -> None:
    """A constant that broadcasts, or neutral elements that canonical forms drop."""
    x = w.pick(REAL)
    if x is None:
        return
    rank = w.integer(0, x.rank)
    dims = [d if isinstance(d, int) and w.chance(0.6) else 1 for d in x.shape[x.rank - rank :]]
    value = np.full(dims, w.choose(CONSTANTS)) if w.chance(0.6) else w.scope.rng.standard_normal(dims)
    op = w.choose(("Add", "Mul", "Sub", "Div", "Max", "Min", "Pow"))
    if op == "Div":
        value = np.where(np.abs(value) < 0.25, 1.0, value)
        w.put(w.binary(op, x, w.const(value, x.dtype), bound=x.bound * 4))
    elif op == "Pow":
        exponent = w.choose((1.0, 2.0, 2.0, 3.0, 0.0))
        w.put(w.binary(op, x, w.const(np.full(dims, exponent), x.dtype), bound=max(1.0, x.bound) ** exponent))
    elif op == "Sub" and w.chance(0.3):
        w.put(w.binary(op, w.const(value, x.dtype), x))
    else:
        w.put(w.binary(op, x, w.const(value, x.dtype)))


def chain_of_constants(w: Writer) -> None:
    """x + c1 + c2, (x * c1) * c2, x / c1 * c2, -(-x): what may be merged."""
    x = w.pick(REAL)
    if x is None:
        return
    for _ in range(w.integer(2, 3)):
        c = w.const(np.full((), w.choose((0.5, 2.0, -1.5))) if w.chance(0.6) else w.scope.rng.uniform(0.5, 1.5, (1,)), x.dtype)
        x = w.like("Neg", x, exact=x.exact) if w.chance(0.15) else w.binary(w.choose(("Add", "Mul", "Sub", "Div")), x, c)
        x = Known(x.name, x.dtype, x.shape, x.exact, min(x.bound, 1e3))
    w.put(x)


def where_positive(w: Writer) -> None:
    """Square root, logarithm, reciprocal, division, powers: of |x| + c."""
    x = w.pick(REAL)
    if x is None:
        return
    safe = w.add(w.like("Abs", x, exact=x.exact), w.const(np.full((), w.choose((0.5, 1.0))), x.dtype))
    op = w.choose(("Sqrt", "Log", "Reciprocal", "Div", "Pow"))
    if op == "Div":
        a = w.pick((x.dtype,), fits=lambda k: broadcast(k.shape, x.shape) is not None)
        w.put(w.binary("Div", a or x, safe, bound=2 * (a or x).bound))
    elif op == "Pow":
        w.put(w.binary("Pow", safe, w.const(np.full((), w.choose((0.5, -0.5, -1.0, 1.5))), x.dtype), bound=safe.bound**1.5))
    elif x.dtype == FLOAT or op != "Log":
        w.put(w.like(op, safe, bound=max(2.0, safe.bound if op == "Sqrt" else math.log(safe.bound + 1))))
    if x.bound < 4 and w.chance(0.3):
        w.put(w.like("Exp", x, bound=math.exp(x.bound)))


def clips(w: Writer) -> None:
    """Clip with either bound, both or none; Min and Max as clips; Relu6 in its spellings."""
    x = w.pick()
    if x is None:
        return
    low, high = w.choose(((0.0, 6.0), (0.0, None), (None, 6.0), (-1.0, 1.0), (None, None), (0.0, 1.0), (2.0, -2.0)))
    if w.chance(0.3):
        a, b = w.scalar(0.0), w.scalar(6.0)
        w.put(w.binary("Min", w.binary("Max", x, a), b) if w.chance(0.5) else w.binary("Max", w.binary("Min", x, b), a))
    else:
        made = w.clip(w.like("Relu", x, exact=x.exact) if w.chance(0.3) else x, low, high)
        w.put(w.clip(made, *w.choose(((0.0, 6.0), (None, 3.0), (-2.0, None)))) if w.chance(0.3) else made)


def prelu(w: Writer) -> None:
    x = w.pick()
    if x is None or x.rank < 2 or not isinstance(x.shape[1], int):
        return
    slope = w.random(x.shape[1], *(1 for _ in x.shape[2:])) if w.chance(0.7) else w.random(1)
    w.put(w.like("PRelu", x, slope))


def integers(w: Writer) -> None:
    """Arithmetic of integers; small numbers, so that nothing overflows."""
    x = w.pick(WHOLE, fits=lambda k: k.bound < 1e4)
    if x is None:
        return
    op = w.choose(("Add", "Sub", "Mul", "Div", "Mod", "Abs", "Neg", "Max"))
    if op in ("Abs", "Neg"):
        w.put(w.like(op, x, exact=True))
        return
    if op == "Max" and not w.has(op, 12):
        return
    y = w.pick((x.dtype,), fits=lambda k: k.bound < 50 and broadcast(k.shape, x.shape) is not None)
    if y is None or op in ("Div", "Mod") or w.chance(0.5):
        y = w.const(np.asarray(w.choose((1, 2, 3, 7))), x.dtype)
    made = w.binary(op, x, y, bound=x.bound * max(1.0, y.bound) + y.bound)
    w.put(Known(made.name, made.dtype, made.shape, True, made.bound))


def comparisons(w: Writer) -> None:
    x = w.pick((FLOAT, INT64, INT32), exact=True)
    if x is None:
        return
    y = w.pick((x.dtype,), exact=True, fits=lambda k: broadcast(k.shape, x.shape) is not None)
    if y is None or w.chance(0.5):
        y = w.const(np.asarray(w.choose((0, 1, 2))), x.dtype)
    op = w.choose(("Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual"))
    if w.has(op, 12):
        w.put(w.like(op, x, y, shape=broadcast(x.shape, y.shape), dtype=BOOL, exact=True, bound=1.0))


def truths(w: Writer) -> None:
    a = w.pick((BOOL,))
    b = a and w.pick((BOOL,), fits=lambda k: broadcast(k.shape, a.shape) is not None)
    if a is None or b is None:
        return
    if w.chance(0.4):
        made = w.like("Not", a, exact=True)
        w.put(w.like("Not", made, exact=True) if w.chance(0.3) else made)
    else:
        w.put(w.like(w.choose(("And", "Or", "Xor", "Equal")), a, b, shape=broadcast(a.shape, b.shape), exact=True))


def choices(w: Writer) -> None:
    """Where, by a truth value that fits."""
    x = w.pick((FLOAT, INT64))
    c = x and w.pick((BOOL,), fits=lambda k: broadcast(k.shape, x.shape) is not None)
    if x is None or c is None:
        return
    y = w.pick((x.dtype,), fits=lambda k: broadcast(k.shape, x.shape, c.shape) is not None)
    if y is None or w.chance(0.4):
        y = w.const(np.asarray(w.choose((0, 1, -2))), x.dtype)
    a, b = (x, y) if w.chance(0.5) else (y, x)
    shape = broadcast(x.shape, y.shape, c.shape)
    made = w.nodes_of("Where", [c.name, a.name, b.name])[0]
    w.put(Known(made, x.dtype, shape or (), a.exact and b.exact, max(a.bound, b.bound)))


def casts(w: Writer) -> None:
    """Between types; what rounds is done to exact values only."""
    kind = w.choose(("to float", "to wide", "to half", "to whole", "other whole", "bool", "same", "chain"))
    if kind == "to float":
        x = w.pick((INT64, INT32, BOOL, DOUBLE, HALF))
        if x is not None and x.bound < 1e4:
            w.put(w.cast(x, FLOAT))
    elif kind == "to wide":
        x = w.pick((FLOAT, INT32, HALF))
        if x is not None:
            w.put(w.cast(x, DOUBLE))
    elif kind in ("to half", "to whole"):
        x = w.pick(exact=True)
        if x is not None:
            w.put(w.cast(x, HALF if kind == "to half" else w.choose(WHOLE)))
    elif kind == "other whole":
        x = w.pick(WHOLE, fits=lambda k: k.bound < 1e6)
        if x is not None:
            w.put(w.cast(w.cast(x, INT32 if x.dtype == INT64 else INT64), w.choose(WHOLE)))
    elif kind == "bool":
        x = w.pick((FLOAT, INT64), exact=True)
        if x is not None:
            w.put(Known(w.cast(x, BOOL).name, BOOL, x.shape, True, 1.0))
    elif kind == "same":
        x = w.pick((FLOAT, INT64, BOOL))
        if x is not None:
            w.put(w.cast(x, x.dtype))
    else:  # of an exact value, which each step may cut
        x = w.pick(exact=True)
        if x is not None:
            for dtype in w.choose(
                ((INT32, INT64), (HALF, FLOAT), (DOUBLE, FLOAT), (INT64, FLOAT), (DOUBLE, HALF, FLOAT), (INT32,))
            ):
                x = w.cast(x, dtype)
            w.put(w.cast(x, FLOAT))


STEPS: tuple[tuple[Callable[[Writer], None], int], ...] = (
    (unary, 6),
    (dropout_with_mask, 1),
    (steep, 1),
    (binary, 6),
    (with_constant, 6),
    (chain_of_constants, 2),
    (where_positive, 2),
    (clips, 2),
    (prelu, 1),
    (integers, 3),
    (comparisons, 2),
    (truths, 1),
    (choices, 2),
    (casts, 4),
)
