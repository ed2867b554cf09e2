"""Protobufs of models: copies, and copies in which every node has a name and every value its type."""

from __future__ import annotations

import onnx

from optc.compiler import interface, validate


def copy(proto: onnx.ModelProto) -> onnx.ModelProto:
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    return made


def typed(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with the types of inner values, in bodies too. Raises UserError where the model contradicts itself."""
    made = copy(proto)
    for i, node in enumerate(validate.all_nodes(made.graph)):
        node.name = f"node{i}"  # by which inference finds the bodies of a node again
    interface.infer_types(made, "a model")
    return made
