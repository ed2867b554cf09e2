"""ONNX functions: operators whose schema defines them by other operators, and that definition for one node.

A definition may depend on the node's attributes and on the types of its inputs, and is written for one opset: where operators
of it mean something else in the model's opset it is converted by ONNX's version converter.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import onnx
import onnx.inliner
import onnx.shape_inference
import onnx.version_converter
import onnx_ir.passes.common
from google.protobuf.message import DecodeError

from optc.compiler import ir, shapes, validate

RANDOM = frozenset({"Bernoulli"})
"""Functions that draw random numbers: their definitions draw others."""

_TYPES_ADDED = frozenset(
    {"Abs", "Add", "And", "Cast", "Constant", "Div", "Equal", "Exp", "Greater", "Identity", "Less", "Log", "Max", "Min", "Mul"}
    | {"Neg", "Not", "Or", "Pow", "Relu", "Sigmoid", "Sqrt", "Sub", "Sum", "Tanh", "Where"}
)
"""Operators whose versions since opset 7 differ in the types they take alone: the checker decides on those."""

_DOMAIN = "optc.inlined"


class UndefinedError(Exception):
    """A node has no definition that can stand for it; the message is the reason."""


def names() -> frozenset[str]:
    """Standard operators that some version of their schema defines as a function, by name."""
    schemas: Any = onnx.defs.get_all_schemas_with_history()
    return frozenset(
        s.name
        for s in schemas
        if s.domain == "" and (s.has_function or s.has_context_dependent_function) and s.name not in RANDOM
    )


def has_definition(node: ir.Node, opset: int) -> bool:
    """Whether the node's schema in the opset is a function."""
    schema = _schema(node, opset) if ir.standard(node, node.op_type) and node.op_type not in RANDOM else None
    return schema is not None and bool(schema.has_function or schema.has_context_dependent_function)


def definition(node: ir.Node, opset: int) -> ir.Graph:
    """The node's definition in a standard opset as a graph of its own.

    Its inputs are the distinct inputs of the node in order of their first use, its outputs those of the node that have a name;
    attributes are bound, what was left out is dropped, constants are initializers. Raises UndefinedError with the reason.
    """
    function = _function(node, opset)
    model = _call(node, function)
    try:
        model = onnx.inliner.inline_local_functions(model)
    except RuntimeError as error:
        raise UndefinedError(f"its definition cannot be inlined: {_first_line(error)}") from error
    found = ir.from_proto(_inferred(model))
    onnx_ir.passes.common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(found)
    _casts(found.graph)
    written = found.opset_imports[""]
    if written != opset:
        found = ir.from_proto(_inferred(_in_opset(ir.to_proto(found), written, opset)))
    _keep_zeros(found.graph, opset)
    return found.graph


def _inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return onnx.shape_inference.infer_shapes(model)
    except onnx.shape_inference.InferenceError as error:
        raise UndefinedError(f"its definition contradicts its types: {_first_line(error)}") from error


def _casts(graph: ir.Graph) -> None:
    """CastLike -> Cast where the type is known: older opsets have no CastLike."""
    for node in (n for g in ir.all_graphs(graph) for n in g):
        like = node.inputs[1] if ir.standard(node, "CastLike") else None
        if like is not None and like.dtype is not None:
            node.op_type = "Cast"
            node.attributes["to"] = ir.convert_attribute("to", int(like.dtype))
            node.resize_inputs(1)


def _keep_zeros(graph: ir.Graph, opset: int) -> None:
    """Reshape back to a shape that was: a size of 0 in it is an empty dimension, not one to copy."""
    for node in (n for g in ir.all_graphs(graph) for n in g):
        target = node.inputs[1].producer() if ir.standard(node, "Reshape") and node.inputs[1] is not None else None
        if opset >= 14 and target is not None and ir.standard(target, "Shape"):
            node.attributes["allowzero"] = ir.convert_attribute("allowzero", 1)


def _schema(node: ir.Node, opset: int) -> Any:
    """The schema; onnx's stubs know nothing of its functions."""
    return ir.schema(node, opset)


