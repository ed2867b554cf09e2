"""Analytic schedules: a rule looks at a PrimFunc and returns its schedule, or None for one it does not know."""

from typing import Any

import tvm
from tvm import tirx
from tvm.s_tir import Schedule, ScheduleError

from optc.targets.tvm.machine import Machine
from optc.targets.tvm.schedule import depthwise, elementwise, reduction, tile
from optc.targets.tvm.schedule.functions import expand

RULES = (tile, depthwise, elementwise, reduction)  # the first that matches is taken

PASS_CONFIG: dict[str, Any] = {}


def schedule_module(mod: tvm.IRModule, machine: Machine) -> tuple[tvm.IRModule, tuple[str, ...]]:
    """Schedule every PrimFunc of the module; returns it with notes naming the functions that were left as they are."""
    result = mod.clone()
    notes: list[str] = []
    for variable, function in mod.functions.items():
        if isinstance(function, tirx.PrimFunc):
            result.update_func(variable, expand(_schedule(variable.name_hint, function, machine, notes)))
    return result, tuple(notes)


def _schedule(name: str, function: tirx.PrimFunc, machine: Machine, notes: list[str]) -> tirx.PrimFunc:
    for rule in RULES:
        scheduled: Schedule | None
        try:
            scheduled = rule.apply(function, machine)
        except ScheduleError as error:
            rule_name = rule.__name__.rpartition(".")[2]
            notes.append(f"{name}: the rule {rule_name!r} failed: {str(error).strip().splitlines()[-1]}")
            continue
        if scheduled is not None:
            return scheduled.mod["main"].with_attrs(dict(function.attrs.items()))
    notes.append(f"{name}: no schedule rule, left as it is")
    return function
