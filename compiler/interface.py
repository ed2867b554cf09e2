"""The interface of a source model: its anonymous dimensions named, `--shape` applied, the types of its values inferred."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import onnx
import onnx.shape_inference
from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from optc.compiler import body_types, ir, ops, validate
from optc.compiler.diagnostics import UserError, nearest

ANONYMOUS = ("", "?")
BIG = 1 << 16
"""Initializers above this many bytes are not shown to shape inference, which copies what it is given."""

FAILURES = (onnx.shape_inference.InferenceError, ValueError)
"""What inference raises: the latter for types that do not exist."""

Shapes = Mapping[str, tuple[int | str, ...]]


def name_dimensions(graph: GraphProto) -> None:
    """Dimensions without a name (absent, -1, '?') are different unknowns: each gets a name of its own."""
    known = {dim.dim_param for value in graph.input for dim in value.type.tensor_type.shape.dim}
    for value in graph.input:
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if _anonymous(dim):
                dim.dim_param = next(n for k in itertools.count() if (n := f"{value.name}_d{axis}" + "_" * k) not in known)
    for value in graph.output:
        for dim in value.type.tensor_type.shape.dim:
            if _anonymous(dim):
                dim.ClearField("value")


def _anonymous(dim: onnx.TensorShapeProto.Dimension) -> bool:
    return dim.dim_value < 0 if dim.HasField("dim_value") else dim.dim_param in ANONYMOUS


def fix_shapes(graph: GraphProto, shapes: Shapes, place: str) -> None:
    inputs = {v.name: v for v in graph.input}
    bound: dict[str, int | str] = {}
    for name, shape in shapes.items():
        if name not in inputs:
            raise UserError(
                f"--shape names the input '{name}', which the model does not have", place=place, hint=nearest(name, inputs)
            )
        tensor = inputs[name].type.tensor_type
        if not tensor.HasField("shape"):
            for _ in shape:
                tensor.shape.dim.add()
        if len(tensor.shape.dim) != len(shape):
            raise UserError(f"--shape gives '{name}' {len(shape)} dimensions, the model {len(tensor.shape.dim)}", place=place)
        for axis, (dim, wanted) in enumerate(zip(tensor.shape.dim, shape, strict=True)):
            if dim.HasField("dim_value") and dim.dim_value != wanted:
                raise UserError(
                    f"dimension {axis} of '{name}' is {dim.dim_value} in the model, --shape says {wanted}", place=place
                )
            if dim.dim_param and bound.setdefault(dim.dim_param, wanted) != wanted:
                raise UserError(
                    f"--shape makes dimension '{dim.dim_param}' both {bound[dim.dim_param]} and {wanted}", place=place
                )
            if wanted == 0:
                raise UserError(f"--shape fixes dimension {axis} of '{name}' to 0", place=place)
            _set_dim(dim, wanted)
    for value in graph.input:  # a name that was fixed in one input is fixed in all
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in bound:
                _set_dim(dim, bound[dim.dim_param])
    for value in graph.output:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.ClearField("value")
    del graph.value_info[:]


def _set_dim(dim: onnx.TensorShapeProto.Dimension, wanted: int | str) -> None:
    if isinstance(wanted, int):
        dim.dim_value = wanted
    else:
        dim.dim_param = wanted


def infer_types(proto: ModelProto, place: str) -> None:
    """ONNX's shape inference over the model without its weights; what it finds inconsistent is the user's error."""
    weights = {t.name for t in proto.graph.initializer}
    for value in proto.graph.input:
        if value.name not in weights:
            _check_type(value, place)
    skeleton = ModelProto()
    skeleton.CopyFrom(proto) if proto.ByteSize() < BIG else _copy_without_weights(proto, skeleton)
    _spell_defaults(skeleton)
    skeleton.ir_version = max(skeleton.ir_version, 4)  # before version 4 every weight had to be an input
    opset = next((o.version for o in proto.opset_import if o.domain == ""), 1)
    for node in validate.all_nodes(skeleton.graph):
        _write_defaults(node, opset)
    defined = {(f.domain, f.name) for f in proto.functions}
    own = sorted({n.op_type for n in validate.all_nodes(proto.graph) if n.domain == ir.DOMAIN and n.op_type in ops.OPS})
    skeleton.functions.extend(ir.to_proto(ops.function(name, opset)) for name in own if (ir.DOMAIN, name) not in defined)
    try:
        try:
            inferred = _infer(skeleton)
        except FAILURES:
            if not skeleton.graph.value_info:
                raise
            del skeleton.graph.value_info[:]  # what an exporter noted of inner values may be stale; only its nodes count
            inferred = _infer(skeleton)
        while body_types.fill(skeleton.graph, inferred.graph):  # one level of bodies in bodies at a time
            inferred = _infer(skeleton)
    except FAILURES as error:
        raise UserError(
            "the operators, types and shapes of the model contradict each other", place=place, lines=_brief(str(error))
        ) from error
    for old, new in zip(proto.graph.output, inferred.graph.output, strict=True):
        if old.type.HasField("tensor_type") or not old.type.WhichOneof("value"):
            old.type.CopyFrom(new.type)
    _take_types(proto.graph, inferred.graph)


def _take_types(graph: onnx.GraphProto, inferred: onnx.GraphProto) -> None:
    """What was inferred of inner values, in bodies too."""
    del graph.value_info[:]
    graph.value_info.extend(inferred.value_info)
    for mine, theirs in zip(graph.input, inferred.input, strict=True):
        if not mine.type.WhichOneof("value"):
            mine.type.CopyFrom(theirs.type)
    held = {node.name: node for node in inferred.node}
    for node in graph.node:
        if any(True for _ in validate.bodies(node)):
            for body, found in zip(validate.bodies(node), validate.bodies(held[node.name]), strict=True):
                _take_types(body, found)
                for value in body.value_info:  # such a name may stand for another size in the outer graph
                    for dim in value.type.tensor_type.shape.dim:
                        if dim.dim_param.startswith("unk__"):
                            dim.ClearField("dim_param")


def _spell_defaults(skeleton: ModelProto) -> None:
    """Types of operators that are functions are inferred through their bodies, where ONNX forgets defaults of attributes."""
    opset = next((o.version for o in skeleton.opset_import if o.domain == ""), 1)
    for node in validate.all_nodes(skeleton.graph):
        if node.domain or not onnx.defs.has(node.op_type, opset, ""):
            continue
        schema: Any = onnx.defs.get_schema(node.op_type, opset, "")
        if schema.has_function and not schema.has_type_and_shape_inference_function:
            given = {a.name for a in node.attribute}
            defaults = (a.default_value for name, a in schema.attributes.items() if name not in given)
            node.attribute.extend(value for value in defaults if value.name)


def _check_type(value: onnx.ValueInfoProto, place: str) -> None:
    if not value.type.WhichOneof("value") or (value.type.HasField("tensor_type") and not value.type.tensor_type.elem_type):
        raise UserError(f"input '{value.name}' has no type", place=place, hint="export the model again")
    if value.type.HasField("tensor_type") and not value.type.tensor_type.HasField("shape"):
        raise UserError(f"input '{value.name}' has no shape", place=place, hint=f"give it one: --shape {value.name}=1x3x224x224")


def _write_defaults(node: NodeProto, opset: int) -> None:
    """ONNX infers MeanVarianceNormalization by its definition as a function, to which it forgets to give the default axes."""
    if node.op_type == "MeanVarianceNormalization" and not node.domain and not node.attribute and opset >= 9:
        node.attribute.append(onnx.defs.get_schema(node.op_type, opset).attributes["axes"].default_value)


def _infer(skeleton: ModelProto) -> ModelProto:
    try:
        return onnx.shape_inference.infer_shapes(skeleton, check_type=True, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        if "during data propagation" not in str(error):
            raise
        return onnx.shape_inference.infer_shapes(skeleton, check_type=True, strict_mode=True)  # integers may wrap, ONNX gives up


def _copy_without_weights(proto: ModelProto, into: ModelProto) -> None:
    into.ir_version = proto.ir_version
    into.opset_import.extend(proto.opset_import)
    into.functions.extend(proto.functions)
    into.graph.name = proto.graph.name
    into.graph.input.extend(proto.graph.input)
    into.graph.output.extend(proto.graph.output)
    into.graph.value_info.extend(proto.graph.value_info)
    weights = {t.name: t for t in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "Constant" and node.ByteSize() > BIG and node.attribute[0].HasField("t"):
            weights[node.output[0]] = node.attribute[0].t
        else:
            into.graph.node.add().CopyFrom(node)
    for name, tensor in weights.items():
        if tensor.ByteSize() <= BIG and tensor.data_location != TensorProto.EXTERNAL:
            into.graph.initializer.add().CopyFrom(tensor)
        else:
            into.graph.initializer.add(name=name, data_type=tensor.data_type, dims=tensor.dims)


def _brief(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()][:6]
