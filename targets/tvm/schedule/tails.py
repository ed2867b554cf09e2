"""What a kernel of symbolic extents finds out when it runs: how many rows the last tile has, so that none is padded, computed in
vain or guarded; whether a vector is whole; whether there is enough to do for several threads."""

import functools
import math
from dataclasses import dataclass
from typing import Any

import tvm
import tvm_ffi
from tvm import tirx
from tvm.s_tir import transform as passes
from tvm.tirx import transform as lower

from optc.targets.tvm.compute.kernel import static
from optc.targets.tvm.schedule.blocks import mentions

TASK, ROWS, FINISH = "optc.task", "optc.rows", "optc.finish"
"""Annotations: the loop over tiles, the loops over the rows of one where its sums are made, and where they are finished."""
WORTH = "optc.worth"
"""Annotation of a parallel loop: how many elements the largest tensor has from which waking other threads is worth it."""

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
    """The scheduled function with the sums of its TASK for a whole tile, and for each power of two below its height.

    Nothing asks any longer whether a row is one of the extent. A function without marks stays as it was.
    """
    doubled = bool(_marked(function.body, WORTH)) and not _makes_floats(function.body)
    if not _marked(function.body, TASK) and not doubled:
        return function
    loops = _TO_LOOPS(tvm.IRModule({_NAME: function.with_attr("global_symbol", _NAME)}))[_NAME]
    largest = _largest(loops)

    def cut(loop: Any) -> Any:
        if loop.kind == tirx.ForKind.VECTORIZED:
            return _by_lanes(loop)
        if TASK in loop.annotations:
            return _with(loop, _by_rows(loop.body), loop.extent)
        return _if_worth(loop, largest) if doubled and WORTH in loop.annotations else loop

    whole = loops.with_body(tvm_ffi.structural_map(_plain(loops.body), (tirx.For, cut)))
    return _CLEAN(tvm.IRModule({_NAME: whole}))[_NAME].without_attr("global_symbol").with_attrs(dict(function.attrs.items()))


def _makes_floats(body: Any) -> bool:
    """Whether integers, as sizes are, become floats. What two copies of a loop make of sizes TVM computes once, before both, and
    its code generator fails at such a float."""
    found: list[Any] = []

    def visit(cast: Any) -> None:
        if "float" in str(cast.ty.dtype) and "int" in str(cast.value.ty.dtype):
            found.append(cast)

    tvm_ffi.structural_walk(body, (tirx.Cast, visit))
    return bool(found)


def _largest(function: tirx.PrimFunc) -> Any:
    """How many elements the largest of the parameters with symbolic extents has."""
    shapes = [param.shape for param in function.params if isinstance(param.ty, tirx.BufferType)]
    symbolic = [shape for shape in shapes if any(static(extent) is None for extent in shape)]
    sizes = [math.prod(shape, start=tirx.const(1, "int64")) for shape in symbolic]
    return functools.reduce(tirx.max, sizes, tirx.const(0, "int64"))


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
    """A tile whose sums are made for all its rows, or for 4, 2 and 1 of them until none is left, and finished row by row."""
    parts = list(body.seq) if isinstance(body, tirx.SeqStmt) else [body]
    summing, finishing = ([part for part in parts if _marked(part, mark)] for mark in (ROWS, FINISH))
    guard = next((found for part in finishing for loop in _marked(part, FINISH) for found in _guards(loop)), None)
    if guard is None or not summing:
        return body
    high, sums = int(_marked(summing[0], ROWS)[0].extent), _sequence(summing)
    left = guard.bound - guard.first
    some = []
    for rows in (1 << power for power in reversed(range((high - 1).bit_length()))):
        few = _resized(sums, ROWS, rows, guard, start=tirx.bitwise_and(left, -2 * rows))
        some.append(tirx.IfThenElse(tirx.bitwise_and(left, rows) != 0, few, None))
    whole = _resized(sums, ROWS, high, guard)
    chosen = tirx.IfThenElse(guard.first + (high - 1) < guard.bound, whole, _sequence(some)) if some else whole
    start = parts.index(summing[0])
    rest = [_resized(part, FINISH, tirx.min(left, high), guard) for part in parts[start + len(summing) :]]
    return _sequence([*parts[:start], chosen, *rest])


def _sequence(statements: list[Any]) -> Any:
    """The statements as one: a sequence of one is none to TVM."""
    return statements[0] if len(statements) == 1 else tirx.SeqStmt(statements)


def _if_worth(loop: Any, largest: Any) -> Any:
    """Among threads where there is enough to do, by the calling thread alone where there is not."""
    return tirx.IfThenElse(largest >= int(loop.annotations[WORTH]), _with(loop, loop.body, loop.extent), _serial(loop))


def _by_lanes(loop: Any) -> Any:
    """A vector without the guard that all its lanes pass; lane by lane where some may not."""
    guard = next(iter(_guards(loop)), None)
    if guard is None:
        return loop
    last = guard.first + (loop.extent - 1)
    return tirx.IfThenElse(last < guard.bound, _with(loop, _unguarded(loop, guard), loop.extent), _serial(loop))


def _resized(work: Any, mark: str, rows: Any, guard: _Guard, start: Any = 0) -> Any:
    """What is done for just so many rows from `start`, all of them rows of the extent."""

    def resized(loop: Any) -> Any:
        if mark not in loop.annotations:
            return loop
        body, row = _unguarded(loop, guard), loop.loop_var
        moved = tvm_ffi.structural_map(body, (tirx.Var, lambda v: v + start if v.same_as(row) else v), order="post")
        return _with(loop, moved, tirx.const(rows, "int64") if isinstance(rows, int) else rows)

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
