"""The last tile of an extent, as many rows high as are left: nothing is padded, computed in vain or guarded. The last vector."""

from dataclasses import dataclass
from typing import Any

import tvm
import tvm_ffi
from tvm import tirx
from tvm.s_tir import transform as passes
from tvm.tirx import transform as lower

from optc.targets.tvm.compute.kernel import static
from optc.targets.tvm.schedule.blocks import mentions

TASK, ROWS = "optc.task", "optc.rows"  # annotations: the loop over tiles, and the loops over the rows of one

_NAME = "main"
_TO_LOOPS = tvm.transform.Sequential(
    [
        passes.CanonicalizeLoop(),
        passes.LowerInitBlock(),
        passes.PlanAndUpdateBufferAllocationLocation(),
        passes.ConvertBlocksToOpaque(),
        passes.CompactBufferAllocation(),
        passes.LowerMatchBuffer(),
        passes.LowerOpaqueBlock(),
        lower.StmtSimplify(),
    ]
)
_TRUE = tirx.const(True, "bool")
_CLEAN = tvm.transform.Sequential([lower.ConvertSSA(), lower.StmtSimplify()])


@dataclass(frozen=True)
class _Guard:
    """The test whether a row is one of the extent: the first row of the tile, plus its number, `< bound`."""

    first: Any
    bound: Any

    def __eq__(self, other: object) -> bool:
        same = tvm.sym.Analyzer().can_prove_equal
        return isinstance(other, _Guard) and same(self.first, other.first) and same(self.bound, other.bound)


def exact(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """The scheduled function with the body of its TASK once for each number of rows; as it was where no loop is marked.

    A body for `v` rows runs the loops marked ROWS `v` times, and asks no longer whether a row is one of the extent.
    """
    if not _marked(function.body, TASK):
        return function
    loops = _TO_LOOPS(tvm.IRModule({_NAME: function.with_attr("global_symbol", _NAME)}))[_NAME]

    def cut(loop: Any) -> Any:
        if loop.kind == tirx.ForKind.VECTORIZED:
            return _by_lanes(loop)
        return _with(loop, _by_rows(loop.body), loop.extent) if TASK in loop.annotations else loop

    whole = loops.with_body(tvm_ffi.structural_map(_plain(loops.body), (tirx.For, cut)))
    return _CLEAN(tvm.IRModule({_NAME: whole}))[_NAME].without_attr("global_symbol").with_attrs(dict(function.attrs.items()))


def _plain(body: Any) -> Any:
    """The body without the tests that TVM makes and does not prove: a loop's variable, or a remainder, is below its bound."""
    bounds: dict[Any, Any] = {}
    tvm_ffi.structural_walk(body, (tirx.For, lambda loop: bounds.update({loop.loop_var: loop.extent})))

    def plain(test: Any) -> Any:
        if not isinstance(test.a, tirx.Sub) or static(test.b) != 0:
            return test
        value, bound = test.a.a, test.a.b
        limit = value.b if isinstance(value, tirx.FloorMod) else bounds.get(value) if isinstance(value, tirx.Var) else None
        return _TRUE if limit is not None and tvm_ffi.structural_equal(limit, bound) else test

    return tvm_ffi.structural_map(body, (tirx.LT, plain))


def _by_rows(body: Any) -> Any:
    """The tile's allocations, then its body for as many rows as are left; the whole tile is asked for first."""
    loops = _marked(body, ROWS)
    guard = next((found for loop in loops for found in _guards(loop)), None)
    if guard is None:
        return body
    parts = list(body.seq) if isinstance(body, tirx.SeqStmt) else [body]
    kept = [part for part in parts if isinstance(part, tirx.AllocBuffer)]
    work = tirx.SeqStmt([part for part in parts if not isinstance(part, tirx.AllocBuffer)])
    high = int(loops[0].extent)
    chosen = _of(work, 1, guard)
    for rows in range(2, high + 1):
        chosen = tirx.IfThenElse(guard.first + (rows - 1) < guard.bound, _of(work, rows, guard), chosen)
    return tirx.SeqStmt([*kept, chosen])


def _by_lanes(loop: Any) -> Any:
    """A vector without the guard that all its lanes pass; lane by lane where some may not."""
    guard = next(iter(_guards(loop)), None)
    if guard is None:
        return loop
    last = guard.first + (loop.extent - 1)
    return tirx.IfThenElse(last < guard.bound, _with(loop, _unguarded(loop, guard), loop.extent), _serial(loop))


def _of(work: Any, rows: int, guard: _Guard) -> Any:
    """The body of a tile that has just so many rows."""

    def resized(loop: Any) -> Any:
        if ROWS not in loop.annotations:
            return loop
        return _with(loop, _unguarded(loop, guard), tirx.const(rows, loop.extent.ty.dtype))

    return tvm_ffi.structural_map(work, (tirx.For, resized))


def _unguarded(loop: Any, guard: _Guard) -> Any:
    """The body of a loop all of whose rows or lanes pass the guard."""
    return tvm_ffi.structural_map(loop.body, (tirx.LT, lambda test: _TRUE if guard == _guard(loop, test) else test))


def _guards(loop: Any) -> list[_Guard]:
    """The tests of the rows of a loop."""
    found: list[_Guard] = []

    def visit(test: Any) -> None:
        guard = _guard(loop, test)
        if guard is not None:
            found.append(guard)

    tvm_ffi.structural_walk(loop.body, (tirx.LT, visit))
    return found


def _guard(loop: Any, test: Any) -> _Guard | None:
    """What a comparison says of the loop's rows, None where it is about something else."""
    row = loop.loop_var
    if not mentions(test.a, row) or mentions(test.b, row):
        return None
    first = tvm_ffi.structural_map(test.a, (tirx.Var, lambda v: tirx.const(0, row.ty.dtype) if v.same_as(row) else v))
    follows = tvm.sym.Analyzer().can_prove_equal(test.a, first + row)
    return _Guard(first, test.b) if follows else None


def _marked(body: Any, mark: str) -> list[Any]:
    """The loops with that annotation, the first first."""
    found: list[Any] = []
    tvm_ffi.structural_walk(body, (tirx.For, lambda loop: found.append(loop) if mark in loop.annotations else None))
    return found


def _serial(loop: Any) -> Any:
    return tirx.For(loop.loop_var, loop.min, loop.extent, tirx.ForKind.SERIAL, loop.body)


def _with(loop: Any, body: Any, extent: Any) -> Any:
    """The loop with another body and extent, its marks taken off."""
    return tirx.For(loop.loop_var, loop.min, extent, loop.kind, body)
