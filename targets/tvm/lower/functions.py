"""Scalar functions of TIR expressions, exact about NaN and signs.

exp and erf are polynomials that vectorise: LLVM would call the C library once an element.
"""

from __future__ import annotations

import math
from typing import Any

from tvm import tirx


def number(value: float, like: Any) -> Any:
    return tirx.const(value, like.dtype) if not hasattr(like, "ty") else tirx.const(value, str(like.ty.dtype))


def is_float(x: Any) -> bool:
    return "float" in dtype(x)


def dtype(x: Any) -> str:
    return str(x.ty.dtype) if hasattr(x, "ty") else str(x.dtype)


def at_least(x: Any, low: Any) -> Any:
    return tirx.Select(x < low, low, x)


def at_most(x: Any, high: Any) -> Any:
    return tirx.Select(x > high, high, x)


def maximum(a: Any, b: Any) -> Any:
    """NaN if either is."""
    return tirx.Select(a != a, a, tirx.Select(a > b, a, b)) if is_float(a) else tirx.max(a, b)


def minimum(a: Any, b: Any) -> Any:
    return tirx.Select(a != a, a, tirx.Select(a < b, a, b)) if is_float(a) else tirx.min(a, b)


def divide(a: Any, b: Any) -> Any:
    """Integers: towards zero."""
    return a / b if is_float(a) else tirx.truncdiv(a, b)


def convert(x: Any, to: str) -> Any:
    if to == "bool":
        return x != number(0, x)
    return x.astype(to)


def relu(x: Any) -> Any:
    return at_least(x, number(0, x))


def leaky_relu(x: Any, alpha: float) -> Any:
    return tirx.Select(x < number(0, x), x * number(alpha, x), x)


def thresholded_relu(x: Any, alpha: float) -> Any:
    return tirx.Select(x > number(alpha, x), x, tirx.Select(x != x, x, number(0, x)))


def hard_sigmoid(x: Any, alpha: float, beta: float) -> Any:
    return at_most(at_least(x * number(alpha, x) + number(beta, x), number(0, x)), number(1, x))


def hard_swish(x: Any) -> Any:
    return x * hard_sigmoid(x, 1 / 6, 0.5)


def elu(x: Any, alpha: float) -> Any:
    return tirx.Select(x < number(0, x), number(alpha, x) * (exp(x) - number(1, x)), x)


def celu(x: Any, alpha: float) -> Any:
    return tirx.Select(x < number(0, x), number(alpha, x) * (exp(x / number(alpha, x)) - number(1, x)), x)


def selu(x: Any, alpha: float, gamma: float) -> Any:
    return number(gamma, x) * elu(x, alpha)


def sigmoid(x: Any) -> Any:
    return number(1, x) / (number(1, x) + exp(-x))


def silu(x: Any, alpha: float = 1.0) -> Any:
    return x * sigmoid(x * number(alpha, x))


def softplus(x: Any) -> Any:
    """log(1 + exp x), without overflow: max(x, 0) + log1p(exp -|x|)."""
    return relu(x) + tirx.log1p(exp(-tirx.abs(x)))


def softsign(x: Any) -> Any:
    return x / (number(1, x) + tirx.abs(x))


def mish(x: Any) -> Any:
    return x * tanh(softplus(x))


def gelu(x: Any) -> Any:
    return number(0.5, x) * x * (number(1, x) + erf(x * number(math.sqrt(0.5), x)))


def gelu_tanh(x: Any) -> Any:
    return number(0.5, x) * x * (number(1, x) + tanh(number(math.sqrt(2 / math.pi), x) * (x + number(0.044715, x) * x * x * x)))


def sign(x: Any) -> Any:
    return tirx.Select(x > number(0, x), number(1, x), tirx.Select(x < number(0, x), number(-1, x), x * number(0, x)))


def is_inf(x: Any, negative: int, positive: int) -> Any:
    found = tirx.const(False, "bool")
    for wanted, value in ((negative, -math.inf), (positive, math.inf)):
        if wanted:
            found = tirx.any(found, x == tirx.const(value, dtype(x)))
    return found


def tanh(x: Any) -> Any:
    if dtype(x) != "float32":
        return tirx.tanh(x)
    e = exp(number(-2, x) * tirx.abs(x))
    big = (number(1, x) - e) / (number(1, x) + e)
    square = x * x
    small = x * polynomial(square, (-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1))
    small = x + square * small
    return tirx.Select(tirx.abs(x) < number(0.625, x), small, tirx.Select(x < number(0, x), -big, big))


def exp(x: Any) -> Any:
    """e^x to about one unit in the last place (Cephes' expf): 2^n · e^r with |r| ≤ ln 2 / 2."""
    if dtype(x) != "float32":
        return tirx.exp(x)
    kept = at_most(at_least(x, number(-104, x)), number(89, x))
    n = tirx.nearbyint(kept * number(1.44269504088896341, x))
    r = kept - n * number(0.693359375, x)
    r = r - n * number(-2.12194440e-4, x)
    series = polynomial(r, (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1))
    series = series * r * r + r + number(1, x)
    half = tirx.shift_right(n.astype("int32"), tirx.const(1, "int32"))  # two factors reach denormals and infinity
    return series * _power_of_two(half) * _power_of_two(n.astype("int32") - half)


def _power_of_two(n: Any) -> Any:
    return tirx.reinterpret("float32", tirx.shift_left(n + tirx.const(127, "int32"), tirx.const(23, "int32")))


def erf(x: Any) -> Any:
    """The error function to a few units in the last place: Eigen's rational approximation on [-4, 4]."""
    if dtype(x) != "float32":
        return tirx.erf(x)
    kept = at_most(at_least(x, number(-4, x)), number(4, x))
    square = kept * kept
    above = polynomial(
        square,
        (-2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05, -7.34990630326855e-04,
         -2.95459980854025e-03, -1.60960333262415e-02),
    )  # fmt: skip
    below = polynomial(
        square, (-1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03, -1.42647390514189e-02)
    )
    return kept * above / below


def polynomial(x: Any, coefficients: tuple[float, ...]) -> Any:
    """Horner's scheme, highest power first."""
    value = number(coefficients[0], x)
    for c in coefficients[1:]:
        value = value * x + number(c, x)
    return value
