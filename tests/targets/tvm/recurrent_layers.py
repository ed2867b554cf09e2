"""One recurrent node as a model with symbolic sizes, and a compiled model beside onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from optc.compiler import load
from optc.targets.tvm import machine
from optc.targets.tvm.build import build
from optc.targets.tvm.compact import aligned_copy
from optc.targets.tvm.engine import TvmEngine

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
OUTPUTS = ("Y", "Y_h", "Y_c")
Array = np.ndarray[Any, Any]


class Compiled:
    """A model compiled without any pass, and what it must agree with: onnxruntime without optimizations."""

    def __init__(
        self,
        proto: onnx.ModelProto,
        folder: Path,
        reference: onnx.ModelProto | None = None,
        host: machine.Machine | None = None,
    ) -> None:
        self.engine, self.notes = _loaded(proto, folder, host or machine.host())
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        self.session = ort.InferenceSession((reference or proto).SerializeToString(), options, ["CPUExecutionProvider"])

    def check(self, tolerance: float = 1e-5, **feeds: Array) -> dict[str, Array]:
        found = self.engine.run(feeds)
        kinds = {
            i.name: np.float64 if "double" in i.type else np.float32 for i in self.session.get_inputs() if "int" not in i.type
        }
        expected = self.session.run(None, {n: a.astype(kinds.get(n, a.dtype)) for n, a in feeds.items()})
        for output, wanted in zip(self.session.get_outputs(), expected, strict=True):
            assert found[output.name].shape == wanted.shape, output.name
            np.testing.assert_allclose(found[output.name], wanted, tolerance, tolerance, err_msg=output.name)
        return found


def compiled_engine(proto: onnx.ModelProto, folder: Path) -> TvmEngine:
    return _loaded(proto, folder, machine.host())[0]


def _loaded(proto: onnx.ModelProto, folder: Path, host: machine.Machine) -> tuple[TvmEngine, Sequence[str]]:
    artifact = build(load.from_proto(proto, "test"), host, "cpu")
    library = folder / artifact.program["library"]
    library.parent.mkdir(exist_ok=True)
    library.write_bytes(artifact.files[artifact.program["library"]])
    weights = {name: aligned_copy(array) for name, array in artifact.weights.items()}
    return TvmEngine(library, artifact.program, weights, 2), artifact.notes


class Layer:
    """A model of one recurrent node with random weights; batch and steps are symbolic."""

    def __init__(
        self,
        op: str,
        hidden: int = 20,
        width: int = 7,
        given: Sequence[str] = ("B",),
        outputs: Sequence[str] = OUTPUTS,
        constant: bool = True,
        dtype: str = "float32",
        scale: float = 0.5,
        **attributes: Any,
    ) -> None:
        self.op, self.hidden, self.width, self.given, self.dtype = op, hidden, width, given, dtype
        self.directions = 2 if attributes.get("direction") == "bidirectional" else 1
        self.batch_first = bool(attributes.get("layout", 0))
        self.attributes, self.constant = attributes, constant
        self.outputs = [o for o in outputs if o != "Y_c" or op == "LSTM"]
        random = np.random.default_rng(7)
        rows, d = GATES[op] * hidden, self.directions
        shapes = {"W": (d, rows, width), "R": (d, rows, hidden), "B": (d, 2 * rows), "P": (d, 3 * hidden)}
        self.weights = {
            name: (random.standard_normal(shape) * scale / (np.sqrt(hidden) if name == "R" else 1)).astype(dtype)
            for name, shape in shapes.items()
            if name in ("W", "R", *given)
        }

    def model(self, dtype: str | None = None) -> onnx.ModelProto:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype or self.dtype))
        names = ["X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"][: 8 if self.op == "LSTM" else 6]
        present = ("X", "W", "R", *self.given)
        every = OUTPUTS[: 3 if self.op == "LSTM" else 2]
        node = helper.make_node(
            self.op,
            [n if n in present else "" for n in names],
            [o if o in self.outputs else "" for o in every],
            hidden_size=self.hidden,
            **self.attributes,
        )
        state = ["N", self.directions, self.hidden] if self.batch_first else [self.directions, "N", self.hidden]
        shapes: dict[str, list[Any]] = {
            "X": ["N", "T", self.width] if self.batch_first else ["T", "N", self.width],
            "sequence_lens": ["N"],
            "initial_h": state,
            "initial_c": state,
        }
        shapes |= {} if self.constant else {name: list(array.shape) for name, array in self.weights.items()}
        inputs = [
            helper.make_tensor_value_info(n, TensorProto.INT32 if n == "sequence_lens" else kind, shapes[n])
            for n in shapes
            if n in present
        ]
        sizes = {"Y": [None] * 4, "Y_h": state, "Y_c": state}
        outputs = [helper.make_tensor_value_info(o, kind, sizes[o]) for o in self.outputs]
        held = [numpy_helper.from_array(a.astype(dtype or self.dtype), n) for n, a in self.weights.items() if self.constant]
        graph = helper.make_graph([node], "layer", inputs, outputs, held)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)

    def feeds(self, steps: int, batch: int, lengths: Sequence[int] | None = None) -> dict[str, Array]:
        random = np.random.default_rng(steps * 100 + batch)
        state = (batch, self.directions, self.hidden) if self.batch_first else (self.directions, batch, self.hidden)
        shapes = {
            "X": (batch, steps, self.width) if self.batch_first else (steps, batch, self.width),
            "initial_h": state,
            "initial_c": state,
        }
        found: dict[str, Array] = {
            n: random.standard_normal(s).astype(self.dtype) for n, s in shapes.items() if n in ("X", *self.given)
        }
        if "sequence_lens" in self.given:
            found["sequence_lens"] = np.array(lengths or random.integers(1, steps + 1, batch), np.int32)
        return found | ({} if self.constant else self.weights)

    def compiled(self, folder: Path, reference: str | None = None) -> Compiled:
        return Compiled(self.model(), folder, self.model(reference) if reference else None)
