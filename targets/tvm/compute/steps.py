"""The statements of a recurrent layer's function: chunks of rows, steps of time, phases of the cell, tiles of hidden units."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from tvm import te, tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T  # noqa: N812

from optc.targets.tvm.compute.cells import CELL, H, Phase
from optc.targets.tvm.compute.kernel import Extent, static
from optc.targets.tvm.compute.recurrence import Recurrence


def run(layer: Recurrence, wanted: Sequence[str], parallel: bool) -> Callable[..., list[Any]]:
    """The compute function of named tensors and of the extents `steps` and `batch`.

    `x` [steps * batch, columns] (batch * steps with `batch_first`), biases included; `r0`, for a second phase `r1`
    [direction, block, hidden, gate, lane]; and where there are any: `rb` [direction, block * lane], R's bias of gates that are
    apart; `p` [direction, 3, block * lane]; `h0` and `c0` as ONNX has them; `lens` [batch]. Results are the workspace, then what
    of `y`, `h` and `c` is `wanted`, in ONNX's shapes.
    """

    def compute(names: Sequence[str], tensors: Sequence[Any], steps: Extent, batch: Extent) -> list[Any]:
        directions, hidden = len(layer.reversed), layer.hidden
        last = (batch, directions, hidden) if layer.batch_first else (directions, batch, hidden)
        whole = (batch, steps, directions, hidden) if layer.batch_first else (steps, directions, batch, hidden)
        shapes = {"y": whole, "h": last, "c": last}
        work = (layer.cell.slots, directions, batch, layer.blocks * layer.lanes)

        def body(ins: Sequence[Any], outs: Sequence[Any]) -> Any:
            held = {**dict(zip(names, ins, strict=True)), **dict(zip(("work", *wanted), outs, strict=True))}
            return _Writer(layer, held, steps, batch).function(parallel)

        results = [work, *[shapes[name] for name in wanted]]
        return list(te.extern(results, list(tensors), body, name="recurrence", dtype=[layer.dtype] * len(results)))

    return compute


@dataclass(frozen=True)
class _Row:
    """A row of the batch at one step: whether its sequence goes on, and which element of it this is."""

    index: Any
    live: Any  # None: always
    time: Any


class _Writer:
    """Writes the function's statements."""

    def __init__(self, layer: Recurrence, held: dict[str, Any], steps: Extent, batch: Extent) -> None:
        self.layer, self.held, self.steps, self.batch = layer, held, steps, batch
        self.rows = layer.tile_rows(batch)
        self.direction: Any = 0
        self.old: Any = 0  # the slot of h of the last step

    def function(self, parallel: bool) -> Any:
        """Chunks of some tiles of rows; the rows that fill no tile are chunks of their own."""
        tiles, whole = self.layer.tiles(), tirx.floordiv(_int(self.batch), self.rows)
        shared = tirx.floordiv(whole + tiles - 1, tiles)
        chunks = shared + tirx.floormod(_int(self.batch), self.rows)
        known = static(self.batch)
        agree = tirx.EQ(_int(self.held["x"].shape[0]), _int(self.steps) * _int(self.batch))
        with IRBuilder() as builder, T.Assert(agree, "the batch of the states or lengths is not the input's", "ValueError"):
            loop = T.parallel if parallel else T.serial
            with loop(0, chunks * len(self.layer.reversed)) as chunk:
                self.direction = T.Bind(tirx.floordiv(chunk, chunks))
                at = T.Bind(tirx.floormod(chunk, chunks))
                count = tirx.min(_int(tiles), whole - at * tiles) if tiles > 1 else _int(1)
                if self.rows == 1 or (known is not None and known % self.rows == 0):
                    self._chunk(at * (tiles * self.rows), count, self.rows)
                else:
                    with T.If(at < shared):
                        with T.Then():
                            self._chunk(at * (tiles * self.rows), count, self.rows)
                        with T.Else():
                            self._chunk(whole * self.rows + at - shared, _int(1), 1)
        return builder.get()

    def _chunk(self, first: Any, tiles: Any, rows: int) -> None:
        """All steps of some tiles of `rows` rows, as many as the longest of them has."""
        base, count = T.Bind(first), T.Bind(tiles * rows)
        with T.serial(0, count) as r:
            self._start(base + r)
        longest = self._longest(base, count)
        with T.serial(0, longest) as step:
            self.old = T.Bind(tirx.floormod(step, 2))
            for number, phase in enumerate(self.layer.cell.phases):
                with T.serial(0, self.layer.blocks // self.layer.together(phase, rows)) as group, T.serial(0, tiles) as tile:
                    at = [self._row(base + tile * rows + r, step) for r in range(rows)]
                    self._phase(phase, self.held[f"r{number}"], at, group)
            if "y" in self.held:
                with T.serial(0, count) as r:
                    row = self._row(base + r, step)
                    self._output(row.index, row.time, partial(self._state, row))
        if "y" in self.held and "lens" in self.held:
            with T.serial(0, _int(self.steps) - longest) as step, T.serial(0, count) as r:
                self._output(base + r, longest + step, lambda _: tirx.const(0, self.layer.dtype))
        with T.serial(0, count) as r:
            self._finish(base + r, longest)

    def _longest(self, base: Any, count: Any) -> Any:
        """The steps of the longest of the rows."""
        if "lens" not in self.held:
            return _int(self.steps)
        most = T.alloc_buffer((1,), "int64")
        T.buffer_store(most, _int(0), [0])
        with T.serial(0, count) as r:
            T.buffer_store(most, tirx.max(most[0], self._length(base + r)), [0])
        return T.Bind(most[0])

    def _length(self, row: Any) -> Any:
        """The steps of a row."""
        if "lens" not in self.held:
            return _int(self.steps)
        return tirx.min(tirx.max(self.held["lens"][row].astype("int64"), _int(0)), _int(self.steps))

    def _row(self, index: Any, step: Any) -> _Row:
        """Backwards, a row starts from the end of its own sequence; the elements after it come last, where nothing happens."""
        row, length = T.Bind(index), T.Bind(self._length(index))
        live = T.Bind(step < length) if "lens" in self.held else None
        back = length - 1 - step if live is None else tirx.Select(live, length - 1 - step, step)
        if all(self.layer.reversed):
            time = back
        elif any(self.layer.reversed):
            time = tirx.Select(self.direction == self.layer.reversed.index(True), back, step)
        else:
            time = step
        return _Row(row, live, T.Bind(time))

    def _start(self, row: Any) -> None:
        """The initial states, or zeros."""
        hidden, zero = self.layer.hidden, tirx.const(0, self.layer.dtype)
        for slot, name in ((0, "h0"), (CELL, "c0"))[: 2 if self.layer.cell.carries else 1]:
            given = self.held.get(name)
            with T.serial(0, self.layer.blocks * self.layer.lanes) as j:
                value = zero if given is None else tirx.if_then_else(j < hidden, given[self._last(row, j)], zero)
                T.buffer_store(self.held["work"], value, [slot, self.direction, row, j])

    def _last(self, row: Any, j: Any) -> list[Any]:
        return [row, self.direction, j] if self.layer.batch_first else [self.direction, row, j]

    def _finish(self, row: Any, steps: Any) -> None:
        """The last states; zeros, as in onnxruntime, for a sequence of no steps beside others."""
        for name, slot in (("h", tirx.floormod(steps, 2)), ("c", CELL)):
            if name in self.held:
                with T.serial(0, self.layer.hidden) as j:
                    value = self.held["work"][slot, self.direction, row, j]
                    if "lens" in self.held:
                        value = tirx.Select(self._length(row) > 0, value, tirx.const(0, self.layer.dtype))
                    T.buffer_store(self.held[name], value, self._last(row, j))

    def _state(self, row: _Row, j: Any) -> Any:
        """h after this step; zero after the end of the row's sequence."""
        value = self.held["work"][1 - self.old, self.direction, row.index, j]
        return value if row.live is None else tirx.Select(row.live, value, tirx.const(0, self.layer.dtype))

    def _output(self, row: Any, time: Any, value: Callable[[Any], Any]) -> None:
        d = self.direction
        with T.serial(0, self.layer.hidden) as j:
            T.buffer_store(self.held["y"], value(j), [row, time, d, j] if self.layer.batch_first else [time, d, row, j])

    def _phase(self, phase: Phase, weights: Any, rows: Sequence[_Row], group: Any) -> None:
        """A phase of some blocks of hidden units of a tile's rows."""
        layer, gates = self.layer, len(phase.gates)
        together = layer.together(phase, len(rows))
        source = self.old if phase.source == H else phase.source
        units = [[_Unit(self, row, group * together + b, gates) for b in range(together)] for row in rows]
        for unit in (u for row_units in units for u in row_units):
            for gate in range(gates):
                with unit.lanes():
                    number = phase.gates[gate]
                    unit.put(gate, unit.bias() if number in phase.apart else unit.x(number))
        with T.serial(0, layer.hidden) as k:
            for row, row_units in zip(rows, units, strict=True):
                for unit in row_units:
                    for gate in range(gates):
                        with unit.lanes() as v:
                            state = self.held["work"][source, self.direction, row.index, k]
                            weight = weights[self.direction, unit.block, k, gate, v]
                            unit.put(gate, unit.gate(gate) + state * weight)
        for unit in (u for row_units in units for u in row_units):
            with unit.lanes():
                phase.equations(unit)


class _Unit:
    """A cell's view (cells.Unit) of a vector of hidden units of one row."""

    def __init__(self, writer: _Writer, row: _Row, block: Any, gates: int) -> None:
        self.writer, self.row, self.block = writer, row, block
        # A buffer of its own: TVM puts those below a kilobyte, not "local" ones, on the stack, and LLVM into registers.
        self.acc = T.alloc_buffer((gates, writer.layer.lanes), writer.layer.dtype)
        self.v: Any = None

    @contextmanager
    def lanes(self) -> Iterator[Any]:
        """A vector loop; inside it the unit's values are of its lanes."""
        with T.vectorized(0, self.writer.layer.lanes) as self.v:
            yield self.v

    def _units(self) -> Any:
        return self.block * self.writer.layer.lanes + self.v

    def gate(self, index: int) -> Any:
        return self.acc[index, self.v]

    def put(self, index: int, value: Any) -> Any:
        T.buffer_store(self.acc, value, [index, self.v])
        return self.gate(index)

    def x(self, gate: int) -> Any:
        w = self.writer
        row = self.row.index * w.steps + self.row.time if w.layer.batch_first else self.row.time * w.batch + self.row.index
        block = (w.direction * w.layer.blocks + self.block) * w.layer.cell.gates + gate
        return w.held["x"][row, block * w.layer.lanes + self.v]

    def bias(self) -> Any:
        return self.writer.held["rb"][self.writer.direction, self._units()]

    def peephole(self, index: int) -> Any:
        return self.writer.held["p"][self.writer.direction, index, self._units()]

    def load(self, slot: int) -> Any:
        w = self.writer
        return w.held["work"][w.old if slot == H else slot, w.direction, self.row.index, self._units()]

    def store(self, slot: int, value: Any) -> None:
        self._set(slot, slot, value)

    def hidden(self, value: Any) -> None:
        self._set(1 - self.writer.old, H, value)

    def _set(self, slot: Any, before: int, value: Any) -> None:
        w = self.writer
        kept = value if self.row.live is None else tirx.Select(self.row.live, value, self.load(before))
        T.buffer_store(w.held["work"], kept, [slot, w.direction, self.row.index, self._units()])

    def act(self, index: int, value: Any) -> Any:
        limit = self.writer.layer.clip
        if limit is not None:
            bound = tirx.const(limit, self.writer.layer.dtype)
            value = tirx.Select(value < -bound, -bound, tirx.Select(value > bound, bound, value))
        return self.activate(index, value)

    def activate(self, index: int, value: Any) -> Any:
        first, *others = [functions[index] for functions in self.writer.layer.activations]
        if all(f is first for f in others):
            return first(value)
        return tirx.Select(self.writer.direction == 0, first(value), others[0](value))


def _int(value: Extent) -> Any:
    return tirx.const(value, "int64") if isinstance(value, int) else value
