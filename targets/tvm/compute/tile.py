"""The register tile: `mr` rows (pixels) by `nv` vectors of `lanes` output channels whose sums stay in registers."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tvm import te, tirx

from optc.targets.tvm.compute.kernel import Extent, round_up, static
from optc.targets.tvm.machine import Machine

_LATENCY = 8  # independent multiply-adds that keep two units busy: 4 cycles each
_LOAD, _WEIGHTS = 0.25, 0.75  # what a load, and a load of weights, costs beside a multiply-add
_TYPICAL = (8, 16, 24, 32, 48, 50, 64, 100, 128)  # extents that a symbolic row count is judged by
_SYMBOLIC_ROWS = 8  # of a tile where the extent is symbolic: code is made for each number of rows up to it


@dataclass(frozen=True)
class Tile:
    """The tile of a kernel; the schedule rule reads it from the annotations of the accumulating block."""

    mr: int
    nv: int
    lanes: int

    @property
    def width(self) -> int:
        """Output channels of one tile: what packed weights are padded to."""
        return self.nv * self.lanes

    def attributes(self, kind: str, axis: int) -> Mapping[str, Any]:
        """Block attributes naming the schedule rule, the tile, and the axis the rows lie on."""
        return {"optc.kind": kind, "optc.tile": [self.mr, self.nv, self.lanes], "optc.axis": axis}


def fills(extent: Extent, size: int) -> bool:
    """Whether tiles of that size surely fill the extent."""
    known = static(extent)
    return known is not None and known % size == 0


def whole_rows(x: Any, axis: int, mr: int) -> Any:
    """x with its rows, along `axis`, filled up with zeros to whole tiles."""
    rows = x.shape[axis]
    if fills(rows, mr):
        return x
    shape = [round_up(extent, mr) if i == axis else extent for i, extent in enumerate(x.shape)]

    def filled(*i: Any) -> Any:
        return tirx.if_then_else(i[axis] < rows, x[i], tirx.const(0, x.dtype))

    return te.compute(tuple(shape), filled, name="rows", attrs={"optc.stage": "tile"})


def lanes_for(machine: Machine, channels: int) -> int:
    """Vector lanes for that many channels: a whole register unless a shorter one holds them all."""
    lanes = machine.lanes()
    while lanes > 4 and lanes // 2 >= channels:
        lanes //= 2
    return lanes


CANDIDATES = 4
"""Tiles that measuring chooses among."""


def choose(machine: Machine, rows: Extent, channels: int, most: int = 32, rank: int = 0) -> Tile:
    """The tile with the fewest cycles for `rows` x `channels`, waste of the last tiles included; or the one of that rank, below
    `CANDIDATES`.

    `most` bounds the rows of the tile.

    A step of the reduction costs `mr * nv` multiply-adds on two units; its `mr` broadcasts and `nv` loads of weights, which come
    from the second-level cache, hide behind them in part. The two weights were fitted to measured tiles.
    """
    return _best(machine, rows, channels, lanes_for(machine, channels), most, rank=rank)


def of_group(machine: Machine, rows: Extent, channels: int, rank: int = 0) -> Tile:
    """The tile of a grouped convolution, `channels` of a group: it divides them, if vectors of a whole or half register do."""
    lanes = math.gcd(channels, machine.lanes())
    if lanes < machine.lanes() // 2:
        return choose(machine, rows, channels, rank=rank)
    return _best(machine, rows, channels, lanes, whole=True, rank=rank)


def _best(machine: Machine, rows: Extent, channels: int, lanes: int, most: int = 32, whole: bool = False, rank: int = 0) -> Tile:
    """The best tile with vectors of that many lanes; `whole`: of those that divide the channels."""
    vectors = -(-channels // lanes)
    known = static(rows)
    samples = [known] if known is not None else list(_TYPICAL)

    def step(mr: int, nv: int) -> float:
        return max(mr * nv, mr + nv, _LATENCY) + _LOAD * (mr + nv) + _WEIGHTS * nv if mr else 0.0

    def cost(tile: tuple[int, int]) -> float:
        mr, nv = tile
        if known is None:  # the last tile has the rows that are left
            column = sum((r // mr * step(mr, nv) + step(r % mr, nv)) / r for r in samples)
        else:
            column = -(-known // mr) / known * step(mr, nv)
        return round(column * -(-vectors // nv), 6)

    limit = min(most, known or _SYMBOLIC_ROWS)
    tiles = [
        (mr, nv)
        for nv in range(1, min(vectors, 8) + 1)
        for mr in range(1, limit + 1)
        if mr * nv + nv + 1 <= machine.registers and not (whole and vectors % nv)
    ]
    mr, nv = sorted(tiles, key=cost)[:CANDIDATES][min(rank, len(tiles) - 1)] if rank else min(tiles, key=cost)
    return Tile(mr, nv, lanes)
