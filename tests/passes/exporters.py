"""Graphs written as exporters write them: nodes one by one, with computed shapes where these compute them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from optc.compiler import ir, load, verify
from optc.compiler.edit import Editor
from optc.compiler.pipeline import Pipeline
from optc.compiler.reference import Reference

PREPARED = "infer-shapes,canonicalize,fold-constants,canonicalize,share-subexpressions"
Feeds = dict[str, np.ndarray[Any, Any]]


class Writer:
    """A model as it is written. `w.Add(x, y)` adds a node and gives the name of its result; arrays become initializers."""

    def __init__(self, opset: int = 23) -> None:
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []

    def fed(self, name: str, shape: Any, dtype: Any = np.float32) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape))
        return name

    def given(self, value: str, name: str, shape: Any, dtype: Any = np.float32) -> None:
        """An output of the graph."""
        self.nodes.append(helper.make_node("Identity", [value], [name], name=f"give_{name}"))
        self.outputs.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape))

    def weight(self, *shape: int, scale: float = 0.5) -> str:
        seed = len(self.weights)
        return self.held(np.random.default_rng(seed).standard_normal(shape).astype(np.float32) * np.float32(scale))

    def held(self, array: Any) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def extent(self, x: str, axis: int) -> str:
        """A dimension as int64[1]."""
        return self.Unsqueeze(self.Gather(self.Shape(x), np.array(axis)), np.array([0]))  # type: ignore[no-any-return]

    def __getattr__(self, op_type: str) -> Any:
        def add(*inputs: Any, outputs: int = 1, **attributes: Any) -> Any:
            names = ["" if i is None else i if isinstance(i, str) else self.held(i) for i in inputs]
            number = len(self.nodes)
            made = [f"{op_type.lower()}{number}" + (f"_{i}" if outputs > 1 else "") for i in range(outputs)]
            self.nodes.append(helper.make_node(op_type, names, made, name=f"{op_type}_{number}", **attributes))
            return made[0] if outputs == 1 else tuple(made)

        return add

    def proto(self) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, "net", self.inputs, self.outputs, self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=10)


def run(proto: onnx.ModelProto, passes: str) -> Editor:
    edit = Editor(load.from_proto(proto, "test"))
    interface = verify.signature(edit.model)
    for p in Pipeline.parse(",".join(filter(None, (PREPARED, passes, "eliminate-dead")))).passes:
        edit.owner = p.name
        p.run(edit)
    assert verify.verify(edit.model, interface) == []
    return edit


def count(model: ir.Model, op_type: str) -> int:
    return sum(n.op_type == op_type for graph in ir.all_graphs(model.graph) for n in graph)


def assert_same(proto: onnx.ModelProto, model: ir.Model, feeds: list[Feeds], tolerance: float = 2e-5) -> None:
    source, result = Reference(proto), Reference(model)
    for sample in feeds:
        expected, found = source.run(sample), result.run(sample)
        for name, array in expected.items():
            assert found[name].shape == array.shape
            np.testing.assert_allclose(found[name], array, rtol=tolerance, atol=tolerance, err_msg=name)
