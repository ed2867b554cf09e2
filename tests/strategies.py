"""Random valid graphs of a few to some thirty operators, written as exporters write them: broadcasting, a free batch, shared
inputs and weights, outputs in the middle, shape arithmetic, dead code, If bodies that capture values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from optc.compiler import ir, load

Dim = int | str
Shape = tuple[Dim, ...]

CONSTANTS = (0.0, 1.0, 0.5, 3.0, -0.25, 1.5)
UNARY = (
    "Relu",
    "Neg",
    "Tanh",
    "Sigmoid",
    "Identity",
    "Abs",
    "Softsign",
    "Dropout",
    "Erf",
    "HardSigmoid",
    "Cast",
    "Clip",
    "Softmax",
)
BINARY = ("Add", "Mul", "Sub", "Max", "Min")


@dataclass
class _Writer:
    """A graph as it is written: nodes, weights, and the float values that may be used next."""

    draw: Any
    prefix: str = ""
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)
    pool: list[tuple[str, Shape]] = field(default_factory=list)
    count: int = 0

    def name(self) -> str:
        self.count += 1
        return f"{self.prefix}v{self.count}"

    def emit(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        names = [self.name() for _ in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, name=f"{self.prefix}n{self.count}", **attributes))
        return names[0]

    def constant(self, array: Any, dtype: Any = np.float32) -> str:
        """As an initializer, or as a Constant node."""
        held = np.asarray(array, dtype)
        if self.draw(st.booleans()):
            return self.emit("Constant", value=numpy_helper.from_array(held))
        name = self.name()
        self.weights.append(numpy_helper.from_array(held, name))
        return name

    def random(self, *shape: int) -> str:
        seed = self.draw(st.integers(0, 99))
        return self.constant(np.random.default_rng(seed).standard_normal(shape) * 0.5)

    def pick(self, rank: int | None = None) -> tuple[str, Shape] | None:
        known = [v for v in self.pool if rank is None or len(v[1]) == rank]
        return self.draw(st.sampled_from(known)) if known else None

    def add(self, name: str, shape: Shape) -> None:
        self.pool.append((name, shape))


def _unary(w: _Writer) -> None:
    x, shape = w.draw(st.sampled_from(w.pool))
    op = w.draw(st.sampled_from(UNARY))
    if op == "Clip":
        w.add(w.emit(op, x, w.constant(0.0), *([w.constant(6.0)] if w.draw(st.booleans()) else [])), shape)
    elif op in ("Cast", "HardSigmoid"):
        attributes = {"to": TensorProto.FLOAT} if op == "Cast" else {"alpha": 1 / 6}
        w.add(w.emit(op, x, **attributes), shape)
    else:
        w.add(w.emit(op, x), shape)


def _binary(w: _Writer) -> None:
    a, shape = w.draw(st.sampled_from(w.pool))
    b = w.draw(st.sampled_from([n for n, s in w.pool if _broadcasts(s, shape)]))
    operands = (a, b) if w.draw(st.booleans()) else (b, a)
    w.add(w.emit(w.draw(st.sampled_from(BINARY)), *operands), shape)


def _broadcasts(small: Shape, large: Shape) -> bool:
    return len(small) <= len(large) and all(a in (1, b) for a, b in zip(small[::-1], large[::-1], strict=False))


def _with_constant(w: _Writer) -> None:
    x, shape = w.draw(st.sampled_from(w.pool))
    rank = w.draw(st.integers(0, len(shape)))
    dims = [d if isinstance(d, int) and w.draw(st.booleans()) else 1 for d in shape[len(shape) - rank :]]
    value = w.draw(st.sampled_from(CONSTANTS))
    c = w.constant(np.full(dims, value)) if w.draw(st.booleans()) else w.random(*dims)
    operands = (x, c) if w.draw(st.booleans()) else (c, x)
    w.add(w.emit(w.draw(st.sampled_from(BINARY)), *operands), shape)


def _linear(w: _Writer) -> None:
    found = [v for v in w.pool if len(v[1]) >= 2 and isinstance(v[1][-1], int)]
    x, shape = w.draw(st.sampled_from(found))
    wide = w.draw(st.sampled_from((1, 3, 4)))
    product = w.emit("MatMul", x, w.random(int(shape[-1]), wide))
    if w.draw(st.booleans()):
        w.add(product, (*shape[:-1], wide))  # used between, too
    bias = w.random(wide)
    w.add(w.emit("Add", *((product, bias) if w.draw(st.booleans()) else (bias, product))), (*shape[:-1], wide))


def _convolution(w: _Writer) -> None:
    found = w.pick(4)
    if found is None or not isinstance(found[1][1], int):
        return
    x, shape = found
    channels = w.draw(st.sampled_from((1, 2, 4)))
    bias = [w.random(channels)] if w.draw(st.booleans()) else []
    conv = w.emit("Conv", x, w.random(channels, int(shape[1]), 3, 3), *bias, pads=[1, 1, 1, 1])
    made = (shape[0], channels, *shape[2:])
    if w.draw(st.booleans()):
        w.add(conv, made)
    scale, shift, mean = w.random(channels), w.random(channels), w.random(channels)
    w.add(w.emit("BatchNormalization", conv, scale, shift, mean, w.constant(np.linspace(0.5, 2, channels))), made)


def _flatten_by_arithmetic(w: _Writer) -> None:
    """Reshape(x, Concat(Slice(Shape(x), 0, 1), [-1])), as exporters write Flatten."""
    x, shape = w.draw(st.sampled_from(w.pool))
    if len(shape) < 2 or shape[0] != "N":
        return
    zero, one, rest = (w.constant([k], np.int64) for k in (0, 1, -1))
    batch = w.emit("Slice", w.emit("Shape", x), zero, one, zero)
    flat = int(np.prod([d for d in shape[1:] if isinstance(d, int)]))
    w.add(w.emit("Reshape", x, w.emit("Concat", batch, rest, axis=0)), (shape[0], flat))


def _view(w: _Writer) -> None:
    x, shape = w.draw(st.sampled_from(w.pool))
    kind = w.draw(st.sampled_from(("transpose", "unsqueeze", "pad", "slice", "reshape", "expand")))
    axes = w.draw(st.sampled_from(((1,), (0,))))
    if kind == "transpose":
        perm = w.draw(st.permutations(range(len(shape))))
        w.add(w.emit("Transpose", x, perm=perm), tuple(shape[p] for p in perm))
    elif kind == "unsqueeze":
        w.add(w.emit("Squeeze", w.emit("Unsqueeze", x, w.constant(axes, np.int64)), w.constant(axes, np.int64)), shape)
    elif kind == "pad":
        w.add(w.emit("Pad", x, w.constant([0] * 2 * len(shape), np.int64)), shape)
    elif kind == "slice":
        given = [w.constant([k], np.int64) for k in (0, np.iinfo(np.int64).max, len(shape) - 1)]
        w.add(w.emit("Slice", x, *given), shape)
    elif kind == "reshape":
        w.add(w.emit("Reshape", x, w.constant([0] * len(shape), np.int64)), shape)
    else:
        w.add(w.emit("Expand", x, w.emit("Shape", x)), shape)


def _reduce(w: _Writer) -> None:
    x, shape = w.draw(st.sampled_from(w.pool))
    axis = w.draw(st.integers(0, len(shape) - 1))
    if isinstance(shape[axis], int):  # sums over an empty batch are another story
        w.add(w.emit("ReduceSum", x, w.constant([axis], np.int64)), (*shape[:axis], 1, *shape[axis + 1 :]))


def _split_and_join(w: _Writer) -> None:
    x, shape = w.draw(st.sampled_from(w.pool))
    size = shape[-1]
    if not isinstance(size, int) or size < 2:
        return
    w.emit("Split", x, w.constant([1, size - 1], np.int64), outputs=2, axis=-1)
    first, second = w.nodes[-1].output
    w.add(first, (*shape[:-1], 1))
    if w.draw(st.booleans()):
        w.add(second, (*shape[:-1], size - 1))
    w.add(w.emit("Concat", *((second, first) if w.draw(st.booleans()) else (first, second)), axis=-1), shape)


def _spelled_out(w: _Writer) -> None:
    """Gelu and hard swish in the words of older opsets."""
    x, shape = w.draw(st.sampled_from(w.pool))
    if w.draw(st.booleans()):
        gate = w.emit("Add", w.emit("Erf", w.emit("Div", x, w.constant(2**0.5))), w.constant(1.0))
        half = w.constant(0.5)
        w.add(w.emit("Mul", w.emit("Mul", x, half), gate), shape) if w.draw(st.booleans()) else w.add(
            w.emit("Mul", half, w.emit("Mul", gate, x)), shape
        )
    else:
        gate = w.emit("Clip", w.emit("Add", x, w.constant(3.0)), w.constant(0.0), w.constant(6.0))
        w.add(w.emit("Div", w.emit("Mul", x, gate), w.constant(6.0)), shape)


def _constants(w: _Writer) -> None:
    """Arithmetic of constants."""
    x, shape = w.draw(st.sampled_from(w.pool))
    w.add(w.emit("Add", x, w.emit("Tanh", w.emit("Mul", w.constant(2.0), w.random(1)))), shape)


def _dead(w: _Writer) -> None:
    x, _ = w.draw(st.sampled_from(w.pool))
    w.emit("Neg", w.emit("Add", x, w.constant(1.0)))


def _if(w: _Writer) -> None:
    """Both branches compute from what is around them, with constants of their own."""
    x, shape = w.draw(st.sampled_from(w.pool))
    branches = []
    for k in range(2):
        inner = _Writer(w.draw, prefix=f"{w.prefix}b{w.count}_{k}_", pool=[(x, shape)])
        for _ in range(w.draw(st.integers(1, 3))):
            w.draw(st.sampled_from((_binary, _with_constant, _spelled_out, _constants)))(inner)
        last = inner.emit("Identity", inner.pool[-1][0])
        output = helper.make_tensor_value_info(last, TensorProto.FLOAT, shape)
        branches.append(helper.make_graph(inner.nodes, f"{inner.prefix}body", [], [output], inner.weights))
    w.add(w.emit("If", "flag", then_branch=branches[0], else_branch=branches[1]), shape)


STEPS = (
    _unary,
    _unary,
    _binary,
    _with_constant,
    _with_constant,
    _linear,
    _convolution,
    _flatten_by_arithmetic,
    _view,
    _view,
    _reduce,
    _split_and_join,
)
RARE = (_spelled_out, _spelled_out, _constants, _dead, _if)


@st.composite
def protos(draw: Any, opset: int = 17) -> onnx.ModelProto:
    """A model with the inputs x float[N,2,4,4], m float[N,3] and flag bool, and one to three outputs."""
    w = _Writer(draw)
    w.pool = [("x", ("N", 2, 4, 4)), ("m", ("N", 3))]
    for _ in range(draw(st.integers(3, 12))):
        draw(st.sampled_from(STEPS + RARE))(w)
    made = [v for v in w.pool if v[0] not in ("x", "m")]
    chosen = dict([made[-1], *draw(st.lists(st.sampled_from(made), max_size=2))]) if made else {}
    if not chosen:
        w.add(w.emit("Relu", "x"), ("N", 2, 4, 4))
        chosen = dict([w.pool[-1]])
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("N", 2, 4, 4))]
    inputs += [
        helper.make_tensor_value_info("m", TensorProto.FLOAT, ("N", 3)),
        helper.make_tensor_value_info("flag", TensorProto.BOOL, ()),
    ]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in chosen.items()]
    graph = helper.make_graph(w.nodes, "random", inputs, outputs, w.weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def models(opset: int = 17) -> st.SearchStrategy[ir.Model]:
    """The same as IR."""
    return protos(opset).map(lambda proto: load.from_proto(proto, "random"))


def feeds(batch: int, flag: bool, seed: int = 0) -> dict[str, ir.Array]:
    """Inputs for these models."""
    rng = np.random.default_rng(seed)
    x, m = rng.standard_normal((batch, 2, 4, 4)), rng.standard_normal((batch, 3))
    return {"x": x.astype(np.float32), "m": m.astype(np.float32), "flag": np.array(flag)}
