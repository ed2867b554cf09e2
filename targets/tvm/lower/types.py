"""Element types that kernels do not compute in, and the wider types whose values stand for theirs.

An operand of such a type is *held*: bfloat16 and the smaller floats in float32, 4-bit and 2-bit integers in a byte. A held
value is always one that its own type has, so what moves elements needs to know nothing, and a sum in bfloat16 is the sum in
float32, rounded. What enters and leaves a compiled library is *raw*: the bits that NumPy's ml_dtypes keep, as unsigned integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np
from tvm import te, tirx

from optc.compiler import ir
from optc.compiler.manifest import dtype as dtype_named
from optc.targets.tvm.lower import functions as fn

_FLOATS: tuple[str, ...] = ("bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz")
_FLOATS += ("float8_e8m0fnu", "float4_e2m1fn", "float6_e2m3fn", "float6_e3m2fn")
_INTEGERS = {"int4": (4, "int8"), "uint4": (4, "uint8"), "int2": (2, "int8"), "uint2": (2, "uint8")}
_LAST = 3  # FuseOps' kCommReduce: a kernel ends with it
EXPONENT = "float8_e8m0fnu"  # powers of two alone: no sign, no zero, no mantissa

# Operators whose results are elements of their inputs, or that round on their own.
_MOVING: tuple[str, ...] = ("Abs", "Cast", "CastLike", "Clip", "Compress", "Concat", "ConstantOfShape", "DepthToSpace", "Expand")
_MOVING += ("Flatten", "Gather", "GatherElements", "GatherND", "Identity", "Max", "MaxPool", "Min", "Neg", "Pad")
_MOVING += ("QuantizeLinear", "ReduceMax", "ReduceMin", "Relu", "Reshape", "Scatter", "ScatterElements", "ScatterND")
_MOVING += ("Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "TopK", "Transpose", "Trilu", "Unsqueeze", "Where")


def held(kind: str) -> str:
    """The type that holds elements of type `kind`, both by NumPy's names."""
    return "float32" if kind in _FLOATS else _INTEGERS[kind][1] if kind in _INTEGERS else kind


def raw(kind: str) -> str:
    """The type of the bits of elements of type `kind` in a caller's array; `kind` itself where kernels compute in it."""
    return f"uint{8 * dtype_named(kind).itemsize}" if held(kind) != kind else kind


def kind_of(value: ir.Value | None, operand: Any) -> str:
    """The element type of a value as the model says it; that of its operand where the model does not say."""
    if value is not None and value.dtype is not None:
        return str(value.dtype.numpy())
    return str(operand.dtype if isinstance(operand, np.ndarray) else operand.ty.dtype)


def hold(operand: Any) -> Any:
    """A constant in the type that holds its elements; anything else as it is."""
    if isinstance(operand, np.ndarray) and held(str(operand.dtype)) != str(operand.dtype):
        return operand.astype(held(str(operand.dtype)))
    return operand


def rounds(node: ir.Node) -> bool:
    """Whether the operator computes: in float32 where its elements are float16 or bfloat16, and its results are rounded."""
    return node.op_type not in _MOVING


@dataclass(frozen=True)
class Minifloat:
    """A binary float with `mantissa` stored bits and a least normal number of 2**`least`."""

    bits: int
    mantissa: int
    least: int
    top: float  # the greatest finite number
    infinite: bool
    nan: bool
    zeros: bool  # whether there are two of them

    @property
    def step(self) -> float:
        """The least positive number."""
        return float(2.0 ** (self.least - self.mantissa))


@cache
def minifloat(kind: str) -> Minifloat:
    info = ml_dtypes.finfo(kind)  # type: ignore[no-untyped-call]
    dtype = dtype_named(kind)
    special = np.array([np.inf, np.nan, -0.0], np.float32).astype(dtype).astype(np.float32)
    return Minifloat(
        int(info.bits),
        int(info.nmant),
        int(info.minexp),
        float(info.max),
        bool(np.isinf(special[0])),
        bool(np.isnan(special[1])),
        bool(np.signbit(special[2])),
    )


def _u32(value: int) -> Any:
    return tirx.const(value, "uint32")


def _f32(value: float) -> Any:
    return tirx.const(value, "float32")


def _magnitude(x: Any) -> tuple[Any, Any]:
    """The bits of a float32 without its sign, and the sign bit in place."""
    bits = tirx.reinterpret("uint32", x)
    return bits & _u32(0x7FFFFFFF), bits & _u32(0x80000000)


