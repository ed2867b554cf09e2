"""Passes with planted faults that only the kit's own checks can see: `--load` finds them by this file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from optc.compiler import ir
from optc.compiler.edit import Editor
from optc.compiler.numerics import Numerics
from optc.compiler.pipeline import Pass
from optc.compiler.rewrite import Builder, PatternBuilder, RewritePass


@dataclass(frozen=True)
class DropsNegativeNumbers(RewritePass):
    """Abs(x) -> x: right for half of the numbers."""

    name = "planted-abs"
    numerics = Numerics.BITWISE

    def pattern(self, op: PatternBuilder, x: Any) -> Any:
        return op.Abs(x)

    def rewrite(self, op: Builder, x: ir.Value) -> Any:
        return op.Identity(x)


@dataclass(frozen=True)
class NeverDone(Pass):
    """Puts one Identity more before the first node whenever it runs."""

    name = "planted-restless"
    numerics = Numerics.BITWISE

    def run(self, edit: Editor) -> None:
        first = next(n for n in edit.graph if n.inputs and n.inputs[0] is not None)
        if edit.step(first):
            made = edit.node("Identity", [first.inputs[0]], name="once_more", sources=[first])
            edit.insert_before(first, [made])
            edit.set_type(made.outputs[0], first.inputs[0].dtype, first.inputs[0].shape)
            edit.set_input(first, 0, made.outputs[0])


@dataclass(frozen=True)
class Talkative(Pass):
    """Writes into the doc string of the model, past the journal."""

    name = "planted-talkative"
    numerics = Numerics.BITWISE

    def run(self, edit: Editor) -> None:
        edit.model.doc_string = "optimized"


@dataclass(frozen=True)
class OutsideTheJournal(Pass):
    """Renames a node without the editor, so that nothing undoes it."""

    name = "planted-unjournalled"
    numerics = Numerics.BITWISE

    def run(self, edit: Editor) -> None:
        node = edit.graph[0]
        if edit.step(node):
            node.name = "renamed_past_the_journal"


@dataclass(frozen=True)
class WrongTypes(Pass):
    """Records that every inner value with four dimensions has the first size 7."""

    name = "planted-types"
    numerics = Numerics.BITWISE

    def run(self, edit: Editor) -> None:
        for node in edit.graph:
            value = node.outputs[0]
            wrong = value.shape is not None and len(value.shape) == 4 and not value.is_graph_output()
            if wrong and value.shape is not None and edit.step(node):
                edit.set_type(value, value.dtype, ir.Shape([7, *list(value.shape)[1:]]))


@dataclass(frozen=True)
class SetOrder(Pass):
    """Names the first node after the first of a set of texts: another one in another process."""

    name = "planted-set-order"
    numerics = Numerics.BITWISE

    def run(self, edit: Editor) -> None:
        node = edit.graph[0]
        if edit.step(node):
            edit.rename(node, next(iter({f"name_{k}" for k in range(20)})))


@dataclass(frozen=True)
class RenamedDimension(Pass):
    """Calls the first dimension of the first input otherwise."""

    name = "planted-interface"
    numerics = Numerics.BITWISE

    def run(self, edit: Editor) -> None:
        first = edit.graph.inputs[0]
        if first.shape is not None and len(first.shape):
            first.shape = ir.Shape(["Other", *list(first.shape)[1:]])


@dataclass(frozen=True)
class RightAtTheEnd(Pass):
    """Two rewrites that are right only together: the first adds 1, the second takes it away."""

    name = "planted-halves"
    numerics = Numerics.REASSOCIATED

    def run(self, edit: Editor) -> None:
        node = next(
            (n for n in edit.graph if ir.standard(n, "Relu", "Tanh", "Sigmoid") and n.inputs[0].dtype == ir.DataType.FLOAT), None
        )
        if node is None or ir.origin(node).passes:
            return
        value = node.inputs[0]
        for amount in (1.0, -1.0):
            if edit.step(node):
                one = edit.initializer(np.asarray(amount, np.float32), "one")
                made = edit.node("Add", [value, one], name="moved", sources=[node])
                edit.insert_before(node, [made])
                edit.set_type(made.outputs[0], value.dtype, value.shape)
                edit.set_input(node, 0, made.outputs[0])
                value = made.outputs[0]
        edit.set_origin(node, ir.origin(node).by(self.name))


@dataclass(frozen=True)
class NoKernel(RewritePass):
    """Clip of doubles becomes an operator that onnxruntime has no kernel for."""

    name = "planted-engine"
    numerics = Numerics.REASSOCIATED

    def pattern(self, op: PatternBuilder, x: Any) -> Any:
        return op.Clip(x, 0.0, 6.0)

    def rewrite(self, op: Builder, x: ir.Value) -> Any:
        return op.HardSwish(x) if x.dtype == ir.DataType.DOUBLE and op.opset >= 14 else None


@dataclass(frozen=True)
class Fatal(Pass):
    """Ends the process, as a fault in native code does."""

    name = "planted-fatal"
    numerics = Numerics.BITWISE

    def run(self, edit: Editor) -> None:
        os._exit(3)
