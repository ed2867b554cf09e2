"""Depthwise convolutions: padded rows of a chunk of channels in cache, a tile of pixels x channels in registers."""

import math

from tvm import tirx
from tvm.s_tir import Schedule

from optc.targets.tvm.machine import Machine
from optc.targets.tvm.schedule.blocks import (
    anchor,
    annotation,
    inline_epilogue,
    inline_prologue,
    shape,
)
from optc.targets.tvm.schedule.loops import PARALLEL_WORK, copy_loops, finish_tile, likely_work, schedule_pass, unroll

KIND = "depthwise"


def apply(func: tirx.PrimFunc, machine: Machine) -> Schedule | None:
    """The schedule of a function whose anchor is marked `depthwise`; None for any other."""
    schedule = Schedule(func)
    acc = anchor(schedule, KIND)
    if acc is None:
        return None
    mr, nv, lanes = annotation(schedule, acc, "optc.tile")
    rows, chunk = annotation(schedule, acc, "optc.block")
    last, broadcast = inline_epilogue(schedule, acc)
    stages = inline_prologue(schedule, acc)
    loops = schedule.get_loops(acc)
    work = likely_work(schedule, loops)
    n, h, q, c, kh, kw = loops
    ho, hi = schedule.split(h, [None, rows])
    qo, qi = schedule.split(q, [None, mr])
    cc, co, cm, cv = schedule.split(c, [None, chunk // (nv * lanes), nv, lanes])
    schedule.reorder(n, ho, cc, hi, co, qo, kh, kw, qi, cm, cv)
    task = schedule.fuse(n, ho, cc)
    if work >= PARALLEL_WORK * machine.lanes():
        schedule.parallel(task)
    schedule.vectorize(cv)
    for loop in (kw, qi, cm):
        schedule.unroll(loop)
    for stage in stages:
        schedule.compute_at(stage, task)
        copy_loops(schedule, stage, machine, parallel=False)
    schedule.reverse_compute_at(last, qo, preserve_unit_loops=True)
    finish_tile(schedule, last, math.gcd(lanes, int(shape(schedule, last)[-1])))
    unroll(schedule, schedule.get_loops(last)[-3])
    if broadcast is not None:
        schedule_pass(schedule, broadcast, machine)
    schedule.decompose_reduction(acc, kh)
    return schedule
