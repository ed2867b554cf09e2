"""From ONNX operators to Relax and tensor expressions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optc.compiler import ir, ops
from optc.targets.tvm.lower.bind import bind
from optc.targets.tvm.lower.lowering import Lowered, Lowering
from optc.targets.tvm.lower.table import TABLE
from optc.targets.tvm.picks import Picks

if TYPE_CHECKING:
    from optc.targets.tvm.machine import Machine

__all__ = ["Lowered", "bind", "lower", "refusal"]


def lower(model: ir.Model, machine: Machine, picks: Picks | None = None) -> Lowered:
    """The model's main graph as a Relax module, its kernels as `picks` says.

    Raises UnbuildableError with the nodes that cannot be lowered."""
    return Lowering(model, machine, TABLE, picks or Picks()).run()


def refusal(node: ir.Node) -> str:
    """Why no rule lowers a node; empty where one does, unless it finds a case that it does not know."""
    domain = "" if node.domain == "ai.onnx" else node.domain
    if any(True for _ in ir.bodies(node)):
        return "it has bodies"
    known = (domain, node.op_type) in TABLE or (domain == ir.DOMAIN and node.op_type in ops.OPS) or ir.standard(node, "Constant")
    return "" if known else f"operator {node.op_type} of domain {domain or 'ai.onnx'} is not known to this target"
