"""Sparse weights become dense ones: nothing after reading a model knows sparse tensors."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto, numpy_helper

from optc.compiler.diagnostics import UserError
from optc.compiler.validate import bodies

LARGEST = 1 << 31
"""Bytes of a weight that may be made dense: what a protobuf can hold."""


def densify(proto: ModelProto, place: str) -> None:
    """Make sparse initializers and `sparse_value` constants dense, in bodies and functions too.

    Raises UserError for indices that do not fit their shape, and for what would be too large.
    """
    _graph(proto.graph, place)
    for function in proto.functions:
        _nodes(function.node, place)


def _graph(graph: GraphProto, place: str) -> None:
    for sparse in graph.sparse_initializer:
        graph.initializer.append(_dense(sparse, sparse.values.name, place))
    del graph.sparse_initializer[:]
    _nodes(graph.node, place)


def _nodes(nodes: Iterable[NodeProto], place: str) -> None:
    for node in nodes:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "sparse_value" and attribute.HasField("sparse_tensor"):
                dense = _dense(attribute.sparse_tensor, node.output[0] if node.output else "", place)
                attribute.Clear()
                attribute.name, attribute.type = "value", attribute.TENSOR
                attribute.t.CopyFrom(dense)
        for body in bodies(node):
            _graph(body, place)


def _dense(sparse: SparseTensorProto, name: str, place: str) -> TensorProto:
    shape = tuple(sparse.dims)
    try:
        values, indices = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"the sparse weight '{name}' cannot be read: {error}", place=place) from error
    if any(size < 0 for size in shape) or math.prod(shape) * values.itemsize > LARGEST:
        raise UserError(f"the sparse weight '{name}' has shape {list(shape)}, too large to be made dense", place=place)
    places = indices if indices.ndim == 1 else indices @ _strides(shape) if indices.shape[1:] == (len(shape),) else None
    ends = np.asarray(shape) if indices.ndim == 2 else math.prod(shape)
    if places is None or places.shape != values.shape or ((indices < 0) | (indices >= ends)).any():
        raise UserError(f"the indices of the sparse weight '{name}' do not fit its shape {list(shape)}", place=place)
    dense = np.zeros(math.prod(shape), values.dtype)
    dense[places] = values
    made = numpy_helper.from_array(dense.reshape(shape), name)
    made.data_type = sparse.values.data_type
    return made


def _strides(shape: tuple[int, ...]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """How far apart neighbours along each axis are, in elements, row-major."""
    return np.asarray([math.prod(shape[axis + 1 :]) for axis in range(len(shape))], np.int64)
