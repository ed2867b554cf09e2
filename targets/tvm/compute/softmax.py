"""Softmax along the last axis: whole vectors, whatever the extent."""

from collections.abc import Sequence
from typing import Any

from tvm import te, tirx

from optc.targets.tvm.compute.kernel import Extent, Kernel, static
from optc.targets.tvm.machine import Machine


def softmax(machine: Machine, shape: Sequence[Extent], stored: str = "float32") -> Kernel:
    """float32 x[..., K] -> exp(x - max) / sum, rows apart; K may be symbolic. NaN in a row makes the row NaN.

    A row is cut into vectors, the last filled with -inf; each lane is reduced apart, then the lanes. What ONNX's definition
    stores, the differences, powers and sums, is rounded to the type `stored`.
    """
    lanes = machine.lanes()

    def kept(value: Any) -> Any:
        return value if stored == "float32" else value.astype(stored).astype("float32")

    def compute(x: Any) -> Any:
        *lead, extent = x.shape
        vectors = (extent + lanes - 1) // lanes
        known = static(extent)
        marked = {"optc.lanes": lanes}

        def filled(*i: Any) -> Any:
            return tirx.if_then_else(i[-1] < extent, x[i], -tirx.infinity("float32"))

        row, whole = x, (*lead, vectors * lanes)
        if known is None or known % lanes:
            row = te.compute(whole, filled, name="filled", attrs={"optc.stage": "row"})
        b, c = te.reduce_axis((0, vectors), name="b"), te.reduce_axis((0, vectors), name="c")
        k, j = te.reduce_axis((0, lanes), name="k"), te.reduce_axis((0, lanes), name="j")
        across = (*lead, lanes)
        high = te.compute(across, lambda *i: te.max(row[(*i[:-1], b * lanes + i[-1])], axis=b), name="high", attrs=marked)
        peak = te.compute(tuple(lead), lambda *i: te.max(high[(*i, k)], axis=k), name="peak")
        power = te.compute(whole, lambda *i: kept(tirx.exp(kept(row[i] - peak(*i[:-1])))), name="power", attrs=marked)
        part = te.compute(across, lambda *i: te.sum(power[(*i[:-1], c * lanes + i[-1])], axis=c), name="part", attrs=marked)
        total = te.compute(tuple(lead), lambda *i: te.sum(part[(*i, j)], axis=j), name="total")
        return te.compute(x.shape, lambda *i: power[i] / kept(total(*i[:-1])), name="out")

    return Kernel((), compute)
