"""Scalar functions of TIR expressions, exact about NaN and signs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tvm import tirx


def number(value: float, like: Any) -> Any:
    return tirx.const(value, like.dtype) if not hasattr(like, "ty") else tirx.const(value, str(like.ty.dtype))


def is_float(x: Any) -> bool:
    return "float" in dtype(x)


def dtype(x: Any) -> str:
    return str(x.ty.dtype) if hasattr(x, "ty") else str(x.dtype)


def bound(value: Any, body: Callable[[Any], Any]) -> Any:
    """body(value), with the value computed once: fusion puts an operand's whole expression wherever it is read."""
    variable = tirx.Var("held", dtype(value))
    return tirx.Let(variable, value, body(variable))


def at_least(x: Any, low: Any) -> Any:
    return tirx.Select(x < low, low, x)


def at_most(x: Any, high: Any) -> Any:
    return tirx.Select(x > high, high, x)


def maximum(a: Any, b: Any) -> Any:
    """NaN if either is."""
    return (
        tirx.Select(tirx.isnan(a), a, tirx.Select(a <= b, b, tirx.Select(tirx.isnan(b), b, a))) if is_float(a) else tirx.max(a, b)
    )


def minimum(a: Any, b: Any) -> Any:
    return (
        tirx.Select(tirx.isnan(a), a, tirx.Select(a >= b, b, tirx.Select(tirx.isnan(b), b, a))) if is_float(a) else tirx.min(a, b)
    )


def divide(a: Any, b: Any) -> Any:
    """Integers: towards zero."""
    return a / b if is_float(a) else tirx.truncdiv(a, b)


def fmod(a: Any, b: Any) -> Any:
    """C's: exact, with the sign of the dividend."""
    kind = dtype(a)
    name, wide = ("fmod", "float64") if kind == "float64" else ("fmodf", "float32")
    return tirx.call_pure_extern(wide, name, a.astype(wide), b.astype(wide)).astype(kind)


def floor_mod(a: Any, b: Any) -> Any:
    """Python's: exact, with the sign of the divisor; so has a remainder of zero."""
    rest, zero = fmod(a, b), number(0, a)
    opposite = tirx.any(tirx.all(rest < zero, b > zero), tirx.all(rest > zero, b < zero))
    signed = tirx.Select(b < zero, number(-0.0, b), zero)
    return tirx.Select(rest == zero, signed, tirx.Select(opposite, rest + b, rest))


def equal(a: Any, b: Any) -> Any:
    return a.astype("uint8") == b.astype("uint8") if dtype(a) == "bool" else a == b


def negation(x: Any) -> Any:
    """Of a truth. TVM would make !(a < b) of it a >= b, which is another thing where one of them is NaN."""
    return (x.astype("uint8") ^ tirx.const(1, "uint8")).astype("bool")


def xor(a: Any, b: Any) -> Any:
    """LLVM has no comparison of two truths."""
    return a.astype("uint8") != b.astype("uint8")


def relu(x: Any) -> Any:
    return at_least(x, number(0, x))


def leaky_relu(x: Any, alpha: float) -> Any:
    return tirx.Select(x < number(0, x), x * number(alpha, x), x)


def thresholded_relu(x: Any, alpha: float) -> Any:
    return tirx.Select(x <= number(alpha, x), number(0, x), x)


def hard_sigmoid(x: Any, alpha: float, beta: float) -> Any:
    return at_most(at_least(x * number(alpha, x) + number(beta, x), number(0, x)), number(1, x))


def hard_swish(x: Any) -> Any:
    return x * hard_sigmoid(x, 0.1666666716337204, 0.5)  # the float32 nearest to 1/6, as ONNX's definition has it


def elu(x: Any, alpha: float) -> Any:
    return tirx.Select(x < number(0, x), number(alpha, x) * (tirx.exp(x) - number(1, x)), x)


def celu(x: Any, alpha: float) -> Any:
    return tirx.Select(x < number(0, x), number(alpha, x) * (tirx.exp(x / number(alpha, x)) - number(1, x)), x)


def selu(x: Any, alpha: float, gamma: float) -> Any:
    return number(gamma, x) * elu(x, alpha)


def sigmoid(x: Any) -> Any:
    return number(1, x) / (number(1, x) + tirx.exp(-x))


def silu(x: Any, alpha: float = 1.0) -> Any:
    return x * sigmoid(x * number(alpha, x))


def softplus(x: Any) -> Any:
    """log(1 + exp x), without overflow: max(x, 0) + log1p(exp -|x|)."""
    return relu(x) + tirx.log1p(tirx.exp(-tirx.abs(x)))


def softsign(x: Any) -> Any:
    return x / (number(1, x) + tirx.abs(x))


def mish(x: Any) -> Any:
    return x * tirx.tanh(softplus(x))


def erf(x: Any) -> Any:
    """TVM's own is made for float32."""
    return tirx.call_pure_extern("float64", "erf", x) if dtype(x) == "float64" else tirx.erf(x)


def gelu(x: Any) -> Any:
    return number(0.5, x) * x * (number(1, x) + erf(x * number(math.sqrt(0.5), x)))


def gelu_tanh(x: Any) -> Any:
    return (
        number(0.5, x) * x * (number(1, x) + tirx.tanh(number(math.sqrt(2 / math.pi), x) * (x + number(0.044715, x) * x * x * x)))
    )


def sign(x: Any) -> Any:
    """Zero and NaN stay what they are."""
    if dtype(x).startswith("uint"):
        return tirx.min(x, number(1, x))
    return tirx.Select(x > number(0, x), number(1, x), tirx.Select(x < number(0, x), number(-1, x), x))


def is_inf(x: Any, negative: int, positive: int) -> Any:
    found = tirx.const(False, "bool")
    for wanted, value in ((negative, -math.inf), (positive, math.inf)):
        if wanted:
            found = tirx.any(found, x == tirx.const(value, dtype(x)))
    return found
