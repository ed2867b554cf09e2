"""What this machine can do at best, measured: multiply-adds in registers, and reads of arrays of several sizes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import tvm
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as script

from optc.compiler.measure.roofline import Ceilings
from optc.targets.tvm.engine import use_threads
from optc.targets.tvm.machine import Machine, host

_STEPS = 200_000
"""Rounds of multiply-adds of one measurement: some milliseconds."""
_BEST = 5
"""Measurements of each; the fastest counts, since what else runs on the machine only takes away."""
_READ = 256 << 20
"""Bytes read in one measurement, of an array that no cache holds or again and again of a smaller one."""
_ROW = 8
"""Vectors that are read, and summed apart, in one step."""


def measure(threads: int) -> Ceilings:
    """float32 ceilings of this machine with that many threads. Takes about two seconds, most of it compiling."""
    machine = host()
    use_threads(threads)
    sums = max(machine.registers // 2, 8)  # enough that no unit waits for a result
    multiply_adds = threads * sums * machine.lanes() * _STEPS
    function = _multiply_adds(threads, sums, machine.lanes())
    seconds = _fastest(function, machine, [(machine.lanes(),), (threads, sums, machine.lanes())])
    return Ceilings(multiply_adds / seconds, tuple((size, _rate(machine, size, threads)) for size in _sizes(machine, threads)))


def _sizes(machine: Machine, threads: int) -> tuple[int, ...]:
    """Bytes of the arrays: half of each cache that all threads have, and more than any holds."""
    return (machine.l1 * threads // 2, machine.l2 * threads // 2, max(machine.l3 // 2, machine.l2 * threads), _READ)


def _rate(machine: Machine, size: int, threads: int) -> float:
    """Bytes a second read of an array of about that size."""
    row = _ROW * machine.lanes() * 4
    rows = max(size // threads // row, 1)
    repeats = max(_READ // (threads * rows * row), 1)
    shapes = [(threads, rows, _ROW, machine.lanes()), (threads, _ROW, machine.lanes())]
    return threads * rows * row * repeats / _fastest(_sums(threads, rows, repeats, machine.lanes()), machine, shapes)


def _fastest(function: Any, machine: Machine, shapes: Sequence[tuple[int, ...]]) -> float:
    """Seconds of a call on arrays of these shapes."""
    run = tvm.compile(function, tvm.target.Target(machine.tvm_target(shapes[-1][0])))
    arrays = [tvm.runtime.tensor(np.full(shape, 0.5, np.float32)) for shape in shapes]
    run(*arrays)
    seconds = []
    for _ in range(_BEST):
        start = time.perf_counter()
        run(*arrays)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _multiply_adds(threads: int, sums: int, lanes: int) -> Any:
    """(factor, out): each of the sums, vectors, is again and again multiplied by the factor and added to it."""

    def step(held: Any, factor: Any, _: Any) -> None:
        with script.serial(0, _STEPS), _vectors(sums, lanes) as (s, v):
            script.buffer_store(held, held[s, v] * factor[v] + factor[v], [s, v])

    return _function(step, (lanes,), (threads, sums, lanes))


def _sums(threads: int, rows: int, repeats: int, lanes: int) -> Any:
    """(x, out): the rows of x are summed, again and again."""

    def step(held: Any, x: Any, thread: Any) -> None:
        with script.serial(0, repeats), script.serial(0, rows) as r, _vectors(_ROW, lanes) as (s, v):
            script.buffer_store(held, held[s, v] + x[thread, r, s, v], [s, v])

    return _function(step, (threads, rows, _ROW, lanes), (threads, _ROW, lanes))


def _function(step: Callable[[Any, Any, Any], None], source: tuple[int, ...], sums: tuple[int, int, int]) -> Any:
    """Each thread loads its sums into registers, does the step on them, and stores them."""
    threads, count, lanes = sums
    with IRBuilder() as builder:
        with script.prim_func():
            script.func_name("main")
            x = script.arg("x", script.Buffer(source, "float32"))
            out = script.arg("out", script.Buffer(sums, "float32"))
            with script.parallel(0, threads) as thread:
                held = script.alloc_buffer((count, lanes), "float32", scope="local")
                with _vectors(count, lanes) as (s, v):
                    script.buffer_store(held, out[thread, s, v], [s, v])
                step(held, x, thread)
                with _vectors(count, lanes) as (s, v):
                    script.buffer_store(out, held[s, v], [thread, s, v])
        return builder.get().with_attrs({"global_symbol": "main", "tirx.noalias": True})


@contextmanager
def _vectors(count: int, lanes: int) -> Iterator[tuple[Any, Any]]:
    with script.unroll(0, count) as s, script.vectorized(0, lanes) as v:
        yield s, v
