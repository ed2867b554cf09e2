"""Models with a head: what stands between a model's outputs and a number that a metric judges, in standard operators.

A head is part of the graph and not of the program around it, so that a compiler is given the whole of what is measured, and data
with one row a sample fit models whose samples lie along another axis.
"""

from __future__ import annotations

import onnx
import onnx.parser

OPSET = 13
"""Heads use operators as they are from this version to 17 (axes of Squeeze and ReduceSum are inputs, those of ReduceMax not)."""


def with_head(model: onnx.ModelProto, before: str = "", after: str = "") -> onnx.ModelProto:
    """A copy of `model` between two graphs in ONNX's text syntax.

    The outputs of `before` take the place of the model's inputs that have their names. The inputs of `after` are outputs of the
    model, whose place its own outputs take, or other values of it. Raises ValueError where they name what the model has not.
    """
    version = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    if version < OPSET:
        raise ValueError(f"the model is of opset {version}, heads need {OPSET}")
    graph, heads = model.graph, [onnx.parser.parse_graph(text) if text else onnx.GraphProto() for text in (before, after)]
    first, last = heads
    given, taken = {o.name for o in first.output}, {i.name for i in last.input}
    nodes = [*first.node, *graph.node]
    _need("inputs", given, {i.name for i in graph.input})
    _need("values", taken, {name for node in nodes for name in node.output} | {i.name for i in graph.input} - given)
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    whole.graph.CopyFrom(
        onnx.helper.make_graph(
            [*nodes, *last.node],
            graph.name,
            [*first.input, *(i for i in graph.input if i.name not in given)],
            [*(o for o in graph.output if o.name not in taken), *last.output],
            [*first.initializer, *graph.initializer, *last.initializer],
            value_info=[*first.output, *graph.value_info],
        )
    )
    return whole


def _need(what: str, named: set[str], held: set[str]) -> None:
    if not named <= held:
        raise ValueError(f"the model has no {what} {sorted(named - held)}")
