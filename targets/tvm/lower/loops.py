"""Kernels written as loops, for what no tensor expression says: results that depend on the order, or on what was written before.

A body is Python that builds statements: `with each(0, n) as i:`, `with when(condition):`, `out[i, j] = value`. Extents may be
symbolic; loop variables and indices are int64. Memory of unknown extent is an extra result that nobody reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from tvm import relax, te, tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as script

from optc.targets.tvm.lower.lowering import Dim, Lowering, Operand

_OPAQUE = 8  # the operator pattern that nothing is fused with


class Array:
    """A tensor in a body: elements are read and assigned by as many indices as it has axes."""

    def __init__(self, buffer: Any) -> None:
        self._buffer = buffer
        self.shape: list[Any] = list(buffer.shape)
        self.dtype = str(buffer.dtype)

    def __getitem__(self, index: Any) -> Any:
        return self._buffer[self._index(index)]

    def __setitem__(self, index: Any, value: Any) -> None:
        given = tirx.const(value, self.dtype) if isinstance(value, bool | int | float) else value
        script.buffer_store(self._buffer, given, list(self._index(index)))

    def _index(self, index: Any) -> tuple[Any, ...]:
        return tuple(wide(i) for i in (index if isinstance(index, tuple) else (index,)))


Body = Callable[[Sequence[Array], Sequence[Array]], None]


def wide(value: Any) -> Any:
    """The integer as an int64 expression."""
    return tirx.IntImm("int64", value) if isinstance(value, int) else value.astype("int64")


def each(first: Any, limit: Any) -> Any:
    """A loop, one iteration after another."""
    return script.serial(wide(first), wide(limit))


@contextmanager
def rows(extents: Sequence[Any]) -> Iterator[list[Any]]:
    """Independent iterations over all indices of the extents, spread among threads together."""
    total: Any = wide(1)
    for extent in extents:
        total = total * wide(extent)
    with script.parallel(wide(0), total) as flat:
        at: list[Any] = []
        for extent in reversed(extents):
            at.insert(0, tirx.floormod(flat, wide(extent)))
            flat = tirx.floordiv(flat, wide(extent))
        yield at


def repeat(condition: Any) -> Any:
    """A loop while the condition, which reads cells or tensors, holds."""
    return script.While(condition)


def held(value: Any) -> Any:
    """A name for the value as it is now: an expression that reads a cell would be read again at each use."""
    return script.Bind(value)


def demand(condition: Any, message: str) -> None:
    """Stop the call with a ValueError where the condition does not hold. Not inside `rows`: a thread cannot tell."""
    with script.Assert(condition, message, "ValueError"):
        pass


@contextmanager
def when(condition: Any) -> Iterator[None]:
    with script.If(condition), script.Then():
        yield


@contextmanager
def grid(extents: Sequence[Any]) -> Iterator[list[Any]]:
    """Nested loops over all indices of the extents."""
    with ExitStack() as stack:
        yield [stack.enter_context(each(0, extent)) for extent in extents]


def choose(condition: Any, then: Callable[[], None], otherwise: Callable[[], None]) -> None:
    """Statements of one of two branches."""
    with script.If(condition):
        with script.Then():
            then()
        with script.Else():
            otherwise()


def cell(value: Any, dtype: str = "int64") -> Array:
    """A variable: an array of one element, read and assigned at 0."""
    made = Array(script.alloc_buffer([1], dtype, scope="local", layout=None))
    made[0] = value
    return made


def kernel(
    ctx: Lowering,
    name: str,
    operands: Sequence[Operand],
    results: Sequence[tuple[Sequence[Dim], str]],
    body: Body,
) -> list[Any]:
    """The results, (shape, dtype) each, of a body that is given the operands and the results.

    A kernel has variables of its own: the body takes extents from its arrays' shapes.
    """
    dtypes = [dtype for _, dtype in results]
    shapes = [[ctx.opaque(d) for d in shape] for shape, _ in results]

    def compute(tensors: Any, shapes: Any) -> Any:
        def build(ins: Any, outs: Any) -> Any:
            with IRBuilder() as builder:
                with script.attr(tirx.IntImm("int32", 0), "optc.loops", tirx.IntImm("int32", 0)):
                    body([Array(b) for b in ins], [Array(b) for b in outs])
                return builder.get()

        buffers = [tirx.decl_buffer(t.shape, t.dtype, f"in{i}", layout=None) for i, t in enumerate(tensors)]
        written = [
            tirx.decl_buffer(tuple(s), d, f"out{i}", layout=None) for i, (s, d) in enumerate(zip(shapes, dtypes, strict=True))
        ]
        return te.extern(
            [tuple(s) for s in shapes], list(tensors), build, name=name, dtype=dtypes, in_buffers=buffers, out_buffers=written
        )

    attrs = {"op_pattern": _OPAQUE, "tirx.is_scheduled": True}
    tensors = [ctx.tensor(x) for x in operands]
    made = ctx.emit(ctx.builder.call_te(compute, tensors, shapes, primfunc_name_hint=name, primfunc_attrs=attrs))
    found = [made] if len(results) == 1 else [ctx.emit(relax.TupleGetItem(made, i)) for i in range(len(results))]
    for result in found:
        ctx.moved(result)
    return found
