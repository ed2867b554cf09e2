"""Loop transformations that several rules share."""

import math
from collections.abc import Sequence
from typing import Any

import tvm_ffi
from tvm import tirx
from tvm.s_tir import Schedule

from optc.targets.tvm.machine import Machine
from optc.targets.tvm.schedule.blocks import Block, Loop, annotation, extent, mentions
from optc.targets.tvm.schedule.tails import WORTH

PARALLEL_WORK = 30_000  # multiply-adds a lane below which waking a thread costs more than it saves
PARALLEL_ELEMENTS = 1 << 16  # the same for a pass over memory
PARALLEL_PRODUCT = 1 << 14  # the same for the largest matrix of a product of activations
_BATCH, _SIZE = (
    3,
    16,
)  # what symbolic extents count in PARALLEL_WORK, the outermost and others: the engine keeps small calls to one thread
_SYMBOLIC = 64  # stands for an extent known only at run time
NARROWEST = 4  # lanes below which vector code is not worth its shuffles


def product(values: Sequence[int]) -> int:
    """The product of the values."""
    total = 1
    for value in values:
        total *= value
    return total


def vector_width(schedule: Schedule, block: Block, machine: Machine) -> int:
    """The widest vector along the innermost loop that needs no mask: it divides the extent and every bound tested inside."""
    promised = annotation(schedule, block, "optc.lanes")
    if promised is not None:
        return int(promised)
    loops = schedule.get_loops(block)
    inner = extent(schedule, loops[-1]) if loops else None
    if inner is None:
        return 1
    body = schedule.get(block).body
    column = schedule.get(block).iter_vars[-1].var
    bounds = [inner]

    def visit(node: Any) -> None:
        if mentions(node, column):
            bounds.extend(int(side.value) for side in (node.a, node.b) if isinstance(side, tirx.IntImm))

    for kind in (tirx.LT, tirx.LE, tirx.GT, tirx.GE, tirx.EQ, tirx.NE):
        tvm_ffi.structural_walk(body, (kind, visit))
    return math.gcd(machine.lanes(), *bounds)


def vectorize_inner(schedule: Schedule, block: Block, machine: Machine) -> None:
    """Vectorize the block's innermost loop; one that no whole vector divides is left to LLVM's loop vectorizer."""
    width = vector_width(schedule, block, machine)
    if width >= NARROWEST:
        _, vector = schedule.split(schedule.get_loops(block)[-1], [None, width])
        schedule.vectorize(vector)


def unroll(schedule: Schedule, loop: Loop) -> None:
    """Unroll a loop where its extent is known."""
    if extent(schedule, loop) is not None:
        schedule.unroll(loop)


def elements(schedule: Schedule, loops: Sequence[Loop]) -> int:
    """How often the loops run together, a typical extent standing for a symbolic one."""
    return product([extent(schedule, loop) or _SYMBOLIC for loop in loops])


def likely_work(schedule: Schedule, loops: Sequence[Loop]) -> int:
    """How often the loops run together in a call that is worth several threads."""
    extents = [extent(schedule, loop) for loop in loops]
    symbolic = extents.count(None)
    return product([e for e in extents if e is not None]) * (_BATCH * _SIZE ** (symbolic - 1) if symbolic else 1)


def spread(schedule: Schedule, outer: Sequence[Loop], every: Sequence[Loop]) -> Loop | None:
    """Fuse the `outer` loops and run them in parallel when all loops together are enough work; None where they were left."""
    if not outer or elements(schedule, every) < PARALLEL_ELEMENTS:
        return None
    symbolic = any(extent(schedule, loop) is None for loop in every)
    fused = schedule.fuse(*outer)
    schedule.parallel(fused)
    if symbolic:
        schedule.annotate(fused, WORTH, PARALLEL_ELEMENTS)
    return fused


def copy_loops(schedule: Schedule, block: Block, machine: Machine, parallel: bool) -> None:
    """Vectorize a copying block; split its rows among threads when asked."""
    outer = schedule.get_loops(block)[:2]
    enough = parallel and elements(schedule, schedule.get_loops(block)) >= PARALLEL_ELEMENTS
    vectorize_inner(schedule, block, machine)
    if enough:
        schedule.parallel(schedule.fuse(*outer))


def finish_tile(schedule: Schedule, last: Block, lanes: int) -> None:
    """Vectorize an epilogue that was moved to where a register tile is finished.

    Where `lanes` does not divide the channels, the guard of the last vector takes all of them apart, lane by lane, unless
    tails.py has the others run without it.
    """
    cm, cv = schedule.split(schedule.get_loops(last)[-1], [None, lanes])
    schedule.vectorize(cv)
    schedule.unroll(cm)


def schedule_pass(schedule: Schedule, block: Block, machine: Machine) -> None:
    """Schedule a block that is a pass over memory: outer loops among threads, the innermost a vector."""
    loops = schedule.get_loops(block)
    spread(schedule, loops[:-1], loops)
    vectorize_inner(schedule, block, machine)
