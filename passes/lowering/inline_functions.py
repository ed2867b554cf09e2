"""Operators that are defined by other operators become those."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import Any

from optc.compiler import contrib, functions, ir
from optc.compiler.diagnostics import nearest
from optc.compiler.edit import Editor
from optc.compiler.numerics import Numerics
from optc.compiler.pipeline import Pass
from optc.compiler.rewrite import Builder, Refuse, replace_node
from optc.compiler.shapes import infer_node


@dataclass(frozen=True)
class InlineFunctions(Pass):
    """Nodes whose operator is an ONNX function become its body, and those of onnxruntime standard operators, recursively.

    `operators` are those to replace, `Attention|com.microsoft.Attention`; all that have a definition if none is named. Random
    ones stay.
    """

    operators: tuple[str, ...] = ()

    name = "inline-functions"
    numerics = Numerics.REASSOCIATED

    def __post_init__(self) -> None:
        known = functions.names() | contrib.names()
        for name in self.operators:
            if name not in known:
                raise ValueError(f"no operator '{name}' is defined by other operators; {nearest(name, known)}")

    def run(self, edit: Editor) -> None:
        work = deque(node for graph in ir.all_graphs(edit.graph) for node in graph)
        while work:
            node = work.popleft()
            if node.graph is None:
                continue
            if any(v.name and (v.dtype is None or v.shape is None) for v in node.outputs):
                infer_node(edit, node)  # what stands behind an operator that ONNX does not know has no types yet
            if not self._wanted(node, edit.opset()):
                continue
            result = replace_node(edit, node, partial(_body, node))
            if isinstance(result, Refuse):
                edit.refuse(node, self.name, result.reason)
            else:
                work.extendleft(reversed([n for new in result for n in (new, *_inside(new))]))

    def _wanted(self, node: ir.Node, opset: int) -> bool:
        if self.operators and contrib.spelled(*_key(node)) not in self.operators:
            return False
        return _key(node) in contrib.TABLE or functions.has_definition(node, opset)


def _key(node: ir.Node) -> tuple[str, str]:
    return "" if node.domain == "ai.onnx" else node.domain, node.op_type


def _inside(node: ir.Node) -> list[ir.Node]:
    return [n for body in ir.bodies(node) for graph in ir.all_graphs(body) for n in graph]


def _body(node: ir.Node, op: Builder) -> Any:
    build = contrib.TABLE.get(_key(node))
    if build is not None:
        if op.opset < contrib.OPSET:
            return Refuse(f"its replacement needs opset {contrib.OPSET}, the model has {op.opset}")
        return build(op, node)
    lean = contrib.STANDARD.get(node.op_type)
    made = lean(op, node) if lean is not None else None
    if made is not None:
        return made
    try:
        graph = functions.definition(node, op.opset)
    except functions.UndefinedError as error:
        return Refuse(str(error))
    found = iter(op.graph(graph, dict.fromkeys(v for v in node.inputs if v is not None and v.name)))
    return tuple(next(found) if v.name else None for v in node.outputs)
