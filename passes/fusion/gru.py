"""One step of a gated recurrent unit, computed gate by gate, becomes GRU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from optc.compiler import ir
from optc.compiler.contents import dims
from optc.compiler.numerics import Numerics
from optc.compiler.rewrite import Builder, PatternBuilder, Refuse, RewritePass, Rule
from optc.passes.fusion.gates import Gates, Weights, as_step, from_step, gates, kept_apart


@dataclass(frozen=True)
class FuseGru(RewritePass):
    """h' = z·h + (1 - z)·n with z and r = σ(sums of products of x and h), n = tanh(..) -> GRU of one step.

    The candidate n is tanh(W·x + b + r·(R·h + c)), as in torch and cuDNN (linear_before_reset = 1), or tanh(W·x + R·(r·h) + b),
    after K. Cho et al. (2014). h' may also be (h - n)·z + n, or be mixed by 1 - z.
    """

    name = "fuse-gru"
    numerics = Numerics.REASSOCIATED

    def rules(self) -> Sequence[Rule]:
        weights = Weights()
        return tuple(Rule(f"gru-{name}", pattern, _rewrite(turned, weights)) for name, (pattern, turned) in MIXES.items())


def _keep(op: PatternBuilder, z: Any, h: Any, n: Any) -> Any:
    gate = op.Sigmoid(z)
    return op.Add(op.Mul(op.Sub(1.0, gate), op.Tanh(n, name="candidate")), op.Mul(gate, h), name="mix")


def _renew(op: PatternBuilder, z: Any, h: Any, n: Any) -> Any:
    gate = op.Sigmoid(z)
    return op.Add(op.Mul(op.Sub(1.0, gate), h), op.Mul(gate, op.Tanh(n, name="candidate")), name="mix")


def _towards_state(op: PatternBuilder, z: Any, h: Any, n: Any) -> Any:
    candidate = op.Tanh(n, name="candidate")
    return op.Add(op.Mul(op.Sub(h, candidate), op.Sigmoid(z)), candidate, name="mix")


def _towards_candidate(op: PatternBuilder, z: Any, h: Any, n: Any) -> Any:
    return op.Add(op.Mul(op.Sub(op.Tanh(n, name="candidate"), h), op.Sigmoid(z)), h, name="mix")


MIXES = {
    "keep": (_keep, False),
    "renew": (_renew, True),
    "towards-state": (_towards_state, False),
    "towards-candidate": (_towards_candidate, True),
}
"""How the state and the candidate are mixed, and whether z is the share of the candidate, not that of the state."""


@dataclass(frozen=True)
class _Candidate:
    """What tanh is taken of: `x` + r·`h` (`before`: the reset comes after the product) or one sum with r·h among its values."""

    x: Gates
    h: Gates
    reset: ir.Node
    product: ir.Node
    before: bool


def _rewrite(turned: bool, weights: Weights) -> Any:
    def rewrite(op: Builder, z: ir.Value, h: ir.Value, n: ir.Value) -> Any:
        update, found, shape = gates(z), _candidate(n, h), dims(h)
        reset = gates(found.reset.inputs[0]) if found is not None else None
        if update is None or found is None or reset is None or h.dtype != ir.DataType.FLOAT:
            return Refuse("a gate is no sum of products with constant weights, or of another type than float32")
        hidden = update.size
        if shape is None or shape[-1] != hidden or {reset.size, found.x.size, found.h.size} != {hidden}:
            return Refuse(f"the state '{h.name}' is not of {hidden} numbers")
        inputs = [v for v in dict.fromkeys(v for p in (update, reset, found.x) for v in p.weights) if v is not h]
        if not inputs or h in found.x.weights:
            return Refuse("it has no input beside its state, or the state is not reset")
        if len({(dims(v) or (None,))[:-1][-1:] for v in (*inputs, h)}) != 1:
            return Refuse("the batches of its inputs and state are not known to be the same")
        inner = [*op.match.nodes.values(), found.reset, found.product]
        refused = kept_apart(
            [update, reset, found.x, found.h, Gates({}, np.zeros(0), frozenset((found.reset, found.product)))], inner
        )
        if refused is not None:
            return refused
        nodes = {found.reset, found.product, *(node for p in (update, reset, found.x, found.h) for node in p.nodes)}
        for node in sorted(nodes, key=lambda node: node.name or ""):
            op.match.nodes[id(node)] = node
        order = [update.negative() if turned else update, reset]  # in the order of ONNX: z r h
        w = np.concatenate([np.concatenate([p.of(v) for v in inputs], axis=1) for p in (*order, found.x)])
        r = np.concatenate([*(p.of(h) for p in order), next(iter(found.h.weights.values()))])
        b = np.concatenate([*(p.bias for p in order), found.x.bias, np.zeros(2 * hidden), found.h.bias])
        x, state = as_step(op, inputs), as_step(op, [h])
        if isinstance(x, Refuse) or isinstance(state, Refuse):
            return x if isinstance(x, Refuse) else state
        given = [weights.value(op, a, f"{h.name}_{k}") for k, a in zip("WRB", (w, r, b), strict=True)]
        _, last = op.GRU(
            x, *given, None, state,
            outputs=2, hidden_size=hidden, linear_before_reset=int(found.before),
        )  # fmt: skip
        return from_step(op, last, len(shape))

    return rewrite


def _candidate(n: ir.Value, h: ir.Value) -> _Candidate | None:
    """The sum that tanh is taken of, with the one reset in it."""
    node = n.producer()
    if node is not None and ir.standard(node, "Add"):
        for other, scaled in (tuple(node.inputs), tuple(node.inputs)[::-1]):
            product = scaled.producer() if scaled is not None else None
            found = _reset(product) if product is not None else None
            if product is None or found is None:
                continue
            x, inner = gates(other), gates(found[1])
            if x is not None and inner is not None and set(inner.weights) == {h}:
                return _Candidate(Gates(x.weights, x.bias, x.nodes | {node}), inner, found[0], product, before=True)
    whole = gates(n)
    for value in whole.weights if whole is not None else ():
        product = value.producer()
        found = _reset(product) if product is not None else None
        if whole is None or product is None or found is None or found[1] is not h:
            continue
        x = Gates({v: w for v, w in whole.weights.items() if v is not value}, whole.bias, whole.nodes)
        return _Candidate(x, Gates({h: whole.weights[value]}, np.zeros(whole.size)), found[0], product, before=False)
    return None


def _reset(product: ir.Node) -> tuple[ir.Node, ir.Value] | None:
    """The node of r and the value that it scales, of r·value."""
    if not ir.standard(product, "Mul"):
        return None
    for r, value in (tuple(product.inputs), tuple(product.inputs)[::-1]):
        maker = r.producer() if r is not None else None
        if maker is not None and value is not None and ir.standard(maker, "Sigmoid"):
            return maker, value
    return None
