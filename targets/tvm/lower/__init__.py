"""From ONNX operators to Relax and tensor expressions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optc.compiler import ir
from optc.targets.tvm.lower.fallback import convert
from optc.targets.tvm.lower.lowering import Lowered, Lowering, bind
from optc.targets.tvm.lower.table import TABLE

if TYPE_CHECKING:
    from optc.targets.tvm.machine import Machine

__all__ = ["Lowered", "bind", "lower"]


def lower(model: ir.Model, machine: Machine) -> Lowered:
    """The model's main graph as a Relax module. UserError names the node that cannot be lowered."""
    return Lowering(model, machine, TABLE, convert).run()
