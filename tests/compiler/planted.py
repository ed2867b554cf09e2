"""Passes with planted faults: each must be seen caught."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from optc.compiler import ir
from optc.compiler.edit import Editor
from optc.compiler.numerics import Numerics
from optc.compiler.pipeline import LossyPass, Pass
from optc.compiler.rewrite import Builder, Const, PatternBuilder, RewritePass


@dataclass(frozen=True)
class WrongAdd(RewritePass):
    """Adds 1.5 times the constant, at the node named `node` only: a rewrite that is wrong in one place."""

    name = "planted-wrong-add"
    numerics = Numerics.BITWISE
    node: str = "add3"

    def pattern(self, op: PatternBuilder, x: Any, c: Const) -> Any:
        return op.Add(x, c, name="add")

    def rewrite(self, op: Builder, add: ir.Node, x: ir.Value, c: Const) -> Any:
        if ir.origin(add).passes:
            return None
        return op.Add(x, c * 1.5 if add.name == self.node else c + 0)


@dataclass(frozen=True)
class Crash(RewritePass):
    """Crashes at Mul nodes."""

    name = "planted-crash"
    numerics = Numerics.BITWISE

    def pattern(self, op: PatternBuilder, x: Any, c: Const) -> Any:
        return op.Mul(x, c)

    def rewrite(self, op: Builder, x: ir.Value, c: Const) -> Any:
        raise KeyError("planted")


@dataclass(frozen=True)
class BreaksTheGraph(Pass):
    """Gives two nodes one name."""

    name = "planted-invalid"
    numerics = Numerics.BITWISE

    def run(self, edit: Editor) -> None:
        nodes = list(edit.graph)
        if edit.step(nodes[0]):
            edit.rename(nodes[1].outputs[0], nodes[0].outputs[0].name or "")


@dataclass(frozen=True)
class LyingLossy(LossyPass):
    """Halves every constant of Mul while promising an error of 1e-3."""

    name = "planted-lossy"
    max_error: float = 1e-3
    factor: float = 0.5

    def run(self, edit: Editor) -> None:
        for node in edit.graph:
            held = ir.const(node.inputs[1]) if ir.standard(node, "Mul") else None
            if held is not None and edit.step(node):
                edit.set_input(node, 1, edit.initializer(held * held.dtype.type(self.factor), "halved"))


@dataclass(frozen=True)
class Silent(Pass):
    """Changes the model without `edit.step`."""

    name = "planted-silent"
    numerics = Numerics.BITWISE

    def run(self, edit: Editor) -> None:
        node = edit.graph[1]
        edit.set_input(node, 0, edit.graph.inputs[0])
