"""Types of what the bodies of Loop and Scan take, where a model leaves them out: they follow from what the node is given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from onnx import GraphProto, NodeProto, TensorProto, TypeProto, helper

from optc.compiler import validate

Types = dict[str, TypeProto]


def fill(graph: GraphProto, inferred: GraphProto, outer: Mapping[str, TypeProto] | None = None) -> bool:
    """Type the untyped inputs of bodies in `graph` by the types in `inferred`, the same graph after inference; whether any was.

    A state may change its extents from step to step, so that only its element type and rank are taken.
    """
    known: Types = dict(outer or {})
    known.update(
        (v.name, v.type) for v in (*inferred.input, *inferred.output, *inferred.value_info) if v.type.WhichOneof("value")
    )
    known.update((t.name, helper.make_tensor_type_proto(t.data_type, t.dims)) for t in inferred.initializer)
    held, filled = {node.name: node for node in inferred.node}, False
    for node in graph.node:
        for body, found in zip(
            validate.bodies(node), validate.bodies(held[node.name]) if node.name in held else (), strict=False
        ):
            for value, given in zip(body.input, _given(node, known), strict=False):
                if not value.type.WhichOneof("value") and given is not None:
                    value.type.CopyFrom(given)
                    filled = True
            filled |= fill(body, found, known)
    return filled


def _given(node: NodeProto, known: Types) -> Iterator[TypeProto | None]:
    """What a body of the node is given, in order, as far as it is known."""
    if node.op_type == "Loop":
        yield helper.make_tensor_type_proto(TensorProto.INT64, ())
        yield helper.make_tensor_type_proto(TensorProto.BOOL, ())
        yield from (_state(known.get(name)) for name in node.input[2:])
    elif node.op_type == "Scan":
        attributes = {a.name: a for a in node.attribute}
        scanned = attributes["num_scan_inputs"].i
        carried = len(node.input) - scanned
        axes = attributes["scan_input_axes"].ints if "scan_input_axes" in attributes else [0] * scanned
        yield from (_state(known.get(name)) for name in node.input[:carried])
        yield from (_item(known.get(name), axis) for name, axis in zip(node.input[carried:], axes, strict=False))


def _state(given: TypeProto | None) -> TypeProto | None:
    if given is None or not given.HasField("tensor_type"):
        return given
    copy = TypeProto()
    copy.CopyFrom(given)
    for dim in copy.tensor_type.shape.dim:
        dim.ClearField("value")
    return copy


def _item(given: TypeProto | None, axis: int) -> TypeProto | None:
    if given is None or not given.tensor_type.HasField("shape"):
        return None
    copy = TypeProto()
    copy.CopyFrom(given)
    dims = copy.tensor_type.shape.dim
    del dims[axis if axis >= 0 else axis + len(dims)]
    return copy
