"""One step of a long short-term memory, computed gate by gate, becomes LSTM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from optc.compiler import ir
from optc.compiler.contents import dims
from optc.compiler.numerics import Numerics
from optc.compiler.rewrite import Builder, PatternBuilder, Refuse, RewritePass, Rule
from optc.passes.fusion.gates import Weights, as_step, from_step, gates, kept_apart


@dataclass(frozen=True)
class FuseLstm(RewritePass):
    """c' = σ(f)·c + σ(i)·tanh(g), h' = σ(o)·tanh(c') with gates that are sums of products of x and h -> LSTM of one step.

    The gates may be computed together or one by one, of x and h or of both side by side, in any order, with a constant added
    to the forget gate. After the LSTM of S. Hochreiter and J. Schmidhuber (1997) with the forget gate of F. Gers et al. (2000).
    """

    name = "fuse-lstm"
    numerics = Numerics.REASSOCIATED

    def rules(self) -> Sequence[Rule]:
        return (Rule("lstm-cell", _cell, _rewrite(Weights())),)


def _cell(op: PatternBuilder, f: Any, c: Any, i: Any, g: Any, o: Any) -> Any:
    state = op.Add(op.Mul(op.Sigmoid(f), c), op.Mul(op.Sigmoid(i), op.Tanh(g)))
    return op.Mul(op.Sigmoid(o), op.Tanh(state)), state


def _rewrite(weights: Weights) -> Any:
    def rewrite(op: Builder, f: ir.Value, c: ir.Value, i: ir.Value, g: ir.Value, o: ir.Value) -> Any:
        if c.dtype != ir.DataType.FLOAT:
            return Refuse("engines run LSTM in float32")
        parts = [gates(v) for v in (i, o, f, g)]  # in the order of ONNX: i o f c
        found = [p for p in parts if p is not None]
        if len(found) < 4 or len({p.size for p in found}) != 1:
            return Refuse("a gate is no sum of products with constant weights")
        shape, hidden = dims(c), found[0].size
        if shape is None or shape[-1] != hidden:
            return Refuse(f"the state '{c.name}' is not of {hidden} numbers")
        sources = list(dict.fromkeys(v for p in found for v in p.weights))
        h = _hidden_state(sources, c, hidden)
        inputs = [v for v in sources if v is not h]
        if not inputs:
            return Refuse("it has no input beside its state")
        batches = {(dims(v) or (None,))[:-1][-1:] for v in (*sources, c)}
        if len(batches) != 1:
            return Refuse("the batches of its inputs and states are not known to be the same")
        refused = kept_apart(found, op.match.nodes.values())
        if refused is not None:
            return refused
        for node in sorted({n for p in found for n in p.nodes}, key=lambda n: n.name or ""):
            op.match.nodes[id(node)] = node
        w = np.concatenate([np.concatenate([p.of(v) for v in inputs], axis=1) for p in found])
        r = np.concatenate([p.of(h) if h is not None else np.zeros((hidden, hidden)) for p in found])
        b = np.concatenate([*(p.bias for p in found), np.zeros(4 * hidden)])
        start = ir.const(c)
        x, state = as_step(op, inputs), as_step(op, [c]) if start is None or start.any() else None
        before = as_step(op, [h]) if h is not None else None
        for step in (x, state, before):
            if isinstance(step, Refuse):
                return step
        given = [weights.value(op, a, f"{c.name}_{k}") for k, a in zip("WRB", (w, r, b), strict=True)]
        _, last, cell = op.LSTM(x, *given, None, before, state, outputs=3, hidden_size=hidden)
        rank = len(shape)
        return from_step(op, last, rank), from_step(op, cell, rank)

    return rewrite


def _hidden_state(sources: list[ir.Value], c: ir.Value, hidden: int) -> ir.Value | None:
    """Which input is the state: it is as wide, and of several such the one that comes from where the state of the cell does."""
    wide = [v for v in sources if (dims(v) or (None,))[-1] == hidden]
    if len(sources) < 2 or not wide:
        return None
    kin = [v for v in wide if _roots(v) & _roots(c)]
    return (kin or wide)[-1]


def _roots(value: ir.Value) -> set[int]:
    """A value, and where it is a piece or a view of others, those."""
    found: set[int] = set()
    work = [value]
    while work and len(found) < 16:
        v = work.pop()
        found.add(id(v))
        node = v.producer()
        if node is None:
            continue
        if (
            ir.standard(node, "Squeeze", "Unsqueeze", "Gather", "Slice", "Split", "Reshape", "Identity")
            and node.inputs[0] is not None
        ):
            work.append(node.inputs[0])
        elif ir.standard(node, "LSTM"):
            found.add(id(node))
    return found
