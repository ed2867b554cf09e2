"""Models of opset 1 to 6 are read as opset 7, from which on operators mean what they mean today: no `broadcast`, no `is_test`."""

from __future__ import annotations

import onnx
import onnx.shape_inference
import onnx.version_converter
from onnx import ModelProto, TensorProto

from optc.compiler.diagnostics import UserError
from optc.compiler.validate import bodies

OLDEST = 7
"""The oldest opset that is compiled as it is; onnxruntime and onnx's evaluator define no older one."""

_HINT = f"export the model again, with opset {OLDEST} or newer"


def upgrade(proto: ModelProto, place: str) -> ModelProto:
    """The model in opset 7 where it is of an older one, by ONNX's version converter. Raises UserError where that cannot."""
    version = next((o.version for o in proto.opset_import if o.domain == ""), OLDEST)
    if version >= OLDEST:
        return proto
    if any(True for node in proto.graph.node for _ in bodies(node)):
        raise UserError(f"opset {version} with control flow is too old", place=place, hint=_HINT)
    try:
        typed = onnx.shape_inference.infer_shapes(proto)  # old broadcasting goes by ranks; few old operators say theirs
        _slopes(typed, place)
        typed.ir_version = max(typed.ir_version, 4)  # before, each weight had to be an input, which exporters forgot
        made = onnx.version_converter.convert_version(typed, OLDEST)
    except (RuntimeError, ValueError, onnx.version_converter.ConvertError, onnx.shape_inference.InferenceError) as error:
        reason = (str(error).strip().splitlines() or ["no reason is known"])[-1][:200]
        raise UserError(f"opset {version} is too old, and cannot be upgraded: {reason}", place=place, hint=_HINT) from error
    _constants(made)
    return made


def _constants(proto: ModelProto) -> None:
    """Constants become weights: the converter makes some of integers, which Constant of opset 7 does not have."""
    for node in [n for n in proto.graph.node if n.op_type == "Constant" and n.attribute and n.attribute[0].HasField("t")]:
        tensor = proto.graph.initializer.add()
        tensor.CopyFrom(node.attribute[0].t)
        tensor.name = node.output[0]
        proto.graph.node.remove(node)


def _slopes(proto: ModelProto, place: str) -> None:
    """PRelu of opset 6 has a slope for each channel; from opset 7 on it broadcasts by the last axis. The converter misses it."""
    weights = {t.name: t for t in proto.graph.initializer}
    values = (*proto.graph.input, *proto.graph.value_info)
    ranks = {v.name: len(v.type.tensor_type.shape.dim) for v in values if v.type.tensor_type.HasField("shape")}
    uses = [name for node in proto.graph.node for name in node.input]
    for node in proto.graph.node:
        if node.op_type != "PRelu":
            continue
        x, slope = node.input
        weight = weights.get(slope)
        if weight is None or x not in ranks or uses.count(slope) > 1:
            raise UserError("PRelu of opset 6 with a computed or shared slope cannot be upgraded", place=place, hint=_HINT)
        if list(weight.dims) != [1] and len(weight.dims) == 1:
            _reshape(proto, weight, [weight.dims[0], *[1] * (ranks[x] - 2)])


def _reshape(proto: ModelProto, weight: TensorProto, shape: list[int]) -> None:
    weight.dims[:] = shape
    for value in proto.graph.input:
        if value.name == weight.name:
            del value.type.tensor_type.shape.dim[:]
            for size in shape:
                value.type.tensor_type.shape.dim.add(dim_value=size)
