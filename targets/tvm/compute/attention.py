"""softmax(scale·Q·Kᵀ + mask)·V by blocks of keys: no matrix of queries x keys is ever in memory.

For a block of queries, largest scores, sums and results are carried from block to block of keys, and scaled where a larger score
comes (Milakov, Gimelshein, "Online normalizer calculation for softmax", 2018; Dao et al., "FlashAttention", 2022).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as script

from optc.targets.tvm.compute.kernel import Extent, static
from optc.targets.tvm.machine import Machine

_TILES = 4  # tiles of rows in a block of queries: what shares a block of keys while that is in cache
_KEYS = 2  # blocks of columns that are packed together, in a block of keys


@dataclass(frozen=True)
class Tiles:
    """`rows` queries by `vectors` vectors of keys have their sums in registers; `lanes` for keys, `across` for results."""

    rows: int
    vectors: int
    lanes: int
    across: int

    @property
    def width(self) -> int:
        """Keys that are packed together."""
        return self.vectors * self.lanes

    @property
    def keys(self) -> int:
        """Keys of a block."""
        return self.width * _KEYS

    @property
    def queries(self) -> int:
        """Queries of a block."""
        return self.rows * _TILES


def tiles(machine: Machine, queries: Extent, keys: Extent, size: int) -> Tiles:
    """For so many queries and keys, and values of that size, which vectors of at least four divide."""
    rows, vectors = (6, 4) if machine.registers >= 32 else (4, 3)
    lanes, sums, known = machine.lanes(), rows * vectors, static(keys)
    if known is not None:
        vectors = max(1, min(vectors, -(-known // lanes)))
        rows = min(sums // vectors, 2 * rows)
    known = static(queries)
    if known is not None:  # as few rows as fill as many tiles
        rows = -(-known // -(-known // rows)) if known else 1
    return Tiles(rows, vectors, lanes, math.gcd(lanes, size))


@dataclass(frozen=True)
class Attention:
    """`heads` of queries share `groups` of keys and values; a query is `depth` long, a value `size`."""

    tiles: Tiles
    heads: int
    groups: int
    depth: int
    size: int
    scale: float
    causal: bool
    parallel: bool

    def packed(self, keys: Any) -> int | Any:
        """Blocks of columns that keys are packed in, whole blocks of keys."""
        return (keys + self.tiles.keys - 1) // self.tiles.keys * _KEYS

    def body(self, ins: Sequence[Any], outs: Sequence[Any]) -> None:
        """The statements: q, k, v and where there is one the mask; the result, and K packed [B, groups, blocks, depth, width].

        q, k, v are [B, S, heads · depth] or [B, heads, S, depth].
        """
        q, k, v, *mask = ins
        out, packed = outs
        batch, keys = q.shape[0], k.shape[-2]
        queries, loop = q.shape[-2], script.parallel if self.parallel else script.serial
        with loop(0, batch * self.groups * packed.shape[2]) as at:
            self._pack(k, packed, keys, *_split(at, self.groups, packed.shape[2]))
        blocks = (queries + self.tiles.queries - 1) // self.tiles.queries
        with loop(0, batch * self.heads * blocks) as at:
            place = _split(at, self.heads, blocks)
            _Block(self, q, packed, v, mask[0] if mask else None, out, (queries, keys), place).write()

    def _pack(self, k: Any, packed: Any, keys: Any, b: Any, g: Any, block: Any) -> None:
        with script.serial(0, self.tiles.width) as c, script.serial(0, self.depth) as d:
            t = block * self.tiles.width + c
            packed[b, g, block, d, c] = tirx.if_then_else(t < keys, _element(k, b, g, t, d, self.depth), _const(0.0))


class _Block:
    """The statements of one block of queries."""

    def __init__(
        self, layer: Attention, q: Any, packed: Any, v: Any, mask: Any, out: Any, extents: tuple[Any, Any], place: Sequence[Any]
    ) -> None:
        self.layer, self.tiles = layer, layer.tiles
        self.q, self.packed, self.v, self.mask, self.out = q, packed, v, mask, out
        self.queries, self.keys = extents
        self.b, self.h, block = (script.Bind(i) for i in place)
        self.g = script.Bind(self.h // (layer.heads // layer.groups))
        self.first = script.Bind(block * self.tiles.queries)
        self.count = script.Bind(tirx.min(tirx.const(self.tiles.queries, "int64"), self.queries - self.first))
        shapes = ((self.tiles.queries, self.tiles.keys), (self.tiles.queries, layer.size), *[(self.tiles.queries,)] * 3)
        self.scores, self.sums, self.high, self.total, self.factor = (_local(shape) for shape in shapes)

    def write(self) -> None:
        with script.serial(0, self.tiles.queries) as r:
            _store(self.high, -tirx.infinity("float32"), [r])
            _store(self.total, _const(0.0), [r])
            with script.serial(0, self.layer.size // self.tiles.across) as j, script.vectorized(0, self.tiles.across) as lane:
                _store(self.sums, _const(0.0), [r, j * self.tiles.across + lane])
        seen = tirx.min(self.keys, self.first + self.tiles.queries) if self.layer.causal else self.keys
        with script.serial(0, (seen + self.tiles.keys - 1) // self.tiles.keys) as block:
            start = script.Bind(block * self.tiles.keys)
            here = script.Bind(tirx.min(tirx.const(self.tiles.keys, "int64"), seen - start))
            whole = script.Bind((here + self.tiles.lanes - 1) // self.tiles.lanes)
            high = script.Bind((self.count + self.tiles.rows - 1) // self.tiles.rows)
            parts = (here + self.tiles.width - 1) // self.tiles.width
            with script.serial(0, high) as tile, script.serial(0, parts) as part:
                self._scores(block * _KEYS + part, tile, part)
            self._hide(start, here, whole)
            with script.serial(0, self.count) as r:
                self._powers(r, whole)
            with script.serial(0, high) as tile:
                self._mix(start, here, tile)
        with script.serial(0, self.count) as r:
            share = script.Bind(tirx.Select(self.total[r] == 0, _const(0.0), _const(1.0) / self.total[r]))
            with script.serial(0, self.layer.size // self.tiles.across) as j, script.vectorized(0, self.tiles.across) as lane:
                at = j * self.tiles.across + lane
                row = self.first + r
                where = (self.b, row, self.h * self.layer.size + at) if len(self.out.shape) == 3 else (self.b, self.h, row, at)
                self.out[where] = self.sums[r, at] * share

    def _scores(self, block: Any, tile: Any, part: Any) -> None:
        """scale · q · k of a tile of rows and one packed block of keys."""
        t = self.tiles
        acc = _local((t.rows, t.vectors, t.lanes))
        rows = [script.Bind(tirx.min(self.first + tile * t.rows + i, self.queries - 1)) for i in range(t.rows)]
        each = [(i, j) for i in range(t.rows) for j in range(t.vectors)]
        for i, j in each:
            with script.vectorized(0, t.lanes) as lane:
                _store(acc, _const(0.0), [i, j, lane])
        with script.serial(0, self.layer.depth) as d:
            for i, j in each:
                query = _element(self.q, self.b, self.h, rows[i], d, self.layer.depth)
                with script.vectorized(0, t.lanes) as lane:
                    key = self.packed[self.b, self.g, block, d, j * t.lanes + lane]
                    _store(acc, acc[i, j, lane] + query * key, [i, j, lane])
        for i, j in each:
            with script.vectorized(0, t.lanes) as lane:
                value = acc[i, j, lane] * _const(self.layer.scale)
                _store(self.scores, value, [tile * t.rows + i, part * t.width + j * t.lanes + lane])

    def _hide(self, start: Any, here: Any, whole: Any) -> None:
        """The mask, and -inf for keys that there are not, or that come later."""
        t, hidden = self.tiles, -tirx.infinity("float32")
        if self.mask is not None:
            with script.serial(0, self.count) as r, script.serial(0, here) as c:
                _store(self.scores, self._masked(self.scores[r, c], r, start + c), [r, c])
        with script.serial(0, self.count) as r:
            last = self.keys - start
            if self.layer.causal:
                last = tirx.min(last, self.first + r + 1 - start)
            limit = script.Bind(tirx.max(last, tirx.const(0, "int64")))
            with script.serial(0, whole * t.lanes - limit) as c:
                _store(self.scores, hidden, [r, limit + c])

    def _masked(self, score: Any, r: Any, key: Any) -> Any:
        wanted = (self.b, self.h, self.first + r, key)
        shape = self.mask.shape
        near = [tirx.const(0, "int64") if _is_one(d) else i for d, i in zip(shape, wanted[4 - len(shape) :], strict=True)]
        value = self.mask[tuple(near)]
        return tirx.Select(value, score, -tirx.infinity("float32")) if self.mask.dtype == "bool" else score + value

    def _powers(self, r: Any, count: Any) -> None:
        """exp(score - largest), their sum, and the factor of what was summed before."""
        t = self.tiles
        lanes = _local((t.lanes,))
        with script.vectorized(0, t.lanes) as lane:
            _store(lanes, self.scores[r, lane], [lane])
        with script.serial(1, count) as j, script.vectorized(0, t.lanes) as lane:
            _store(lanes, tirx.max(lanes[lane], self.scores[r, j * t.lanes + lane]), [lane])
        high = script.Bind(tirx.max(self.high[r], _folded(tirx.max, [lanes[i] for i in range(t.lanes)])))
        base = script.Bind(tirx.Select(high == -tirx.infinity("float32"), _const(0.0), high))
        factor = script.Bind(tirx.exp(self.high[r] - base))
        sums = _local((t.lanes,))
        with script.vectorized(0, t.lanes) as lane:
            _store(sums, _const(0.0), [lane])
        with script.serial(0, count) as j:
            with script.vectorized(0, t.lanes) as lane:
                _store(self.scores, tirx.exp(self.scores[r, j * t.lanes + lane] - base), [r, j * t.lanes + lane])
            with script.vectorized(0, t.lanes) as lane:
                _store(sums, sums[lane] + self.scores[r, j * t.lanes + lane], [lane])
        part = _folded(lambda a, b: a + b, [sums[i] for i in range(t.lanes)])
        _store(self.total, self.total[r] * factor + part, [r])
        _store(self.factor, factor, [r])
        _store(self.high, high, [r])

    def _mix(self, start: Any, here: Any, tile: Any) -> None:
        """What was summed before, scaled, and the powers times the values of this block of keys."""
        t = self.tiles
        columns = self.layer.size // t.across
        for left in range(0, columns, t.vectors):
            acc = _local((t.rows, min(t.vectors, columns - left), t.across))
            each = [(i, j, (left + j) * t.across) for i in range(t.rows) for j in range(min(t.vectors, columns - left))]
            for i, j, at in each:
                with script.vectorized(0, t.across) as lane:
                    row = tile * t.rows + i
                    _store(acc, self.sums[row, at + lane] * self.factor[row], [i, j, lane])
            with script.serial(0, here) as n:
                for i, j, at in each:
                    power = self.scores[tile * t.rows + i, n]
                    with script.vectorized(0, t.across) as lane:
                        value = _element(self.v, self.b, self.g, start + n, at + lane, self.layer.size)
                        _store(acc, acc[i, j, lane] + power * value, [i, j, lane])
            for i, j, at in each:
                with script.vectorized(0, t.across) as lane:
                    _store(self.sums, acc[i, j, lane], [tile * t.rows + i, at + lane])


def _element(x: Any, b: Any, head: Any, row: Any, column: Any, size: int) -> Any:
    return x[b, row, head * size + column] if len(x.shape) == 3 else x[b, head, row, column]


def _split(at: Any, middle: Any, last: Any) -> tuple[Any, Any, Any]:
    """The three indices of a flat one."""
    return at // (middle * last), tirx.floormod(at // last, middle), tirx.floormod(at, last)


def _folded(combine: Any, values: list[Any]) -> Any:
    while len(values) > 1:
        values = [combine(a, b) for a, b in zip(values[::2], values[1::2], strict=True)]
    return values[0]


def _is_one(extent: Any) -> bool:
    return isinstance(extent, tirx.IntImm) and int(extent.value) == 1


def _const(value: float) -> Any:
    return tirx.const(value, "float32")


def _local(shape: tuple[int, ...]) -> Any:
    return script.alloc_buffer(shape, "float32", scope="local")


def _store(buffer: Any, value: Any, at: list[Any]) -> None:
    script.buffer_store(buffer, value, at)
