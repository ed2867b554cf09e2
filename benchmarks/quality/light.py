"""The light models of the onnx wheel: real structures with made-up weights, so fidelity is all that can be said of them.

Their weights are all the same number: whatever the image, the answer is one, and no fault could be seen in it. The head gives
them random weights (K. He et al., ICCV 2015) and looks at the scores before the softmax, whose size says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import onnx
from onnx import numpy_helper, version_converter

from benchmarks.quality.samples import Samples
from benchmarks.recipes import RECIPES
from optc.compiler.numerics import Array

IMAGE = (3, 224, 224)
OPSET = 13
"""The models are of opset 9, in which weights cannot be quantized for each channel."""

_IR_VERSION = 8  # from 4 on, weights need not be inputs too
_EVALUATION, _CALIBRATION = 0, 1


def images(feed: str, count: int, seed: int) -> dict[str, Array]:
    """Normal noise in patches of 1 to 56 pixels, so that there is something at every scale: float32 [count, 3, 224, 224]."""
    return _images(feed, count, seed, _EVALUATION)


def calibrate(feed: str, count: int, seed: int) -> dict[str, Array]:
    """Other images."""
    return _images(feed, count, seed, _CALIBRATION)


def with_random_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose weights are random (always the same), and whose output is what went into a last softmax, in OPSET."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    if bare.graph.node[-1].op_type == "Softmax":
        scores = bare.graph.node.pop().input[0]
        bare.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info(scores, onnx.TensorProto.FLOAT, None))
    made = version_converter.convert_version(bare, OPSET)
    made.ir_version = max(made.ir_version, _IR_VERSION)
    graph, rng = made.graph, np.random.default_rng(0)
    positive, weights = set(_scales(graph)), dict(_weights(graph))
    kept = [n for n in graph.node if not weights.keys() & set(n.output)]
    others = [t for t in graph.initializer if t.name not in weights]
    inputs = [i for i in graph.input if i.name not in weights and i.name not in {t.name for t in others}]
    drawn = [numpy_helper.from_array(_drawn(rng, shape, name in positive), name) for name, shape in weights.items()]
    graph.CopyFrom(onnx.helper.make_graph(kept, graph.name, inputs, list(graph.output), [*others, *drawn]))
    return made


def _weights(graph: onnx.GraphProto) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of each weight: a filled constant or a stored array."""
    stored = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "ConstantOfShape" and node.input[0] in stored:
            yield node.output[0], tuple(int(n) for n in numpy_helper.to_array(stored[node.input[0]]))
    for tensor in graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            yield tensor.name, tuple(tensor.dims)


def _scales(graph: onnx.GraphProto) -> Iterator[str]:
    """Weights that must be positive, since they scale: those of batch norms and multiplications."""
    views = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Unsqueeze"}
    for node in graph.node:
        if node.op_type == "BatchNormalization":
            yield from (node.input[1], node.input[4])
        elif node.op_type == "Mul":
            yield from (views.get(name, name) for name in node.input)


def _drawn(rng: np.random.Generator, shape: tuple[int, ...], positive: bool) -> Array:
    if positive:
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    if len(shape) < 2:
        return rng.normal(0, 0.1, shape).astype(np.float32)
    return rng.standard_normal(shape, np.float32) * np.float32(math.sqrt(2 / math.prod(shape[1:])))


def _images(feed: str, count: int, seed: int, part: int) -> dict[str, Array]:
    rng = np.random.default_rng([seed, part])
    made = []
    for _ in range(count):
        patch = int(rng.choice([1, 4, 14, 56]))
        small = rng.standard_normal((IMAGE[0], IMAGE[1] // patch, IMAGE[2] // patch), np.float32)
        made.append(small.repeat(patch, 1).repeat(patch, 2))
    return {feed: np.stack(made)}


def _samples(name: str) -> Samples:
    (feed,) = RECIPES[name].inputs

    def make(count: int, seed: int) -> dict[str, Array]:
        return images(feed, count, seed)

    return Samples(name, "relative-l2", make, 32, note="random weights, random images", wrap=with_random_weights)


SAMPLES = tuple(_samples(name) for name in RECIPES if name.startswith("light_"))
