"""Matrix products of two activations: A[..., M, K] x B[..., K, N], B packed as it is read."""

from collections.abc import Sequence
from typing import Any

from tvm import te, tirx

from optc.targets.tvm.compute.kernel import Extent, Kernel, round_up, static
from optc.targets.tvm.compute.tile import choose, fills, whole_rows
from optc.targets.tvm.machine import Machine

_TYPICAL_COLUMNS = 16  # stands for a symbolic extent: wider tiles would be filled up too often


def product(machine: Machine, rows: Extent, columns: Extent) -> Kernel:
    """float32 A[..., M, K] x B[..., K, N] -> [..., M, N] for M `rows` and N `columns`; leading dimensions broadcast.

    For each block of columns B is packed [K, width], the last filled up with zeros, and read by all tiles of rows. Any extent may
    be symbolic.
    """
    tile = choose(machine, rows, static(columns) or _TYPICAL_COLUMNS)

    def compute(a: Any, b: Any) -> Any:
        (*outer, m, depth), (*inner, _, n) = a.shape, b.shape
        width, high = tile.width, round_up(m, tile.mr)
        blocks = round_up(n, width) // width

        def pack(*i: Any) -> Any:
            column = i[-3] * width + i[-1]
            value = b[(*i[:-3], i[-2], column)]
            return value if fills(n, width) else tirx.if_then_else(column < n, value, tirx.const(0, b.dtype))

        packed = te.compute((*inner, blocks, depth, width), pack, name="pack", attrs={"optc.stage": "columns"})
        rows = whole_rows(a, len(outer), tile.mr)
        k = te.reduce_axis((0, depth), name="k")

        def total(*i: Any) -> Any:
            one, two = _within(i[:-2], outer), _within(i[:-2], inner)
            return te.sum(rows[(*one, i[-2], k)] * packed[(*two, i[-1] // width, k, i[-1] % width)], axis=k)

        lead = _broadcast(outer, inner)
        attributes = dict(tile.attributes("tile", len(lead)))
        acc = te.compute((*lead, high, blocks * width), total, name="acc", attrs=attributes)
        return te.compute((*lead, m, n), lambda *i: acc[i], name="out")

    return Kernel((), compute)


def _within(place: Sequence[Any], dims: Sequence[Extent]) -> list[Any]:
    """A place of the result among an operand's leading dimensions: the first where it has one for all."""
    behind = place[len(place) - len(dims) :]
    return [tirx.const(0, "int64") if static(dim) == 1 else i for i, dim in zip(behind, dims, strict=True)]


def _broadcast(one: Sequence[Extent], two: Sequence[Extent]) -> list[Extent]:
    """The leading dimensions of the result; extents that neither is 1 are equal."""
    rank = max(len(one), len(two))
    filled = [[tirx.const(1, "int64")] * (rank - len(dims)) + list(dims) for dims in (one, two)]
    return [b if static(a) == 1 else a for a, b in zip(*filled, strict=True)]
