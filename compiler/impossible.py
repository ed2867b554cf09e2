"""Nodes that no input makes valid: the ranks of what they are given contradict their operator.

Such a node stands in the body of an If that asks for the rank (or for what decides on it), in the branch for another rank. A
run that reaches it fails, in any engine.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx
import onnx.shape_inference

from optc.compiler import ir


def impossible(node: ir.Node, opsets: Mapping[str, int]) -> str:
    """Why a node fails whatever the extents of its inputs are, in the words of ONNX's inference; empty where it may succeed."""
    if not node.inputs or any(True for _ in ir.bodies(node)):
        return ""
    schema = ir.schema(node, opsets.get("" if node.domain == "ai.onnx" else node.domain, 0))
    given = [v for v in node.inputs if v is not None and v.name]
    if schema is None or any(v.dtype is None or not isinstance(v.type, ir.TensorType) for v in given):
        return ""
    reason = _refused(schema, node, opsets, {v.name or "": _type(v, ranked=True) for v in given})
    if reason and not _refused(schema, node, opsets, {v.name or "": _type(v, ranked=False) for v in given}):
        return reason
    return ""  # what is wrong is no rank: engines may take it


def blocked(graph: ir.Graph, opsets: Mapping[str, int]) -> tuple[ir.Node, str] | None:
    """The first node of a graph that always fails, and why; None where there is none."""
    return next(((node, reason) for node in graph if (reason := impossible(node, opsets))), None)


def _refused(schema: onnx.defs.OpSchema, node: ir.Node, opsets: Mapping[str, int], types: dict[str, onnx.TypeProto]) -> str:
    imports = [onnx.helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    axes = {v.name or "": array for v in node.inputs if v is not None and (array := _axes(v)) is not None}
    data = {name: onnx.numpy_helper.from_array(array, name) for name, array in axes.items()}
    try:
        onnx.shape_inference.infer_node_outputs(schema, ir.to_proto(node), types, data, opset_imports=imports)
    except onnx.shape_inference.InferenceError as error:
        return str(error).strip().splitlines()[0].partition("] ")[2] or str(error)
    return ""


def _axes(value: ir.Value) -> ir.Array | None:
    """A constant list of integers, such as axes."""
    held = ir.const_tensor(value)
    return held.numpy() if held is not None and held.dtype == ir.DataType.INT64 and len(held.shape) <= 1 else None


def _type(value: ir.Value, ranked: bool) -> onnx.TypeProto:
    """The element type, and the rank with every extent unknown."""
    shape = [None] * len(value.shape) if ranked and value.shape is not None else None
    return onnx.helper.make_tensor_type_proto(int(value.dtype or 0), shape)
