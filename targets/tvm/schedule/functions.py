"""Transcendental functions as arithmetic on vectors: LLVM would call the C library once a lane."""

from collections.abc import Callable, Sequence
from typing import Any

import tvm_ffi
from tvm import tirx
from tvm.ir import Call, Op

_LOG2E = 1.44269504088896341
_LN2 = (0.693359375, -2.12194440e-4)  # its first bits, and the rest
_EXP = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)  # Cephes, expf
_EXP_RANGE = (-87.34, 89.0)  # below the result is 0, above infinity

# Odd rational approximations x P(x²) / Q(x²), the coefficients of Eigen's vectorized functions.
_TANH_OVER = (
    *(-2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-08),
    *(1.48572235717979e-05, 6.37261928875436e-04, 4.89352455891786e-03),
)
_TANH_UNDER = (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03)
_ERF_OVER = (
    *(-2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05),
    *(-7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02),
)
_ERF_UNDER = (-1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03, -1.42647390514189e-02)


def expand(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """The function with float32 exp, tanh, erf and sigmoid written out, exact to about 1e-7; NaN and infinities are kept."""

    def replace(call: Any) -> Any:
        rule = _RULES.get(call.op.name) if isinstance(call.op, Op) else None
        return rule(call.args[0]) if rule is not None and str(call.args[0].ty.dtype) == "float32" else call

    return func.with_body(tvm_ffi.structural_map(func.body, (Call, replace)))


def _const(value: float) -> Any:
    return tirx.const(value, "float32")


def _horner(x: Any, coefficients: Sequence[float]) -> Any:
    total = _const(coefficients[0])
    for coefficient in coefficients[1:]:
        total = total * x + _const(coefficient)
    return total


def _named(value: Any, name: str, body: Callable[[Any], Any]) -> Any:
    variable = tirx.Var(name, "float32")
    return tirx.Let(variable, value, body(variable))


def _clamp(x: Any, low: float, high: float) -> Any:
    """NaN stays NaN: a comparison with it is false, and then the second operand is taken."""
    return tirx.min(_const(high), tirx.max(_const(low), x))


def _exp(x: Any) -> Any:
    def scaled(t: Any) -> Any:
        return _named(tirx.floor(t * _const(_LOG2E) + _const(0.5)), "exponent", lambda n: reduced(t, n))

    def reduced(t: Any, n: Any) -> Any:
        return _named(t - n * _const(_LN2[0]) - n * _const(_LN2[1]), "rest", lambda r: power(n, r))

    def power(n: Any, r: Any) -> Any:
        fraction = _horner(r, _EXP) * (r * r) + r + _const(1.0)
        half = tirx.reinterpret("float32", (tirx.Cast("int32", n) + 126) << 23)  # 2^(n-1): 2^128 has no float
        return (fraction + fraction) * half

    return _named(_clamp(x, *_EXP_RANGE), "t", scaled)


def _sigmoid(x: Any) -> Any:
    return _const(1.0) / (_const(1.0) + _exp(_const(0.0) - x))


def _rational(limit: float, over: Sequence[float], under: Sequence[float]) -> Callable[[Any], Any]:
    def value(x: Any) -> Any:
        return _named(
            _clamp(x, -limit, limit),
            "t",
            lambda t: _named(t * t, "square", lambda s: t * _horner(s, over) / _horner(s, under)),
        )

    return value


_RULES: dict[str, Callable[[Any], Any]] = {
    "tirx.exp": _exp,
    "tirx.sigmoid": _sigmoid,
    "tirx.tanh": _rational(9.0, _TANH_OVER, _TANH_UNDER),
    "tirx.erf": _rational(4.0, _ERF_OVER, _ERF_UNDER),
}
