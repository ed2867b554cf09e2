"""Analytic schedules: a rule looks at a PrimFunc and returns its schedule, or None for one it does not know."""

from typing import Any

import tvm
from tvm import tirx

from optc.targets.tvm.machine import Machine
from optc.targets.tvm.schedule import depthwise, tile

RULES = (tile, depthwise)  # the first that matches is taken

PASS_CONFIG: dict[str, Any] = {}


def schedule_module(mod: tvm.IRModule, machine: Machine) -> tuple[tvm.IRModule, tuple[str, ...]]:
    """Schedule every PrimFunc of the module; returns it with notes naming the functions that no rule could handle."""
    notes = []
    functions = {}
    for variable, function in mod.functions.items():
        if not isinstance(function, tirx.PrimFunc):
            functions[variable] = function
            continue
        name = variable.name_hint
        scheduled = next((s for s in (rule.apply(function, machine) for rule in RULES) if s is not None), None)
        if scheduled is None:
            notes.append(f"{name}: no schedule rule matches")
            functions[variable] = function
        else:
            functions[variable] = scheduled.mod["main"].with_attrs(function.attrs)
    return tvm.IRModule(functions), tuple(notes)
