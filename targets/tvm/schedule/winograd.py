"""The last step of Winograd's filtering: results of a tile x a vector of channels in registers, the epilogue on them."""

import math

from tvm import tirx
from tvm.s_tir import Schedule

from optc.targets.tvm.machine import Machine
from optc.targets.tvm.schedule.blocks import anchor, annotation, inline_epilogue, shape
from optc.targets.tvm.schedule.loops import PARALLEL_ELEMENTS, elements, schedule_pass

KIND = "winograd"


def apply(func: tirx.PrimFunc, machine: Machine) -> Schedule | None:
    """The schedule of a function whose anchor is marked `winograd`; None for any other."""
    schedule = Schedule(func)
    half = anchor(schedule, KIND)
    if half is None:
        return None
    size = annotation(schedule, half, "optc.size")
    last, broadcast = inline_epilogue(schedule, half)
    n, h, w, o = loops = schedule.get_loops(last)
    enough = elements(schedule, loops) >= PARALLEL_ELEMENTS
    lanes = math.gcd(machine.lanes(), int(shape(schedule, last)[-1]))
    ho, hi = schedule.split(h, [None, size])
    wo, wi = schedule.split(w, [None, size])
    oo, ov = schedule.split(o, [None, lanes])
    schedule.reorder(n, ho, wo, oo, hi, wi, ov)
    task = schedule.fuse(n, ho)
    if enough:
        schedule.parallel(task)
    schedule.vectorize(ov)
    schedule.unroll(hi)
    schedule.unroll(wi)
    schedule.compute_at(half, oo)
    inner = schedule.get_loops(half)[-3:]
    schedule.set_scope(half, 0, "local")
    schedule.vectorize(inner[2])
    schedule.unroll(inner[0])
    schedule.unroll(inner[1])
    if broadcast is not None:
        schedule_pass(schedule, broadcast, machine)
    return schedule
