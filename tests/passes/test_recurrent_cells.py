"""Recurrent cells that exporters write out gate by gate become LSTM and GRU, with the outputs that they had."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks import zoo
from optc.compiler import inputs, ir, load
from optc.compiler.check import check
from optc.compiler.edit import Editor
from optc.compiler.numerics import Numerics
from optc.compiler.pipeline import Pipeline
from optc.compiler.recipe import DEFAULT_PASSES


def operators(model: ir.Model) -> Counter[str]:
    return Counter(n.op_type for graph in ir.all_graphs(model.graph) for n in graph)


def test_silero_as_dynamo_exports_it() -> None:
    """Both branches of an If hold an LSTMCell: two Gemm, Add, Split, and ten nodes more."""
    path = zoo.fetch("silero_vad_op18_ifless")
    before, edit = load.load(path), Editor(load.load(path))
    for p in Pipeline.parse(DEFAULT_PASSES):
        edit.owner = p.name
        p.run(edit)
    found = operators(edit.model)
    assert (found["LSTM"], found["Tanh"], found["Gemm"]) == (2, 0, 0)
    assert ir.count_nodes(edit.model) <= 76
    checked = check(before, edit.model, Numerics.REASSOCIATED, inputs.generate(before))
    assert checked.holds, str(checked.worst)


SIZE, STEPS, WIDTH = 3, 4, 2


def weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).uniform(-1, 1, shape).astype(np.float32)


class Unrolled:
    """A layer written as its cells, step after step, as torch's decompositions write it."""

    def __init__(self, opset: int = 17) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.held: dict[str, np.ndarray] = {}
        self.opset, self.count = opset, 0

    def op(self, op_type: str, *inputs: str | np.ndarray, outputs: int = 1, **attributes: Any) -> list[str]:
        names = []
        for value in inputs:
            if isinstance(value, np.ndarray):
                key = next(
                    (k for k, a in self.held.items() if a.shape == value.shape and np.array_equal(a, value)), f"w{len(self.held)}"
                )
                self.held[key] = value
                value = key
            names.append(value)
        self.count += 1
        made = [f"v{self.count}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op_type, names, made, **attributes))
        return made

    def one(self, op_type: str, *inputs: str | np.ndarray, **attributes: Any) -> str:
        return self.op(op_type, *inputs, **attributes)[0]

    def view(self, op_type: str, value: str, axis: int) -> str:
        return self.one(op_type, value, np.array([axis])) if self.opset >= 13 else self.one(op_type, value, axes=[axis])

    def lstm(self, x: str, h: str | None, c: str | np.ndarray) -> tuple[str, str]:
        s = self.one("Gemm", x, weights(4 * SIZE, WIDTH), weights(4 * SIZE), transB=1)
        recurrent = np.full(4 * SIZE, 0.25, np.float32)
        s = self.one("Add", s, self.one("Gemm", h, weights(4 * SIZE, SIZE), recurrent, transB=1) if h is not None else recurrent)
        i, f, g, o = self.op("Split", s, outputs=4, axis=1)
        kept = self.one("Mul", self.one("Sigmoid", f), c)
        c = self.one("Add", kept, self.one("Mul", self.one("Sigmoid", i), self.one("Tanh", g)))
        return self.one("Mul", self.one("Sigmoid", o), self.one("Tanh", c)), c

    def gru(self, x: str, h: str) -> str:
        given = self.one("Gemm", x, weights(3 * SIZE, WIDTH), weights(3 * SIZE), transB=1)
        recurrent = self.one("Gemm", h, weights(3 * SIZE, SIZE), weights(3 * SIZE) * 2, transB=1)
        (xr, xz, xn), (hr, hz, hn) = (self.op("Split", v, outputs=3, axis=1) for v in (given, recurrent))
        r, z = self.one("Sigmoid", self.one("Add", xr, hr)), self.one("Sigmoid", self.one("Add", xz, hz))
        n = self.one("Tanh", self.one("Add", xn, self.one("Mul", r, hn)))
        return self.one("Add", self.one("Mul", self.one("Sub", h, n), z), n)

    def model(self, shapes: dict[str, list[int | str]], *results: str) -> ir.Model:
        graph = helper.make_graph(
            self.nodes, "g", [helper.make_tensor_value_info(k, TensorProto.FLOAT, s) for k, s in shapes.items()],
            [helper.make_tensor_value_info(r, TensorProto.FLOAT, None) for r in results],
            [numpy_helper.from_array(a, k) for k, a in self.held.items()],
        )  # fmt: skip
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)
        return load.from_proto(onnx.shape_inference.infer_shapes(proto, strict_mode=True), "unrolled")


