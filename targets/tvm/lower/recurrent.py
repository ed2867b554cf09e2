"""RNN, GRU and LSTM: the product of all steps with the input at once, then one function that runs through time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import relax, te, tirx

from optc.compiler import ir
from optc.targets.tvm.compute import cells
from optc.targets.tvm.compute.recurrence import Recurrence, vector
from optc.targets.tvm.compute.steps import run
from optc.targets.tvm.lower import products
from optc.targets.tvm.lower.activations import activations
from optc.targets.tvm.lower.elementwise import elementwise
from optc.targets.tvm.lower.lowering import Dim, Lowering, Operand, is_constant
from optc.targets.tvm.schedule.loops import PARALLEL_WORK

_DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
_OPAQUE = 8  # TVM's kOpaque: nothing is fused into the function
_STEPS = 16  # what an unknown number of steps counts as where threads are considered
_INPUTS = ("x", "w", "r", "b", "lens", "h0", "c0", "p")


def rnn(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    return _recurrent(ctx, node, inputs, cells.rnn(), ("Tanh",))


def gru(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    cell = cells.gru(bool(ir.attribute(node, "linear_before_reset", 0)))
    return _recurrent(ctx, node, inputs, cell, ("Sigmoid", "Tanh"))


def lstm(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand]) -> Any:
    peepholes = len(inputs) > 7 and inputs[7] is not None
    cell = cells.lstm(peepholes, bool(ir.attribute(node, "input_forget", 0)))
    return _recurrent(ctx, node, inputs, cell, ("Sigmoid", "Tanh", "Tanh"))


def _recurrent(ctx: Lowering, node: ir.Node, inputs: Sequence[Operand], cell: cells.Cell, defaults: Sequence[str]) -> Any:
    wanted = [n for n, v in zip(("y", "h", "c"), node.outputs, strict=False) if v.uses() or v.is_graph_output()]
    if not wanted:
        return [None] * len(node.outputs)
    given = {name: operand for name, operand in zip(_INPUTS, inputs, strict=False) if operand is not None}
    dtype = ctx.dtype(given["x"])
    computed = dtype if dtype == "float64" else "float32"
    given = {name: operand if name == "lens" else _cast(ctx, operand, computed) for name, operand in given.items()}
    layer = _layer(ctx, node, given, cell, defaults, computed)
    steps, batch = (ctx.opaque(d) for d in ctx.shape(given["x"])[:2])
    if layer.batch_first:
        steps, batch = batch, steps
    held = _operands(ctx, _Packing(ctx, layer), given, steps, batch)
    compute, names = run(layer, wanted, _threads_pay(ctx, layer, steps)), list(held)

    def emitted(*args: Any) -> list[Any]:
        *tensors, t, b = args
        return compute(names, tensors, t, b)

    attrs = {"op_pattern": _OPAQUE, "tirx.is_scheduled": True}
    tensors = [ctx.tensor(operand) for operand in held.values()]
    name = node.op_type.lower()
    found = ctx.emit(ctx.builder.call_te(emitted, *tensors, steps, batch, primfunc_name_hint=name, primfunc_attrs=attrs))
    ctx.count(held["x"], layer.hidden, found)
    results = {name: ctx.emit(relax.TupleGetItem(found, i)) for i, name in enumerate(wanted, 1)}
    return [_cast(ctx, results[n], dtype) if n in results else None for n in ("y", "h", "c")]


def _layer(
    ctx: Lowering, node: ir.Node, given: dict[str, Operand], cell: cells.Cell, defaults: Sequence[str], dtype: str
) -> Recurrence:
    direction = ir.attribute(node, "direction", "forward")
    if direction not in _DIRECTIONS:
        raise ctx.fail(node, f"its direction is {direction!r}")
    reversed_ = _DIRECTIONS[direction]
    hidden = ir.attribute(node, "hidden_size", ctx.shape(given["r"])[-1])
    if not isinstance(hidden, int):
        raise ctx.fail(node, "its hidden size is known only at run time")
    directions, rows = len(reversed_), cell.gates * hidden
    for name, shape in (("w", [directions, rows]), ("r", [directions, rows, hidden])):
        own = ctx.shape(given[name])[: len(shape)]
        if any(isinstance(found, int) and found != wanted for found, wanted in zip(own, shape, strict=True)):
            raise ctx.fail(
                node, f"its {name.upper()} is {own}..., where {directions} directions and hidden size {hidden} need {shape}"
            )
    clip = ir.attribute(node, "clip")
    if clip is not None and clip <= 0:
        raise ctx.fail(node, f"its clip is {clip}, and a bound is positive")
    return Recurrence(
        cell=cell,
        hidden=hidden,
        lanes=vector(ctx.machine, hidden, dtype),
        dtype=dtype,
        registers=ctx.machine.registers,
        cache=ctx.machine.l2,
        reversed=reversed_,
        activations=activations(ctx, node, len(reversed_), defaults),
        clip=None if clip is None else float(clip),
        batch_first=bool(ir.attribute(node, "layout", 0)),
    )


def _threads_pay(ctx: Lowering, layer: Recurrence, steps: Dim) -> bool:
    work = (steps if isinstance(steps, int) else _STEPS) * layer.cell.gates * layer.hidden**2
    return work >= PARALLEL_WORK * ctx.machine.lanes()


def _operands(ctx: Lowering, pack: _Packing, given: dict[str, Operand], steps: Dim, batch: Dim) -> dict[str, Operand]:
    """What the function reads, by the names that `run` has for it."""
    layer = pack.layer
    directions, gates = len(layer.reversed), layer.cell.gates
    held = {"x": _input_product(ctx, pack, given, ctx.opaque(steps * batch))}
    for i, phase in enumerate(layer.cell.phases):
        held[f"r{i}"] = pack(given["r"], phase.gates, "dbkgl")
    if any(phase.apart for phase in layer.cell.phases):
        given_bias = given.get("b", np.zeros((directions, 2 * gates * layer.hidden), layer.dtype))
        held["rb"] = pack.flat(pack(given_bias, (2 * gates - 1,), "dgbl"), [directions])
    if "p" in given:
        held["p"] = pack.flat(pack(given["p"], (0, 1, 2), "dgbl"), [directions, 3])
    state = [batch, directions, layer.hidden] if layer.batch_first else [directions, batch, layer.hidden]
    for name, shape in (("h0", state), ("c0", state), ("lens", [batch])):
        if name in given:
            held[name] = _fitted(ctx, given[name], shape)
    return held


def _input_product(ctx: Lowering, pack: _Packing, given: dict[str, Operand], rows: Dim) -> Any:
    """[rows, columns]: x W and the biases, in the order in which the function reads them."""
    layer, x, w = pack.layer, given["x"], given["w"]
    width = ctx.shape(w)[-1]
    x = _fitted(ctx, x, [*ctx.shape(x)[:2], width])
    weight = pack.flat(pack(w, range(layer.cell.gates), "kdbgl"), [width])
    bias = pack.bias(given["b"]) if "b" in given else None
    fixed = bias if is_constant(bias) and is_constant(weight) else None
    # The leading 1 tells the product that its rows are more than a batch.
    result = products.product(ctx, ctx.reshape(x, [1, rows, width]), weight, fixed)
    if bias is not None and fixed is None:
        result = elementwise(ctx, "bias", lambda a, b: a + b, result, bias)
    return ctx.reshape(result, [rows, layer.columns])


def _fitted(ctx: Lowering, operand: Operand, shape: Sequence[Dim]) -> Any:
    var = ctx.tensor(operand)
    return var if ctx.same_shape(ctx.shape(var), shape) else ctx.assume_shape(var, shape)


def _cast(ctx: Lowering, operand: Operand, dtype: str) -> Operand:
    if ctx.dtype(operand) == dtype:
        return operand
    return operand.astype(dtype) if is_constant(operand) else ctx.emit(relax.op.astype(operand, dtype))


@dataclass(frozen=True)
class _Packing:
    """Reorders ONNX's [direction, gate * hidden, ...], at compile time where it is constant, else at run time."""

    ctx: Lowering
    layer: Recurrence

    def __call__(self, operand: Operand, gates: Sequence[int], order: str) -> Operand:
        """Some neighbouring gates, with axes in `order`: d(irection), g(ate), b(lock), l(ane), k (a matrix's last axis).

        Hidden units are padded with zeros to whole vectors.
        """
        layer, directions = self.layer, len(self.layer.reversed)
        extents = {"d": directions, "g": len(gates), "b": layer.blocks, "l": layer.lanes, "k": self.ctx.shape(operand)[-1]}
        if is_constant(operand):
            split = operand.reshape(directions, -1, layer.hidden, *operand.shape[2:])[:, gates[0] : gates[-1] + 1]
            room = [(0, 0)] * split.ndim
            room[2] = (0, layer.blocks * layer.lanes - layer.hidden)
            padded = np.pad(split, room).reshape([extents[a] for a in "dgbl" + "k" * (operand.ndim == 3)])
            return np.ascontiguousarray(padded.transpose(["dgblk".index(a) for a in order]))

        def compute(source: Any) -> Any:
            def element(*index: Any) -> Any:
                at = dict(zip(order, index, strict=True))
                unit = at["b"] * layer.lanes + at["l"]
                rest = [at["k"]] if "k" in at else []
                value = source[(at["d"], (gates[0] + at["g"]) * layer.hidden + unit, *rest)]
                return tirx.if_then_else(unit < layer.hidden, value, tirx.const(0, layer.dtype))

            return te.compute([extents[a] for a in order], element, name="packed")

        return self.ctx.te("packed", compute, operand)

    def flat(self, operand: Operand, lead: Sequence[Dim]) -> Operand:
        """The operand with all axes after the leading ones as one."""
        own = self.ctx.shape(operand)
        rest = int(np.prod(own[len(lead) :]))
        return operand.reshape(*lead, rest) if is_constant(operand) else self.ctx.reshape(operand, [*lead, rest])

    def bias(self, operand: Operand) -> Operand:
        """[columns]: W's bias, and R's but for the gates that add it later."""
        cell = self.layer.cell
        w, r = (self(operand, range(first, first + cell.gates), "dbgl") for first in (0, cell.gates))
        apart = {gate for phase in cell.phases for gate in phase.apart}
        kept = np.array([g not in apart for g in range(cell.gates)], self.layer.dtype).reshape(1, 1, -1, 1)
        if is_constant(w):
            return self.flat(w + r * kept, [])
        return self.flat(elementwise(self.ctx, "biases", lambda a, b, m: a + b * m, w, r, kept), [])
