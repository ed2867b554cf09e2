"""Random graphs of transposes, views, slices, joins and casts: what their rules are made for, more often than in real models."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from optc.compiler import ir, load, verify
from optc.compiler.edit import Editor
from optc.compiler.numerics import Numerics, compare
from optc.compiler.pipeline import Pipeline
from optc.compiler.reference import Reference

TEXT = "infer-shapes,canonicalize,fold-constants,share-subexpressions,slices-to-split,merge-scalings,sink-transposes,canonicalize"


class Writer:
    """Nodes over values of known shape, drawn with a seed; the inputs are `x` and `m`."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.pool: list[tuple[str, tuple[int, ...]]] = [("x", (2, 3, 4, 6)), ("m", (2, 3, 4, 6))]

    def emit(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> list[str]:
        names = [f"v{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, name=f"n{len(self.nodes)}", **attributes))
        return names

    def constant(self, array: object, dtype: type = np.int64) -> str:
        name = f"c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    def step(self) -> None:
        name, shape = self.pool[self.rng.integers(max(0, len(self.pool) - 6), len(self.pool))]
        kinds = (self.transpose, self.transpose, self.view, self.unary, self.binary, self.constant_operand, self.cut, self.join)
        made = (*kinds, self.reduce, self.pad)[self.rng.integers(10)](name, shape)
        if made is not None:
            self.pool.append(made)

    def transpose(self, x: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
        perm = [[0, 2, 3, 1], [0, 3, 1, 2], [1, 0, 2, 3], [0, 1, 3, 2]][self.rng.integers(4)] if len(shape) == 4 else None
        perm = [int(i) for i in self.rng.permutation(len(shape))] if perm is None else perm
        return self.emit("Transpose", x, perm=perm)[0], tuple(shape[i] for i in perm)

    def view(self, x: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]] | None:
        kind = self.rng.integers(4)
        if kind == 0:
            axis = int(self.rng.integers(len(shape) + 1))
            return self.emit("Unsqueeze", x, self.constant([axis]))[0], (*shape[:axis], 1, *shape[axis:])
        ones = [i for i, d in enumerate(shape) if d == 1]
        if kind == 1 and ones:
            return self.emit("Squeeze", x, self.constant(ones[:1]))[0], tuple(d for i, d in enumerate(shape) if i != ones[0])
        if len(shape) > 2 and kind == 2:
            axis = int(self.rng.integers(1, len(shape) - 1))
            to = (*shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :])
            return self.emit("Reshape", x, self.constant(to))[0], to
        if shape and shape[-1] % 2 == 0 and len(shape) < 6:
            return self.emit("Reshape", x, self.constant((*shape[:-1], 2, shape[-1] // 2)))[0], (*shape[:-1], 2, shape[-1] // 2)
        return None

    def unary(self, x: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
        kind = self.rng.integers(5)
        if kind == 0:
            return self.emit("Clip", x, self.constant(-1, np.float32), self.constant(2, np.float32))[0], shape
        if kind == 1 and shape:
            return self.emit("Softmax", x, axis=int(self.rng.integers(-len(shape), len(shape))))[0], shape
        if kind == 2:
            return self.emit("Cast", self.emit("Cast", x, to=TensorProto.DOUBLE)[0], to=TensorProto.FLOAT)[0], shape
        return self.emit(("Relu", "Neg")[kind - 3], x)[0], shape

    def binary(self, x: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
        same = [n for n, s in self.pool if s == shape]
        other = same[self.rng.integers(len(same))]
        return self.emit(("Add", "Mul", "Max")[self.rng.integers(3)], x, other)[0], shape

    def constant_operand(self, x: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
        rank = int(self.rng.integers(len(shape) + 1))
        held = tuple(d if self.rng.integers(2) else 1 for d in shape[len(shape) - rank :])
        c = self.constant(self.rng.uniform(0.5, 2, held), np.float32)
        return self.emit(("Add", "Mul", "Sub", "Div")[self.rng.integers(4)], x, c)[0], shape

    def cut(self, x: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]] | None:
        axes = [i for i, d in enumerate(shape) if d > 1]
        if not axes:
            return None
        axis = axes[self.rng.integers(len(axes))]
        at = int(self.rng.integers(1, shape[axis]))
        a, b = (*shape[:axis], at, *shape[axis + 1 :]), (*shape[:axis], shape[axis] - at, *shape[axis + 1 :])
        if self.rng.integers(2):
            first, second = self.emit("Split", x, self.constant([at, shape[axis] - at]), outputs=2, axis=axis)
        else:
            (second,) = self.emit("Slice", x, self.constant([at]), self.constant([1 << 40]), self.constant([axis]))
            (first,) = self.emit("Slice", x, self.constant([0]), self.constant([at]), self.constant([axis]))
        self.pool.append((first, a))
        return second, b

    def join(self, x: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]] | None:
        axis = int(self.rng.integers(len(shape)))
        fits = [
            (n, s)
            for n, s in self.pool
            if len(s) == len(shape) and s[:axis] == shape[:axis] and s[axis + 1 :] == shape[axis + 1 :]
        ]
        other, more = fits[self.rng.integers(len(fits))]
        total = shape[axis] + more[axis]
        return (self.emit("Concat", x, other, axis=axis)[0], (*shape[:axis], total, *shape[axis + 1 :])) if total < 20 else None

    def reduce(self, x: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]] | None:
        axis, keep = int(self.rng.integers(len(shape))), int(self.rng.integers(2))
        if len(shape) < 3:
            return None
        kept = (*shape[:axis], *([1] if keep else []), *shape[axis + 1 :])
        return self.emit(("ReduceMean", "ReduceMax")[self.rng.integers(2)], x, axes=[axis], keepdims=keep)[0], kept

    def pad(self, x: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
        pads = self.rng.integers(0, 2, 2 * len(shape))
        to = tuple(d + int(a + b) for d, a, b in zip(shape, pads[: len(shape)], pads[len(shape) :], strict=True))
        return (self.emit("Pad", x, self.constant(pads))[0], to) if max(to) < 12 else (x, shape)


def model(seed: int, free: bool, steps: int = 25) -> onnx.ModelProto:
    """`free`: the leading dimension of the inputs is a name, and the shapes of the outputs are not told."""
    w = Writer(seed)
    while len(w.nodes) < steps:
        w.step()
    made = [v for v in w.pool if v[0] not in ("x", "m")]
    chosen = dict([made[-1], *(made[i] for i in w.rng.integers(0, len(made), 2))])
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ("N", *s[1:]) if free else s) for n, s in w.pool[:2]]
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None if free else s) for n, s in chosen.items()]
    graph = helper.make_graph(w.nodes, "random", inputs, outputs, w.weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("seed", range(40))
def test_layouts_change_and_outputs_do_not(seed: int, free: bool) -> None:
    before, after = (load.from_proto(model(seed, free), "random") for _ in range(2))
    interface, edit = verify.signature(after), Editor(after)
    for p in Pipeline.parse(TEXT):
        edit.owner = p.name
        p.run(edit)
    assert verify.verify(after, interface) == []
    rng = np.random.default_rng(seed)
    feeds = [{name: rng.uniform(-1, 1, (2, 3, 4, 6)).astype(np.float32) for name in ("x", "m")}]
    found = compare(Reference(before).run_all(feeds), Reference(after).run_all(feeds))
    assert found.meets(Numerics.REASSOCIATED), str(found)
    assert ir.count_nodes(after) <= ir.count_nodes(before)