def optimized(model: ir.Model) -> Editor:
    """After the default passes, with the outputs that it had."""
    before, edit = model.clone(), Editor(model)
    for p in Pipeline.parse(DEFAULT_PASSES):
        edit.owner = p.name
        p.run(edit)
    found = check(before, model, Numerics.REASSOCIATED, inputs.generate(before))
    assert found.holds, str(found.worst)
    return edit


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("start", ["zeros", "fed"])
def test_an_unrolled_lstm_is_one_layer(axis: int, start: str, opset: int) -> None:
    u = Unrolled(opset)
    h, c = ("h", "c") if start == "fed" else (None, np.zeros((2, SIZE), np.float32))
    states = []
    for t in range(STEPS):
        h, c = u.lstm(u.one("Gather", "x", np.array(t), axis=axis), h, c)
        states.append(u.view("Unsqueeze", h, axis))
    x: list[int | str] = [STEPS, 2, WIDTH] if axis == 0 else [2, STEPS, WIDTH]
    fed: dict[str, list[int | str]] = {"h": [2, SIZE], "c": [2, SIZE]} if start == "fed" else {}
    edit = optimized(u.model({"x": x, **fed}, u.one("Concat", *states, axis=axis), str(c)))
    found = operators(edit.model)
    assert found["LSTM"] == 1
    assert set(found) <= {"LSTM", "Transpose", "Squeeze", "Unsqueeze"}
    assert found.total() <= 7


def test_an_unrolled_gru_whose_states_are_used_one_by_one() -> None:
    u = Unrolled()
    pieces, h, seen = u.op("Split", "x", np.ones(STEPS, np.int64), outputs=STEPS, axis=0), "h", []
    for piece in pieces:
        h = u.gru(u.view("Squeeze", piece, 0), h)
        seen.append(u.one("Relu", h))
    found = operators(optimized(u.model({"x": [STEPS, "N", WIDTH], "h": ["N", SIZE]}, *seen)).model)
    assert (found["GRU"], found["Split"], found["Concat"], found["Tanh"]) == (1, 1, 0, 0)


def test_a_decoder_that_reads_what_it_wrote_stays_step_by_step() -> None:
    u, h = Unrolled(), "h"
    x = "x"
    for _ in range(2):
        h = u.gru(x, h)
        x = u.one("MatMul", h, weights(SIZE, WIDTH))
    edit = optimized(u.model({"x": ["N", WIDTH], "h": ["N", SIZE]}, x))
    assert operators(edit.model)["GRU"] == 2
    assert "a step's input depends on the step before" in {r.reason for r in edit.refusals}


def test_a_cell_state_that_is_seen_between_steps_keeps_them_apart() -> None:
    u = Unrolled()
    h, c = u.lstm("x", "h", "c")
    seen = u.one("Relu", c)
    h, c = u.lstm("x2", h, c)
    edit = optimized(u.model({"x": ["N", WIDTH], "x2": ["N", WIDTH], "h": ["N", SIZE], "c": ["N", SIZE]}, h, seen))
    assert operators(edit.model)["LSTM"] == 2
    assert any("between two steps is used elsewhere" in r.reason for r in edit.refusals)
