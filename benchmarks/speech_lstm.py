"""A recognizer as speech systems stream them, with random weights: 80 mel features a frame, three LSTM layers of 256 units, a
softmax over 64 symbols. States are inputs and outputs, so that a call is a frame, or as many as there are."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FEATURES, HIDDEN, LAYERS, SYMBOLS = 80, 256, 3, 64


def build() -> bytes:
    """The ONNX file; every call gives the same bytes."""
    rng = np.random.default_rng(0)
    held: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = {}
    nodes: list[onnx.NodeProto] = []
    values: dict[str, list[onnx.ValueInfoProto]] = {"in": [], "out": []}

    def weight(name: str, *shape: int) -> str:
        bound = HIDDEN**-0.5  # as torch initializes an LSTM
        held[name] = rng.uniform(-bound, bound, shape).astype(np.float32)
        return name

    def value(kind: str, name: str, *shape: int | str) -> None:
        values[kind].append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)))

    value("in", "x", "T", "N", FEATURES)
    value("out", "y", "T", "N", SYMBOLS)
    held["one"] = np.array([1], np.int64)
    read = "x"
    for i in range(LAYERS):
        width = HIDDEN if i else FEATURES
        weights = [weight(f"w{i}", 1, 4 * HIDDEN, width), weight(f"r{i}", 1, 4 * HIDDEN, HIDDEN), weight(f"b{i}", 1, 8 * HIDDEN)]
        results = [f"s{i}", f"h{i}_out", f"c{i}_out"]
        nodes.append(helper.make_node("LSTM", [read, *weights, "", f"h{i}", f"c{i}"], results, f"lstm{i}", hidden_size=HIDDEN))
        nodes.append(helper.make_node("Squeeze", [f"s{i}", "one"], [f"q{i}"], f"squeeze{i}"))
        read = f"q{i}"
        for state in ("h", "c"):
            value("in", f"{state}{i}", 1, "N", HIDDEN)
            value("out", f"{state}{i}_out", 1, "N", HIDDEN)
    nodes.append(helper.make_node("MatMul", [read, weight("w_out", HIDDEN, SYMBOLS)], ["logits"], "logits"))
    nodes.append(helper.make_node("Softmax", ["logits"], ["y"], "softmax", axis=-1))
    stored = [numpy_helper.from_array(array, name) for name, array in held.items()]
    graph = helper.make_graph(nodes, "speech_lstm", values["in"], values["out"], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    found: bytes = model.SerializeToString(deterministic=True)
    return found
