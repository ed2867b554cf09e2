"""Functions without a reduction: elementwise, broadcasts, data movement. Outer loops among threads, the innermost a vector."""

from tvm import tirx
from tvm.s_tir import Schedule

from optc.targets.tvm.machine import Machine
from optc.targets.tvm.schedule.blocks import blocks, is_output, is_spatial
from optc.targets.tvm.schedule.loops import schedule_pass


def apply(func: tirx.PrimFunc, machine: Machine) -> Schedule | None:
    """The schedule of a function whose blocks are all spatial."""
    schedule = Schedule(func)
    every = blocks(schedule)
    if not every or not all(is_spatial(schedule, b) for b in every):
        return None
    for block in every:
        if not is_output(schedule, block):
            schedule.compute_inline(block)
    for block in blocks(schedule):
        schedule_pass(schedule, block, machine)
    return schedule
