"""Models of a few nodes, compiled for the cpu target without any pass, beside onnxruntime without optimizations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper

from optc.compiler import load
from optc.targets.tvm import machine
from optc.targets.tvm.build import build
from optc.targets.tvm.compact import aligned_copy
from optc.targets.tvm.engine import TvmEngine

Array = np.ndarray[Any, Any]
Value = tuple[str, str | np.dtype[Any], list[int | str] | None]  # name, NumPy's or ml_dtypes' type, shape


class Compiled:
    def __init__(
        self,
        nodes: list[onnx.NodeProto],
        inputs: list[Value],
        outputs: list[Value],
        folder: Path,
        opset: int = 25,
        **constants: Any,
    ) -> None:
        graph = helper.make_graph(
            nodes,
            "g",
            [_info(*value) for value in inputs],
            [_info(*value) for value in outputs],
            [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
        )
        imports = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
        self.proto = helper.make_model(graph, opset_imports=imports, ir_version=13 if opset > 21 else 10)
        artifact = build(load.from_proto(self.proto, "test"), machine.host(), "cpu")
        library = folder / artifact.program["library"]
        library.parent.mkdir(exist_ok=True)
        library.write_bytes(artifact.files[artifact.program["library"]])
        self.engine = TvmEngine(library, artifact.program, {name: aligned_copy(a) for name, a in artifact.weights.items()}, 1)

    def run(self, **feeds: Array) -> Array:
        """The first output."""
        return next(iter(self.engine.run(feeds).values()))

    def check(self, tolerance: float = 0.0, **feeds: Array) -> None:
        """Every output against onnxruntime's: equal, or within a tolerance relative to the largest element."""
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 3
        session = ort.InferenceSession(self.proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        found = self.engine.run(feeds)
        for output, expected in zip(session.get_outputs(), session.run(None, feeds), strict=True):
            actual = found[output.name]
            assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape), output.name
            allowed = tolerance * float(np.abs(expected.astype(np.float64)).max(initial=0))
            np.testing.assert_allclose(actual.astype(np.float64), expected.astype(np.float64), rtol=0, atol=allowed)


def whole(dtype: Any, *shape: int, seed: int = 0) -> Array:
    """Integers over the type's whole range."""
    info = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(info.min, info.max + 1, shape).astype(dtype)


def real(*shape: int, seed: int = 0, scale: float = 1.0) -> Array:
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def element_type(dtype: Any) -> int:
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def _info(name: str, dtype: Any, shape: list[int | str] | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, element_type(dtype), shape)
