"""A recurrent layer after its product with the input: one function that runs through time, gates in registers.

A thread takes a few rows of the batch through all steps, so threads never wait for each other. In a step, a tile is `rows` rows
by some vectors of hidden units, each with all gates of a phase: their sums stay in registers while h x R is added, R packed so
that they lie side by side, and the cell's equations follow at once.
"""

from __future__ import annotations

from dataclasses import dataclass

from optc.targets.tvm.compute.cells import Activation, Cell, Phase
from optc.targets.tvm.compute.kernel import Extent, static
from optc.targets.tvm.compute.tile import lanes_for
from optc.targets.tvm.machine import Machine

_ROWS = 4  # of a tile where the batch is known only at run time; what is left over runs row by row
_TILES = 2  # more would share more, and leave less for other threads
_LATENCY = 8  # independent multiply-adds that keep two units busy


@dataclass(frozen=True)
class Recurrence:
    """One layer: `reversed` and `activations` (f, g, h) have an entry for each direction; `clip` may be None."""

    cell: Cell
    hidden: int
    lanes: int
    dtype: str
    registers: int
    cache: int  # bytes of the second level
    reversed: tuple[bool, ...]
    activations: tuple[tuple[Activation, ...], ...]
    clip: float | None
    batch_first: bool

    @property
    def blocks(self) -> int:
        """Vectors of hidden units; the last one is padded."""
        return -(-self.hidden // self.lanes)

    @property
    def columns(self) -> int:
        """What the product with the input has: [direction, block, gate, lane]."""
        return len(self.reversed) * self.blocks * self.cell.gates * self.lanes

    def tile_rows(self, batch: Extent) -> int:
        """Rows of the batch that run together: as many as registers hold, without a rest where the batch is known."""
        widest = max(len(phase.gates) for phase in self.cell.phases)
        most = max(1, min(8, (self.registers - widest - 1) // widest))
        known = static(batch)
        if known is None:
            return min(_ROWS, most)
        tiles = -(-max(known, 1) // most)
        return next((rows for rows in range(most, 1, -1) if known % rows == 0), max(1, known // tiles))

    def tiles(self) -> int:
        """Tiles of rows that share what is read of R: several where R does not stay in cache from step to step."""
        size = self.hidden * self.blocks * self.lanes * self.cell.gates * (8 if self.dtype == "float64" else 4)
        return _TILES if size > self.cache // 2 else 1

    def together(self, phase: Phase, rows: int) -> int:
        """Blocks of hidden units in a tile: enough sums to hide the latency of one, and a divisor of the blocks."""
        gates = len(phase.gates)
        fitting = [n for n in range(1, self.blocks + 1) if self.blocks % n == 0 and n * gates * (rows + 1) < self.registers]
        enough = [n for n in fitting if n * gates * rows >= _LATENCY]
        return min(enough) if enough else max(fitting, default=1)


def vector(machine: Machine, hidden: int, dtype: str) -> int:
    """Lanes of the vectors of hidden units."""
    return min(lanes_for(machine, hidden), machine.lanes(64)) if dtype == "float64" else lanes_for(machine, hidden)
