"""Loop transformations that several rules share."""

from collections.abc import Sequence

from tvm.s_tir import Schedule

from optc.targets.tvm.machine import Machine
from optc.targets.tvm.schedule.blocks import Block, Loop, extent

PARALLEL_WORK = 60_000  # multiply-adds a lane below which waking a thread costs more than it saves


def product(values: Sequence[int]) -> int:
    """The product of the values."""
    total = 1
    for value in values:
        total *= value
    return total


def copy_loops(schedule: Schedule, block: Block, machine: Machine, parallel: bool) -> None:
    """Vectorize the innermost axis of a copying block; split its rows among threads when asked."""
    loops = schedule.get_loops(block)
    inner = extent(schedule, loops[-1])
    lanes = machine.lanes()
    if inner is None or inner >= lanes:
        if inner is not None:
            while inner % lanes and lanes > 4:
                lanes //= 2
        _, vector = schedule.split(loops[-1], [None, lanes])
        schedule.vectorize(vector)
    elif inner > 1:
        schedule.vectorize(loops[-1])
    if parallel:
        schedule.parallel(schedule.fuse(*loops[:2]))


def finish_tile(schedule: Schedule, last: Block, at: Loop, lanes: int) -> None:
    """Unroll and vectorize the loops of an epilogue that was moved under loop `at`: they run over one register tile."""
    loops = schedule.get_loops(last)
    position = schedule.get(at).loop_var
    depth = next(i for i, loop in enumerate(loops) if schedule.get(loop).loop_var.same_as(position))
    *rows, column = loops[depth + 1 :]
    for loop in rows:
        schedule.unroll(loop)
    cm, cv = schedule.split(column, [None, lanes])
    schedule.vectorize(cv)
    schedule.unroll(cm)
