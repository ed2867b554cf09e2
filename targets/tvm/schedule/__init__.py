"""Analytic schedules: a rule looks at a PrimFunc and returns its schedule, or None for one it does not know."""

import tvm
from tvm import tirx
from tvm.s_tir import Schedule, ScheduleError

from optc.targets.tvm.machine import Machine
from optc.targets.tvm.schedule import depthwise, elementwise, reduction, tile, winograd
from optc.targets.tvm.schedule.functions import expand
from optc.targets.tvm.schedule.tails import exact

RULES = (tile, depthwise, winograd, elementwise, reduction)  # the first that matches is taken


def schedule_module(mod: tvm.IRModule, machine: Machine) -> tuple[tvm.IRModule, tuple[str, ...]]:
    """Schedule every PrimFunc of the module; returns it with a note for each that was left as it is, or nearly."""
    result = mod.clone()
    notes: list[str] = []
    for variable, function in mod.functions.items():
        if isinstance(function, tirx.PrimFunc):
            result.update_func(variable, expand(exact(_schedule(variable.name_hint, function, machine, notes))))
    return result, tuple(notes)


def _schedule(name: str, function: tirx.PrimFunc, machine: Machine, notes: list[str]) -> tirx.PrimFunc:
    if "tirx.is_scheduled" in function.attrs:  # written as it is to run: loops, vectors, threads
        return function
    reasons: list[str] = []
    scheduled: Schedule | None = None
    for rule in RULES:
        try:
            scheduled = rule.apply(function, machine)
        except ScheduleError as error:
            reasons.append(str(error).strip().splitlines()[-1].removeprefix("Error message: "))
            continue
        if scheduled is not None:
            break
    if scheduled is None or reasons:
        what = "left as it is" if scheduled is None else "scheduled by a more general rule"
        notes.append(f"{name}: {what}: {'; '.join(dict.fromkeys(reasons)) or 'no schedule rule matches'}")
    return function if scheduled is None else scheduled.mod["main"].with_attrs(dict(function.attrs.items()))