def rounded(x: Any, kind: str, *, saturate: bool = True, mode: str = "up") -> Any:
    """A float32 as the nearest element of type `kind`, ties to even; held in float32.

    Beyond the greatest number: that number if `saturate`, else infinity, or NaN where there is none (ONNX's tables under
    Cast). Types without either always saturate. Only float8e8m0 knows a `mode`: up, down, or nearest.
    """
    if kind == EXPONENT:
        return fn.bound(x, lambda v: _power(v, saturate=saturate, mode=mode))
    return fn.bound(x, lambda v: _nearest(v, kind, saturate))


def _nearest(x: Any, kind: str, saturate: bool) -> Any:
    form = minifloat(kind)
    magnitude, sign = _magnitude(x)
    shift = _u32(23 - form.mantissa)
    even = (magnitude >> shift) & _u32(1)
    near = ((magnitude + _u32((1 << (22 - form.mantissa)) - 1) + even) >> shift) << shift
    size = tirx.reinterpret("float32", near)
    if kind != "bfloat16":  # whose small numbers are float32's
        small = tirx.reinterpret("float32", magnitude)
        low = tirx.nearbyint(small * _f32(1 / form.step)) * _f32(form.step)
        size = tirx.Select(small < _f32(2.0**form.least), low, size)
        beyond = form.top if saturate or not (form.infinite or form.nan) else np.inf if form.infinite else np.nan
        size = tirx.Select(size > _f32(form.top), _f32(beyond), size)
    bits = tirx.reinterpret("uint32", size) | sign
    found = tirx.reinterpret("float32", bits if form.zeros else tirx.Select(size == _f32(0), _u32(0), bits))
    return tirx.Select(tirx.isnan(x), x if form.nan else _f32(0), found)


def _power(x: Any, *, saturate: bool, mode: str) -> Any:
    """A power of two, as ONNX's reference makes it: the exponent's bits, plus one where the fraction rounds up."""
    bits = tirx.reinterpret("uint32", x)
    exponent = (bits >> _u32(23)) & _u32(255)
    fraction = bits & _u32(0x7FFFFF)
    half = _u32(0x400000)
    ties = tirx.any(fraction > half, tirx.all(fraction == half, exponent > _u32(0)))
    up = {"up": fraction > _u32(0), "nearest": ties, "down": tirx.const(False, "bool")}[mode]
    limit = _u32(254 if saturate else 255)
    more = tirx.Select(tirx.all(up, exponent < limit), exponent + _u32(1), exponent)
    return _power_of(more)


def _power_of(exponent: Any) -> Any:
    """2**(exponent - 127), of a uint32; NaN for 255."""
    least, nothing = _u32(0x00400000), _u32(0x7FC00000)
    bits = tirx.Select(exponent == _u32(255), nothing, tirx.Select(exponent == _u32(0), least, exponent << _u32(23)))
    return tirx.reinterpret("float32", bits)


def narrowed(x: Any, kind: str) -> Any:
    """An integer as a 4-bit or 2-bit one: its low bits, with their sign."""
    bits, dtype = _INTEGERS[kind]
    left = tirx.const(8 - bits, dtype)
    return (x.astype(dtype) << left) >> left


def decoded(x: Any, kind: str) -> Any:
    """The held value of raw bits."""
    return fn.bound(x, lambda v: _decoded(v, kind))


def _decoded(x: Any, kind: str) -> Any:
    if kind in _INTEGERS:
        return narrowed(x, kind)
    if kind == "bfloat16":
        return tirx.reinterpret("float32", x.astype("uint32") << _u32(16))
    if kind == EXPONENT:
        return _power_of(x.astype("uint32"))
    form = minifloat(kind)
    wide = x.astype("uint32")
    magnitude = wide & _u32((1 << (form.bits - 1)) - 1)
    sign = (wide >> _u32(form.bits - 1)) << _u32(31)
    exponent, low = magnitude >> _u32(form.mantissa), magnitude & _u32((1 << form.mantissa) - 1)
    bits = ((exponent + _u32(126 + form.least)) << _u32(23)) | (low << _u32(23 - form.mantissa))
    size = tirx.Select(exponent == _u32(0), low.astype("float32") * _f32(form.step), tirx.reinterpret("float32", bits))
    if not form.zeros:  # what would be the second zero is the one NaN
        found = tirx.reinterpret("float32", tirx.reinterpret("uint32", size) | sign)
        return tirx.Select(wide == _u32(1 << (form.bits - 1)), _f32(np.nan), found)
    for value, code in _specials(kind):
        size = tirx.Select(magnitude == _u32(code), _f32(value), size)
    return tirx.reinterpret("float32", tirx.reinterpret("uint32", size) | sign)


@cache
def _specials(kind: str) -> tuple[tuple[float, int], ...]:
    """The codes without a sign that stand for no number, and what they stand for."""
    codes = np.arange(1 << (minifloat(kind).bits - 1), dtype=np.uint8)
    values = codes.view(dtype_named(kind)).astype(np.float32)
    return tuple((float(v), int(c)) for v, c in zip(values, codes, strict=True) if not np.isfinite(v))


