"""Softmax along the last axis: whole vectors, whatever the extent."""

from collections.abc import Sequence
from typing import Any

from tvm import te, tirx

from optc.targets.tvm.compute.kernel import Extent, Kernel, static
from optc.targets.tvm.machine import Machine


def softmax(machine: Machine, shape: Sequence[Extent]) -> Kernel:
    """float32 x[..., K] -> exp(x - max) / sum, rows apart; K may be symbolic. NaN in a row makes the row NaN.

    A row is cut into vectors, the last filled with -inf; each lane is reduced apart, then the lanes.
    """
    lanes = machine.lanes()

    def compute(x: Any) -> Any:
        *lead, extent = x.shape
        vectors = (extent + lanes - 1) // lanes
        known = static(extent)
        whole = known is not None and known % lanes == 0
        marked = {"optc.lanes": 1}

        def element(*i: Any) -> Any:
            return x[(*i[:-2], i[-2] * lanes + i[-1])]

        def filled(*i: Any) -> Any:
            return tirx.if_then_else(i[-2] * lanes + i[-1] < extent, element(*i), -tirx.infinity("float32"))

        row = element if whole else te.compute((*lead, vectors, lanes), filled, name="filled", attrs={"optc.stage": "row"})
        b = te.reduce_axis((0, vectors), name="b")
        high = te.compute((*lead, lanes), lambda *i: te.max(row(*i[:-1], b, i[-1]), axis=b), name="high", attrs=marked)
        k = te.reduce_axis((0, lanes), name="k")
        peak = te.compute(tuple(lead), lambda *i: te.max(high[(*i, k)], axis=k), name="peak")
        power = te.compute((*lead, vectors, lanes), lambda *i: tirx.exp(row(*i) - peak(*i[:-2])), name="power")
        c = te.reduce_axis((0, vectors), name="c")
        part = te.compute((*lead, lanes), lambda *i: te.sum(power[(*i[:-1], c, i[-1])], axis=c), name="part", attrs=marked)
        j = te.reduce_axis((0, lanes), name="j")
        total = te.compute(tuple(lead), lambda *i: te.sum(part[(*i, j)], axis=j), name="total")
        return te.compute(x.shape, lambda *i: power[(*i[:-1], i[-1] // lanes, i[-1] % lanes)] / total(*i[:-1]), name="out")

    return Kernel((), compute)
