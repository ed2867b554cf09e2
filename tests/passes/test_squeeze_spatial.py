"""squeeze-spatial: signals laid as images become signals, in CREPE and in random networks, and mean what they meant."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks import zoo
from optc.compiler import api
from optc.compiler.pipeline import Pipeline
from optc.compiler.testing.checks import CHECKS, Subject, examine

CHECKS_OF_ONE_PROCESS = [c for c in CHECKS if c != "determinism"]


def test_crepe_has_no_images_and_keeps_its_outputs(tmp_path: Path) -> None:
    source, result = zoo.fetch("crepe_tiny"), tmp_path / "signals.onnx"
    api.optimize(source, result)
    graph = onnx.load(result).graph
    kernels = [list(a.ints) for n in graph.node if n.op_type == "Conv" for a in n.attribute if a.name == "kernel_shape"]
    assert kernels == [[512]] + [[64]] * 5
    assert len(graph.node) <= 29
    frames = np.random.default_rng(0).standard_normal((2, 1024)).astype(np.float32)
    expected, found = (onnxruntime.InferenceSession(path).run(None, {"frames": frames})[0] for path in (source, result))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


class _Network:
    """A random network over maps of which one axis of space has extent 1, after an Unsqueeze and before a Flatten or Squeeze."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.axis = int(self.rng.integers(2, 4))
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, np.ndarray] = {}
        self.channels = 4
        self.at = self.node("Unsqueeze", ["x", self.constant(np.array([self.axis]))])
        steps = [self.conv, self.pool, self.norm, self.scaled, self.activated, self.padded, self.residual, self.joined]
        self.conv()
        for i in self.rng.integers(0, len(steps), 6):
            steps[i]()
        last = int(self.rng.integers(0, 3))
        if last == 0:
            self.node("Flatten", [self.at], axis=1)
        elif last == 1:
            self.node("Squeeze", [self.at, self.constant(np.array([self.axis]))])
        else:
            self.at = self.node("Transpose", [self.at], perm=[0, 2, 3, 1])
            self.node("Reshape", [self.at, self.constant(np.array([0, -1, self.channels]))])
        self.nodes[-1].output[0] = "y"

    def constant(self, array: np.ndarray) -> str:
        self.weights[f"c{len(self.weights)}"] = array
        return f"c{len(self.weights) - 1}"

    def node(self, op_type: str, inputs: list[str], **attributes: object) -> str:
        made = helper.make_node(op_type, inputs, [f"v{len(self.nodes)}"], f"n{len(self.nodes)}", **attributes)
        self.nodes.append(made)
        return str(made.output[0])

    def both(self, along: int, across: int = 1) -> list[int]:
        """Of the two axes of space: a number for the signal's, and one for that of extent 1."""
        return [along, across] if self.axis == 3 else [across, along]

    def window(self, kernel: int) -> dict[str, object]:
        step, dilation = (int(self.rng.integers(1, 3)) for _ in range(2))
        made: dict[str, object] = {"strides": self.both(step, int(self.rng.integers(1, 3)))}
        if self.rng.random() < 0.3:
            return {"strides": self.both(min(step, kernel)), "auto_pad": ["SAME_UPPER", "SAME_LOWER"][int(self.rng.integers(2))]}
        around = [int(self.rng.integers(0, kernel)) for _ in range(2)]
        return made | {"pads": [*self.both(around[0], 0), *self.both(around[1], 0)], "dilations": self.both(dilation)}

    def conv(self) -> None:
        kernel, groups = int(self.rng.integers(1, 4)), int(self.rng.choice([1, 2, self.channels]))
        weight = self.constant(self.random(self.channels, self.channels // groups, *self.both(kernel)))
        inputs = [self.at, weight, self.constant(self.random(self.channels))][: int(self.rng.integers(2, 4))]
        self.at = self.node("Conv", inputs, group=groups, **self.window(kernel))

    def pool(self) -> None:
        kind, kernel = ["MaxPool", "AveragePool"][int(self.rng.integers(2))], int(self.rng.integers(1, 4))
        self.at = self.node(kind, [self.at], kernel_shape=self.both(kernel), **self.window(kernel))

    def norm(self) -> None:
        vectors = [self.constant(np.abs(self.random(self.channels)) + np.float32(0.5)) for _ in range(4)]
        self.at = self.node("BatchNormalization", [self.at, *vectors])

    def scaled(self) -> None:
        shape = [(self.channels, 1, 1), (1, self.channels, 1, 1), (1,), ()][int(self.rng.integers(4))]
        self.at = self.node("Mul", [self.at, self.constant(self.random(*shape))])

    def activated(self) -> None:
        self.at = self.node(["Relu", "Sigmoid", "Tanh"][int(self.rng.integers(3))], [self.at])

    def padded(self) -> None:
        pads = [0, 0, *self.both(2, 0), 0, 0, *self.both(1, 0)]
        self.at = self.node("Pad", [self.at, self.constant(np.array(pads))], mode=["constant", "edge"][int(self.rng.integers(2))])

    def residual(self) -> None:
        self.at = self.node("Add", [self.at, self.node("Neg", [self.at])])

    def joined(self) -> None:
        self.at, self.channels = self.node("Concat", [self.at, self.node("Relu", [self.at])], axis=1), 2 * self.channels

    def random(self, *shape: int) -> np.ndarray:
        return np.asarray(self.rng.normal(0, 0.5, shape), np.float32)

    def proto(self) -> onnx.ModelProto:
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4, "L"])
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
        held = [numpy_helper.from_array(a, name) for name, a in self.weights.items()]
        graph = helper.make_graph(self.nodes, "net", [x], [y], held)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


PASSES = Pipeline.parse("infer-shapes,squeeze-spatial").passes
SEEDS = range(60)


@pytest.mark.parametrize("seed", SEEDS)
def test_random_networks_of_signals_keep_every_promise(seed: int) -> None:
    rng = np.random.default_rng(seed)
    feeds = [{"x": rng.normal(0, 1, (n, 4, length)).astype(np.float32)} for n, length in ((2, 40), (1, 33))]
    assert examine(Subject(_Network(seed).proto(), feeds), PASSES, CHECKS_OF_ONE_PROCESS).failures == []


def test_most_of_them_become_networks_of_signals() -> None:
    feeds = [{"x": np.zeros((1, 4, 40), np.float32)}]
    turned = [examine(Subject(_Network(seed).proto(), feeds), PASSES, ()).rewrites["squeeze-spatial"] for seed in SEEDS]
    assert sum(map(bool, turned)) > len(SEEDS) // 2
