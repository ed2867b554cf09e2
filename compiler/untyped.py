"""Types of values that ONNX's inference does not know: of operators outside of its schemas (com.microsoft), asked of onnxruntime.

A part of a model is a model of its own, and no engine takes an input without an element type.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optc.compiler import ir, save
from optc.compiler.manifest import dtype as dtype_named

_NAMES = {"float": "float32", "double": "float64"}


def fill(model: ir.Model) -> None:
    """Give values of the main graph that have no element type what onnxruntime infers; nothing where it cannot load the model."""
    lacking = [v for node in model.graph for v in node.outputs if v.name and v.type is None]
    if not lacking:
        return
    known = {str(d) for v in model.graph.inputs if v.shape is not None for d in v.shape if not isinstance(d, int)}
    found = {output.name: output for output in _outputs(model, [v.name or "" for v in lacking])}
    for value in lacking:
        kind = _element(found[value.name].type) if value.name in found else None
        if kind is None:
            continue
        value.type = ir.TensorType(ir.DataType.from_numpy(dtype_named(_NAMES.get(kind, kind))))
        if value.shape is None:
            dims = enumerate(found[value.name].shape)  # a name that no input has is onnxruntime's own
            value.shape = ir.Shape(d if isinstance(d, int) or d in known else f"{value.name}_d{i}" for i, d in dims)


def _outputs(model: ir.Model, names: Sequence[str]) -> Sequence[Any]:
    """What onnxruntime says of values by name."""
    import onnxruntime as ort
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    copy = model.clone()
    made = {v.name: v for node in copy.graph for v in node.outputs}
    copy.graph.outputs.extend(made[name] for name in names if not made[name].is_graph_output())
    options = ort.SessionOptions()
    options.graph_optimization_level, options.log_severity_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL, 4
    with tempfile.TemporaryDirectory(prefix="optc-") as folder:
        path = Path(folder) / "model.onnx"
        save.save(copy, path)
        try:
            session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except (errors.Fail, errors.NotImplemented, errors.InvalidGraph, errors.InvalidArgument, errors.RuntimeException):
            return ()
        found: Sequence[Any] = session.get_outputs()
        return found


def _element(kind: str) -> str | None:
    """`tensor(uint8)` -> `uint8`; None for sequences and optionals."""
    return kind[len("tensor(") : -1] if kind.startswith("tensor(") else None
