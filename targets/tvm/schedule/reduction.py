"""Reductions. Along the contiguous axis (softmax, layer norm): a row at a time, lanes apart. Otherwise: vectors of columns."""

import math

import tvm_ffi
from tvm import tirx
from tvm.s_tir import Schedule, ScheduleError

from optc.targets.tvm.machine import Machine
from optc.targets.tvm.schedule.blocks import (
    Block,
    Loop,
    annotation,
    blocks,
    extent,
    inline_cheap,
    inline_epilogue,
    is_output,
    is_spatial,
    mentions,
    same,
    shape,
)
from optc.targets.tvm.schedule.loops import NARROWEST, schedule_pass, spread, vector_width, vectorize_inner

_SUMS = 4  # vectors of columns reduced side by side: hides the latency of the addition


def apply(func: tirx.PrimFunc, machine: Machine) -> Schedule | None:
    """The schedule of a function with one or more reductions and one output that depends on them."""
    schedule = Schedule(func)
    inline_cheap(schedule)
    every = blocks(schedule)
    reductions = [b for b in every if not is_spatial(schedule, b)]
    outputs = [b for b in every if is_output(schedule, b)]
    if not reductions or len(outputs) != 1 or any(len(schedule.get(b).writes) != 1 for b in every):
        return None
    if len(reductions) == 1 and _reads_columns(schedule, reductions[0]):
        _columns(schedule, reductions[0], machine)
    else:
        _rows(schedule, reductions, outputs[0], machine)
    return schedule


def _reads_columns(schedule: Schedule, block: Block) -> bool:
    """Whether the block's last spatial axis is the contiguous one of what it reads."""
    stmt = schedule.get(block)
    spatial = [v.var for v in stmt.iter_vars if v.iter_type == tirx.IterVar.DataPar]
    return bool(spatial) and any(mentions(read.region[-1].min, spatial[-1]) for read in stmt.reads)


def _columns(schedule: Schedule, block: Block, machine: Machine) -> None:
    last, broadcast = inline_epilogue(schedule, block)
    loops = schedule.get_loops(block)
    rank = len(shape(schedule, block))
    space, reduction = loops[:rank], loops[rank:]
    channels = extent(schedule, space[-1]) or 1
    width = math.gcd(machine.lanes(), channels)
    outer = list(space[:-1])
    if width >= NARROWEST:
        count = channels // width
        sums = max(n for n in range(1, _SUMS + 1) if count % n == 0)
        co, cm, cv = schedule.split(space[-1], [None, sums, width])
        outer.append(co)
        schedule.reorder(*outer, *reduction, cm, cv)
        schedule.vectorize(cv)
        schedule.unroll(cm)
    else:
        schedule.reorder(*outer, *reduction, space[-1])
    if not outer:
        outer = [schedule.add_unit_loop(space[-1])]
    fused = spread(schedule, outer, schedule.get_loops(block))
    if not same(schedule, last, block):
        schedule.reverse_compute_at(last, outer[-1] if fused is None else fused, preserve_unit_loops=True)
        vectorize_inner(schedule, last, machine)
    if broadcast is not None:
        schedule_pass(schedule, broadcast, machine)
    schedule.decompose_reduction(block, reduction[0])


def _rows(schedule: Schedule, reductions: list[Block], last: Block, machine: Machine) -> None:
    """One output row at a time: everything that the row needs is computed inside the loop over rows."""
    common = min(_common_axes(schedule, b, last) for b in reductions)
    if common == 0:
        return
    apart = [b for b in reductions if annotation(schedule, b, "optc.lanes") is not None]
    partial = [_split_lanes(schedule, b, machine) for b in reductions if not any(same(schedule, b, a) for a in apart)]
    loops = schedule.get_loops(last)
    outer = loops[:common]
    together = _divisible(schedule, outer)
    fused = spread(schedule, outer[:together], loops)
    row = fused if fused is not None and together == common else outer[-1]
    for block in reversed([b for b in blocks(schedule) if not same(schedule, b, last)]):
        schedule.compute_at(block, row, preserve_unit_loops=any(same(schedule, block, a) for a in apart))
    for block in blocks(schedule):
        if is_spatial(schedule, block):
            vectorize_inner(schedule, block, machine)
    for block in [*apart, *(b for b in partial if b is not None)]:
        *_, lane, over = schedule.get_loops(block)  # the order compute_at leaves
        schedule.reorder(over, lane)
        schedule.vectorize(lane)
        schedule.decompose_reduction(block, over)


def _divisible(schedule: Schedule, loops: list[Loop]) -> int:
    """How many of the loops can be fused so that TVM still sees which row an index is: with one symbolic extent at most."""
    open_extents = [i for i, loop in enumerate(loops) if extent(schedule, loop) is None]
    return open_extents[1] if len(open_extents) > 1 else len(loops)


def _common_axes(schedule: Schedule, block: Block, last: Block) -> int:
    """Leading axes along which the output and the reduction run together."""
    count = 0
    spatial = sum(1 for v in schedule.get(block).iter_vars if v.iter_type == tirx.IterVar.DataPar)
    for mine, theirs in zip(shape(schedule, block)[:spatial], shape(schedule, last), strict=False):
        if not tvm_ffi.structural_equal(mine, theirs):
            break
        count += 1
    return min(count, len(schedule.get_loops(last)))


def _split_lanes(schedule: Schedule, block: Block, machine: Machine) -> Block | None:
    """Reduce each lane apart, then across the lanes; the block that does the former, None where the row has no whole vectors."""
    row = schedule.get_loops(block)[-1]
    if vector_width(schedule, block, machine) < machine.lanes() or extent(schedule, row) == machine.lanes():
        return None
    _, lane = schedule.split(row, [None, machine.lanes()])
    try:
        return schedule.rfactor(lane, len(shape(schedule, block)))
    except ScheduleError:  # TVM knows no neutral element of the operation
        return None
