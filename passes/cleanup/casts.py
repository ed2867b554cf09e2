"""Rules of canonicalize for casts: what loses nothing on the way is not gone twice."""

from __future__ import annotations

from typing import Any

from optc.compiler import ir
from optc.compiler.rewrite import Builder, Refuse, Rule
from optc.passes.cleanup.operands import one_node

_FLOATS = {"FLOAT16": (11, 5), "BFLOAT16": (8, 8), "FLOAT": (24, 8), "DOUBLE": (53, 11)}
"""Digits, hidden one included, and bits of the exponent."""
_INTEGERS = {f"{sign}INT{bits}": (not sign, bits) for sign in ("", "U") for bits in (4, 8, 16, 32, 64)}
"""Signed, and bits."""


def exact(source: ir.DataType, to: ir.DataType) -> bool:
    """Whether every value of a dtype is one of another dtype."""
    a, b = source.name, to.name
    if a == b:
        return True
    if a == "BOOL":
        return b in _FLOATS or b in _INTEGERS
    if a in _FLOATS and b in _FLOATS:
        return all(m <= n for m, n in zip(_FLOATS[a], _FLOATS[b], strict=True))
    if a in _INTEGERS and b in _INTEGERS:
        (signed, bits), (to_signed, to_bits) = _INTEGERS[a], _INTEGERS[b]
        return bits + (to_signed and not signed) <= to_bits and (to_signed or not signed)
    if a in _INTEGERS and b in _FLOATS:
        signed, bits = _INTEGERS[a]
        return bits - signed <= _FLOATS[b][0] and bits < 2 ** (_FLOATS[b][1] - 1)
    return False


def _cast(op: Builder, x: ir.Value, node: ir.Node) -> Any:
    to = ir.DataType(ir.attribute(node, "to"))
    if x.dtype == to:
        return x
    inner = x.producer()
    source = inner.inputs[0] if inner is not None and ir.standard(inner, "Cast") else None
    if inner is None or source is None or source.dtype is None or x.dtype is None:
        return None
    if not exact(source.dtype, x.dtype):
        return Refuse(f"{source.dtype.name} -> {x.dtype.name} may lose something")
    if source.dtype == to:
        return source
    through_float = x.dtype.name in _FLOATS and to.name in _INTEGERS
    if through_float and not exact(source.dtype, to):
        return Refuse(f"what {source.dtype.name} beyond the range of {to.name} becomes depends on the way")
    op.also(inner)
    return op.Cast(source, to=int(to))


def _cast_like(op: Builder, x: ir.Value, a: ir.Value, node: ir.Node) -> Any:
    if a.dtype is None:
        return Refuse(f"the type of '{a.name}' is unknown")
    return x if x.dtype == a.dtype else op.Cast(x, to=int(a.dtype), saturate=ir.attribute(node, "saturate"))


CASTS: tuple[Rule, ...] = (
    Rule("cast-of-cast", one_node("Cast", 1), _cast),
    Rule("cast-like", one_node("CastLike", 2), _cast_like),
)
