"""Dense layers and convolutions: sums of a tile of rows (pixels) x channels in registers, the epilogue on the tile."""

import math
from typing import Any

from tvm import tirx
from tvm.s_tir import Schedule

from optc.targets.tvm.machine import Machine
from optc.targets.tvm.schedule.blocks import (
    Block,
    anchor,
    annotation,
    extent,
    inline_epilogue,
    inline_prologue,
    is_needed,
    shape,
)
from optc.targets.tvm.schedule.loops import (
    PARALLEL_PRODUCT,
    PARALLEL_WORK,
    copy_loops,
    elements,
    finish_tile,
    likely_work,
    product,
    schedule_pass,
    unroll,
)
from optc.targets.tvm.schedule.tails import FINISH, ROWS, TASK, WORTH

KIND = "tile"


def apply(func: tirx.PrimFunc, machine: Machine) -> Schedule | None:
    """The schedule of a function whose anchor is marked `tile`; None for any other."""
    schedule = Schedule(func)
    acc = anchor(schedule, KIND)
    if acc is None or not is_needed(schedule, acc):
        return None
    mr, nv, lanes = annotation(schedule, acc, "optc.tile")
    axis = annotation(schedule, acc, "optc.axis")
    last, broadcast = inline_epilogue(schedule, acc)
    exact = extent(schedule, schedule.get_loops(acc)[axis]) is None
    stages = inline_prologue(schedule, acc)
    if exact:
        stages = [stage for stage in stages if not _read_in_place(schedule, stage)]
    loops = schedule.get_loops(acc)
    rank = len(shape(schedule, acc))
    space, reduction = loops[:rank], loops[rank:]
    row, column = space[axis], space[-1]
    before, groups = space[:axis], space[axis + 1 : -1]
    packs = any(annotation(schedule, stage, "optc.stage") == "columns" for stage in stages)
    work = elements(schedule, loops) if packs else likely_work(schedule, loops)
    count = product([extent(schedule, loop) or 1 for loop in groups])
    ro, ri = schedule.split(row, [None, mr])
    co, cm, cv = schedule.split(column, [None, nv, lanes])
    order, within = [*before, ro, *groups, co], []
    if packs:
        order, within = [*before, co], [ro]  # a block of columns is packed for all rows
    elif product([extent(schedule, loop) or 1 for loop in [*reduction, *groups, co, cm, cv]]) * 4 > machine.l2 // 2:
        order = [*before[:1], *groups, co, *before[1:], ro]  # the weights of one block of channels stay in cache, not all of them
    schedule.reorder(*order, *within, *reduction, ri, cm, cv)
    outer = schedule.fuse(*order)
    task = ro if packs else outer
    if work >= PARALLEL_WORK * machine.lanes():
        schedule.parallel(outer)
        if packs and any(extent(schedule, loop) is None for loop in (outer, ro)):
            schedule.annotate(outer, WORTH, PARALLEL_PRODUCT)
    schedule.vectorize(cv)
    schedule.unroll(cm)
    schedule.unroll(ri)
    for stage in stages:
        kind = annotation(schedule, stage, "optc.stage")
        if kind != "whole":
            schedule.compute_at(stage, outer if kind == "columns" else task)
        copy_loops(schedule, stage, machine, parallel=kind == "whole")
    schedule.reverse_compute_at(last, task, preserve_unit_loops=True)
    columns = _columns(shape(schedule, last)[-1], count, lanes)
    if exact or columns is None or packs:
        schedule.annotate(task, TASK, 1)
    rows = schedule.get_loops(last)[1 + len(within) + axis]
    if exact:
        schedule.annotate(ri, ROWS, 1)
        schedule.annotate(rows, FINISH, 1)
    else:
        unroll(schedule, rows)
    finish_tile(schedule, last, columns or lanes)
    if broadcast is not None:
        schedule_pass(schedule, broadcast, machine)
    schedule.decompose_reduction(acc, reduction[0])
    return schedule


def _columns(channels: Any, groups: int, lanes: int) -> int | None:
    """Lanes of an epilogue's vectors that need no guard; None where whole vectors with a guard for the last are better."""
    known = int(channels.value) // groups if isinstance(channels, tirx.IntImm) else None
    if known is not None and (groups > 1 or known < lanes or known % lanes == 0):
        return math.gcd(lanes, known)
    return None


def _read_in_place(schedule: Schedule, stage: Block) -> bool:
    """Inline a stage that only fills up the last tile of rows: tiles of exact heights read no row beyond the extent."""
    if annotation(schedule, stage, "optc.stage") != "tile" or schedule.get_producers(stage):
        return False
    schedule.compute_inline(stage)
    return True
