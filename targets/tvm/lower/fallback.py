"""What the table lacks goes through the ONNX converters that ship with TVM, a node at a time, and is reported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from onnx import helper
from tvm import relax
from tvm.relax.frontend.onnx import onnx_frontend

from optc.compiler import ir
from optc.targets.tvm.lower import types
from optc.targets.tvm.lower.lowering import Lowering, Operand, is_constant


def known(node: ir.Node) -> bool:
    """Whether TVM's frontend has a converter for the operator."""
    return node.domain in ("", "ai.onnx") and node.op_type in onnx_frontend._get_convert_map()


def convert(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    """The node by TVM's converter for its operator, if there is one."""
    table = onnx_frontend._get_convert_map()
    if list(ir.bodies(node)):
        raise ctx.fail(node, "it has bodies")
    if not known(node):
        domain = node.domain or "ai.onnx"
        raise ctx.fail(node, f"operator {node.op_type} of domain {domain} is not known to this target")
    attributes = {a.name: helper.get_attribute_value(a) for a in ir.to_proto(node).attribute}
    attributes["tvm_custom"] = {"name": node.name, "num_outputs": len(node.outputs)}
    args = [None if x is None else relax.const(x) if is_constant(x) else ctx.tensor(x) for x in inputs]
    feeds = onnx_frontend.onnx_input(args)
    try:
        found = table[node.op_type].get_converter(ctx.opset)(ctx.builder, feeds, attributes, [{}, {}])
        found = ctx.builder.normalize(found) if isinstance(found, relax.Expr) else found
    except (RuntimeError, AttributeError, TypeError, ValueError, LookupError, AssertionError) as error:  # TVM's are RuntimeErrors
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise ctx.fail(node, f"TVM's converter refused it: {reason}") from error
    ctx.notes.append(f"lowered by TVM's ONNX frontend: node {ir.node_id(node)}")
    if isinstance(found, relax.Expr) and isinstance(found.ty, relax.TupleType):
        bound = ctx.emit(found)
        return [ctx.emit(relax.TupleGetItem(bound, i)) for i in range(len(found.ty.fields))]
    results = list(found) if isinstance(found, list | tuple | relax.Tuple) else [found]
    results = [ctx.emit(r) for r in results]
    for result in results:
        if not isinstance(result.ty, relax.TensorType) or not isinstance(result.ty.shape, relax.ShapeExpr):
            raise ctx.fail(node, "the shape of its result is known only at run time")
    for value, result in zip(node.outputs, results, strict=False):
        if value.dtype is not None and str(result.ty.dtype) != types.held(str(value.dtype.numpy())):
            raise ctx.fail(node, f"TVM's converter makes {result.ty.dtype} of it, not {value.dtype.numpy()}")
    return results