def encoded(x: Any, kind: str) -> Any:
    """The raw bits of a held value."""
    return fn.bound(x, lambda v: _encoded(v, kind))


def _encoded(x: Any, kind: str) -> Any:
    if kind in _INTEGERS:
        return x.astype("uint8") & tirx.const((1 << _INTEGERS[kind][0]) - 1, "uint8")
    bits = tirx.reinterpret("uint32", x)
    if kind == "bfloat16":  # a NaN keeps what says that it is one
        return ((bits >> _u32(16)) | tirx.Select(tirx.isnan(x), _u32(0x40), _u32(0))).astype("uint16")
    if kind == EXPONENT:
        return tirx.Select(tirx.isnan(x), _u32(255), (bits >> _u32(23)) & _u32(255)).astype("uint8")
    form = minifloat(kind)
    magnitude, sign = _magnitude(x)
    size = tirx.reinterpret("float32", magnitude)
    normal = (magnitude >> _u32(23 - form.mantissa)) - _u32((126 + form.least) << form.mantissa)
    small = (size * _f32(1 / form.step)).astype("int32").astype("uint32")
    code = tirx.Select(size < _f32(2.0**form.least), small, normal)
    top = form.bits - 1
    if form.infinite:
        code = tirx.Select(size > _f32(form.top), _u32(int(_code(np.inf, kind))), code)
    code = code | (sign >> _u32(31 - top))
    if form.nan:
        nothing = _u32(_code(np.nan, kind))
        code = tirx.Select(tirx.isnan(x), nothing if not form.zeros else nothing | (sign >> _u32(31 - top)), code)
    return code.astype("uint8")


def _code(value: float, kind: str) -> int:
    return int(np.array(value, np.float32).astype(dtype_named(kind)).view(np.uint8))


def single(x: Any) -> Any:
    """Any number as a float32 that rounds on to a shorter float as the number itself would: what float32 cannot hold is
    rounded to odd (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums", 2008)."""
    dtype = fn.dtype(x)
    if dtype in ("float32", "float16", "bool") or dtype.endswith(("int8", "int16")):
        return x.astype("float32")
    return fn.bound(x.astype("float64"), _odd)


def _odd(wide: Any) -> Any:
    near = wide.astype("float32")
    back = near.astype("float64")
    bits = tirx.reinterpret("uint32", near)
    off = tirx.all(back != wide, (bits & _u32(1)) == _u32(0), tirx.Not(tirx.isinf(near)), tirx.Not(tirx.isnan(near)))
    towards = tirx.Select(tirx.abs(back) < tirx.abs(wide), bits + _u32(1), bits - _u32(1))
    return tirx.reinterpret("float32", tirx.Select(off, towards, bits))


def converted(x: Any, kind: str, *, saturate: bool = True, mode: str = "up") -> Any:
    """An element as one of type `kind`, held, as ONNX's Cast says: integers lose their high bits, floats their fractions."""
    source = fn.dtype(x)
    if kind == "bool":
        return tirx.any(tirx.isnan(x), x != fn.number(0, x)) if "float" in source else x != fn.number(0, x)
    if kind in _FLOATS:
        return rounded(single(x), kind, saturate=saturate, mode=mode)
    if "int" in kind and "float" in source:
        x = fn.bound(x, lambda v: _whole(v, kind))
    return narrowed(x, kind) if kind in _INTEGERS else x.astype(kind)


def _whole(x: Any, kind: str) -> Any:
    """A float without its fraction, as an integer with the low bits of `kind`: undefined in ONNX where it does not fit."""
    if kind == "uint64":
        return tirx.Select(x < fn.number(0, x), x.astype("int64").astype("uint64"), x.astype("uint64"))
    return x.astype("int64" if kind in ("int64", "uint32") else "int32")


def load(ctx: Any, var: Any, kind: str) -> Any:
    """A variable of raw bits as a held operand."""
    if held(kind) == kind:
        return var
    return ctx.te("load", lambda x: te.compute(x.shape, lambda *i: decoded(x(*i), kind), name="load"), var)


def store(ctx: Any, var: Any, kind: str) -> Any:
    """A held variable as one of raw bits."""
    if held(kind) == kind:
        return var
    return ctx.te("store", lambda x: te.compute(x.shape, lambda *i: encoded(x(*i), kind), name="store"), var)


def fit(ctx: Any, var: Any, kind: str) -> Any:
    """A variable computed in float32, rounded to what its own type has. What follows is not fused: each rounding in an
    expression makes it several times as long, and to compile a chain of ten would take minutes."""
    return ctx.te("rounded", lambda x: te.compute(x.shape, lambda *i: rounded(x(*i), kind), name="rounded"), var, pattern=_LAST)