def _function(node: ir.Node, opset: int) -> onnx.FunctionProto:
    schema = _schema(node, opset)
    if schema is None or not (schema.has_function or schema.has_context_dependent_function):
        raise UndefinedError(f"{node.op_type} of opset {opset} is not defined by other operators")
    versions = schema.function_opset_versions if schema.has_function else schema.context_dependent_function_opset_versions
    version = max((v for v in versions if v <= opset), default=min(versions))
    if schema.has_function:
        data = schema.get_function_with_opset_version(version)
    else:
        types = [_type(v).SerializeToString() for v in node.inputs]
        try:
            data = schema.get_context_dependent_function_with_opset_version(version, ir.to_proto(node).SerializeToString(), types)
        except (RuntimeError, ValueError) as error:
            raise UndefinedError(f"its definition cannot be built: {_first_line(error)}") from error
    function = onnx.FunctionProto()
    try:
        function.ParseFromString(data or b"")
    except DecodeError as error:
        raise UndefinedError("its definition cannot be read") from error
    if not function.node:
        raise UndefinedError("ONNX gives no definition for these attributes and types")
    return function


def _type(value: ir.Value | None) -> onnx.TypeProto:
    """The type of an input; of one that is left out, none."""
    if value is None or not value.name:
        return onnx.TypeProto()
    if value.dtype is None or not isinstance(value.type, ir.TensorType):
        raise UndefinedError(f"'{value.name}' is no tensor of known type")
    return shapes.type_proto(value)


def _call(node: ir.Node, function: onnx.FunctionProto) -> onnx.ModelProto:
    """A model that is one call of the function, with the node's types and attributes, defaults spelled out."""
    function.domain, function.name = _DOMAIN, node.op_type
    call = ir.to_proto(node)
    call.domain = _DOMAIN
    given = {a.name for a in call.attribute}
    schema = ir.schema(node, next(o.version for o in function.opset_import if o.domain == ""))
    for name, formal in schema.attributes.items() if schema is not None else ():
        if name not in given and name in function.attribute and formal.default_value.name:
            call.attribute.append(formal.default_value)
    del function.attribute_proto[:]
    declared = {*function.attribute}
    function.attribute.extend(a.name for a in call.attribute if a.name not in declared)
    graph = onnx.GraphProto(name="definition", node=[call])
    for value in dict.fromkeys(v for v in node.inputs if v is not None and v.name):
        graph.input.append(onnx.ValueInfoProto(name=value.name, type=_type(value)))
    for value in node.outputs:
        if value.name:
            graph.output.append(onnx.ValueInfoProto(name=value.name, type=_type(value) if value.dtype is not None else None))
    imports = [*function.opset_import, onnx.helper.make_opsetid(_DOMAIN, 1)]
    return onnx.helper.make_model(graph, functions=[function], opset_imports=imports, ir_version=10)


def _in_opset(model: onnx.ModelProto, written: int, opset: int) -> onnx.ModelProto:
    """The inlined definition in the model's opset. Raises UndefinedError where that is not possible."""
    others = sorted({n.domain for n in validate.all_nodes(model.graph) if n.domain})
    if others:
        raise UndefinedError(f"its definition uses the domain '{others[0]}'")
    changed = list(_changed(model, written, opset))
    missing = [op for op in changed if not onnx.defs.has(op, opset, "")]
    if missing:
        raise UndefinedError(f"its definition needs opset {written}: opset {opset} has no {missing[0]}")
    del model.opset_import[:]
    model.opset_import.append(onnx.helper.make_opsetid("", written if changed else opset))
    if not changed:
        return model
    try:
        same_since = 8 if set(changed) & {"Max", "Min", "Sum"} else 7  # these do not broadcast before
        if written > opset and opset >= same_since and set(changed) <= _TYPES_ADDED:
            model.opset_import[0].version = opset
        else:
            model = onnx.version_converter.convert_version(model, opset)
        onnx.checker.check_model(model, full_check=True)
    except (onnx.version_converter.ConvertError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise UndefinedError(f"its definition of opset {written} cannot be converted to {opset}: {_first_line(error)}") from error
    except RuntimeError as error:  # the converter's own assertions
        raise UndefinedError(f"its definition of opset {written} cannot be converted to {opset}: {_first_line(error)}") from error
    return model


def _changed(model: onnx.ModelProto, a: int, b: int) -> Iterator[str]:
    """Operators that are not the same in both opsets."""
    for node in validate.all_nodes(model.graph):
        versions = {onnx.defs.get_schema(node.op_type, v, "").since_version for v in (a, b) if onnx.defs.has(node.op_type, v, "")}
        if len(versions) != 1 or not onnx.defs.has(node.op_type, b, ""):
            yield node.op_type


def _first_line(error: Exception) -> str:
    """Without the place in ONNX's source."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rsplit(" failed: ", 1)[-1][:200]
