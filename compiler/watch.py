"""What values hold that numbers should not: NaN and infinities where they first appear, saturation, and what nears overflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from optc.compiler import ir
from optc.compiler.numerics import Array

SATURATION = 0.01
"""The share of a value's elements at the ends of its range from which it is reported."""
NEAR = 0.5
"""A float16 value is near overflow from this part of the largest float16 on."""

_HALF = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
_ZERO_POINTS = {"QuantizeLinear": 2, "QLinearConv": 7, "QLinearMatMul": 7}  # operator -> the input that is its result's
_MAX = {ir.DataType.FLOAT16: 65504.0, ir.DataType.BFLOAT16: float(2.0**128 - 2.0**120)}


_SIDES = ("result", "both", "source")

Kind = Literal["nan", "inf", "saturated", "near overflow"]


@dataclass(frozen=True)
class Ends:
    """The range that a value is clipped to; None: no end, or one that a rectifier is meant to reach."""

    low: float | None = None
    high: float | None = None


@dataclass
class Seen:
    """What was seen of a value, gathered sample by sample. `largest` is the largest finite magnitude."""

    ends: Ends = Ends()
    elements: int = 0
    nan: int = 0
    infinite: int = 0
    at_ends: int = 0
    largest: float = 0.0

    def add(self, array: Array) -> None:
        self.elements += array.size
        if array.dtype.kind not in "fiu":
            return
        if array.dtype.kind == "f":
            finite = np.isfinite(array)
            if not finite.all():
                self.nan += int(np.count_nonzero(np.isnan(array)))
                self.infinite += int(np.count_nonzero(np.isinf(array)))
                array = array[finite]
        if not array.size:
            return
        for end, reached in ((self.ends.low, np.less_equal), (self.ends.high, np.greater_equal)):
            if end is not None:
                self.at_ends += int(np.count_nonzero(reached(array, end)))
        if array.dtype.kind == "f":
            self.largest = max(self.largest, float(np.abs(array).max()))

    @property
    def saturated(self) -> float:
        return self.at_ends / self.elements if self.elements else 0.0


@dataclass(frozen=True)
class Finding:
    """Something to look at. `side` says in which model; `share` is the part of the value's elements (of its magnitude's limit,
    where it is near overflow); `source` the share in the source's value, where there is one."""

    kind: Kind
    side: Literal["source", "result", "both"]
    value: str
    node: str
    op_type: str
    share: float
    source: float | None
    detail: str


def ends(value: ir.Value) -> Ends:
    """The ends of a value's range: of Clip, of quantized integers, of half precision."""
    node = value.producer()
    if node is None:
        return Ends()
    if ir.standard(node, "Clip"):
        low, high = (_bound(node, i, name) for i, name in ((1, "min"), (2, "max")))
        return Ends(low or None, high or None)  # 0: a rectifier
    if value.dtype in _HALF:
        return Ends(-_MAX[value.dtype], _MAX[value.dtype])
    zero = _zero_point(value)
    if value.dtype is None or not value.dtype.is_integer() or value.dtype.bitwidth > 8 or zero is None:
        return Ends()
    signed, bits = value.dtype.is_signed(), value.dtype.bitwidth
    low_end = -(2 ** (bits - 1)) if signed else 0
    return Ends(None if zero == low_end else low_end, low_end + 2**bits - 1)


def findings(
    before: Mapping[ir.Value, Seen], after: Mapping[ir.Value, Seen], twins: Mapping[ir.Value, ir.Value], saturation: float
) -> list[Finding]:
    """What is worth a look: in the result alone, in both, in the source alone; each in topological order.

    `twins` leads from a value of the result to that of the source. NaN and infinities are reported where no input of the node
    has any; in the result, where the source's value has none.
    """
    mine = _flags(after, "result", saturation)
    theirs = _flags(before, "source", saturation)
    told: list[Finding] = []
    shared: set[tuple[str, ir.Value]] = set()
    for (kind, value), finding in mine.items():
        twin = twins.get(value)
        if twin is None:
            told.append(finding)
            continue
        share = _share(kind, before[twin])
        if (kind, twin) in theirs:
            shared.add((kind, twin))
            told.append(replace(finding, side="both", source=share))
        elif kind in ("saturated", "near overflow") or not share:
            told.append(replace(finding, source=share))
    told += [finding for key, finding in theirs.items() if key not in shared]
    return sorted(told, key=lambda finding: _SIDES.index(finding.side))


def _flags(
    seen: Mapping[ir.Value, Seen], side: Literal["source", "result"], saturation: float
) -> dict[tuple[str, ir.Value], Finding]:
    found: dict[tuple[str, ir.Value], Finding] = {}

    def tell(kind: Kind, value: ir.Value, node: ir.Node, share: float, detail: str) -> None:
        found[kind, value] = Finding(kind, side, value.name or "", node.name or "", node.op_type, share, None, detail)

    for value, held in seen.items():
        node = value.producer()
        if node is None:
            continue
        read = [seen[v] for v in node.inputs if v is not None and v in seen]
        if held.nan and not any(r.nan for r in read):
            tell("nan", value, node, held.nan / held.elements, f"{held.nan} of {held.elements} elements")
        if held.infinite and not any(r.infinite for r in read):
            tell("inf", value, node, held.infinite / held.elements, f"{held.infinite} of {held.elements} elements")
        if held.saturated > saturation:
            tell(
                "saturated",
                value,
                node,
                held.saturated,
                f"{held.at_ends} of {held.elements} elements at the ends of {_range(held.ends)}",
            )
        largest = max([held.largest, *(r.largest for r in read if ir.standard(node, "Cast"))])
        if value.dtype == ir.DataType.FLOAT16 and largest >= NEAR * _MAX[ir.DataType.FLOAT16]:
            tell(
                "near overflow",
                value,
                node,
                largest / _MAX[ir.DataType.FLOAT16],
                f"magnitudes up to {largest:.4g}, float16 ends at 65504",
            )
    return found


def _share(kind: str, held: Seen) -> float:
    if kind == "near overflow":
        return held.largest / _MAX[ir.DataType.FLOAT16]
    count = {"nan": held.nan, "inf": held.infinite, "saturated": held.at_ends}[kind]
    return count / held.elements if held.elements else 0.0


def _range(held: Ends) -> str:
    return " and ".join(f"{end:.6g}" for end in (held.low, held.high) if end is not None)


def _bound(node: ir.Node, index: int, name: str) -> float | None:
    held = ir.const(node.inputs[index]) if index < len(node.inputs) else ir.attribute(node, name)
    return None if held is None else float(np.asarray(held).ravel()[0])


def _zero_point(value: ir.Value) -> int | None:
    """The zero point of a quantized value (of several: the least); None where it is not quantized, or by what the data say."""
    producer = value.producer()
    around = [] if producer is None else [(producer, _ZERO_POINTS.get(producer.op_type))]
    around += [(c, 2) for c, i in value.uses() if ir.standard(c, "DequantizeLinear") and i == 0]
    for node, index in around:
        if index is None:
            continue
        if index >= len(node.inputs) or node.inputs[index] is None:
            return 0
        held = ir.const(node.inputs[index])
        if held is not None and held.size:
            return int(held.min())
    return None
