"""The rules that others had: each is wrong, and the case that tells must tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from optc.compiler import ir
from optc.compiler.edit import Editor
from optc.compiler.numerics import Numerics
from optc.compiler.pipeline import Pass
from optc.compiler.rewrite import Builder, Const, PatternBuilder, RewritePass


@dataclass(frozen=True)
class Wrong(RewritePass):
    """One rule that a function pair writes."""

    one: Callable[..., Any] = print
    other: Callable[..., Any] = print

    name = "planted"
    numerics = Numerics.REASSOCIATED

    @property
    def pattern(self) -> Callable[..., Any]:
        return self.one

    @property
    def rewrite(self) -> Callable[..., Any]:
        return self.other


def _casts(op: PatternBuilder, x: Any) -> Any:
    return op.Cast(op.Cast(x), name="last")


def _one_cast(op: Builder, last: ir.Node, x: ir.Value) -> Any:
    return op.Cast(x, **last.attributes)


def _slice(op: PatternBuilder, x: Any, a: Const, b: Const, c: Const, d: Any | None) -> Any:
    return op.Slice(x, a, b, c, d)


def _reshapes(op: PatternBuilder, x: Any, middle: Any, shape: Any) -> Any:
    return op.Reshape(op.Reshape(x, middle), shape)


def _clips(op: PatternBuilder, x: Any, a: Const, b: Const, c: Const, d: Const) -> Any:
    return op.Clip(op.Clip(x, a, b), c, d)


def _one_clip(op: Builder, x: ir.Value, a: Const, b: Const, c: Const, d: Const) -> Any:
    return op.Clip(x, np.maximum(a, c), np.minimum(b, d))


def _pad(op: PatternBuilder, x: Any, pads: Const, w: Any) -> Any:
    return op.Conv(op.Pad(x, pads), w)


def _into_conv(op: Builder, x: ir.Value, pads: Const, w: ir.Value) -> Any:
    return op.Conv(x, w, pads=[max(0, int(p)) for p in (*pads[2:4], *pads[6:8])])


def _norm(op: PatternBuilder, x: Any, two: Any, eps: Const, scale: Any, bias: Any) -> Any:
    d = op.Sub(x, op.ReduceMean(x))
    return op.Add(op.Mul(op.Div(d, op.Sqrt(op.Add(op.ReduceMean(op.Pow(d, two)), eps))), scale), bias)


def _layer_norm(op: Builder, x: ir.Value, eps: Const, scale: ir.Value, bias: ir.Value) -> Any:
    return op.LayerNormalization(x, scale, bias, epsilon=float(eps))


def _bias(op: PatternBuilder, x: Any, w: Const, c: Const) -> Any:
    return op.Add(op.Conv(x, w, name="conv"), c)


def _into_bias(op: Builder, conv: ir.Node, x: ir.Value, w: Const, c: Const) -> Any:
    return op.Conv(x, w, c.reshape(-1), **conv.attributes) if c.size == w.shape[0] else None


def _resize(op: PatternBuilder, x: Any, roi: Any | None, scales: Const) -> Any:
    return op.Resize(x, roi, scales)


def _whole(op: Builder, x: ir.Value) -> Any:
    return x


def _scaled(op: Builder, x: ir.Value, scales: Const) -> Any:
    return x if (scales == 1).all() else None


def _product(op: PatternBuilder, x: Any, c: Const) -> Any:
    return op.Mul(x, c)


def _zero(op: Builder, x: ir.Value, c: Const) -> Any:
    if c.any() or x.shape is None:
        return None
    return op.Expand(c, op.Shape(x))


def _quotient(op: PatternBuilder, a: Const, b: Const) -> Any:
    return op.Div(a, b)


def _floored(op: Builder, a: Const, b: Const) -> Any:
    return a // b if a.dtype.kind == "i" else None


def _difference(op: PatternBuilder, x: Any) -> Any:
    return op.Sub(x, x)


def _last(op: Builder, x: ir.Value, shape: ir.Value) -> Any:
    return op.Reshape(x, shape)


@dataclass(frozen=True)
class SharedWeight(Pass):
    """BatchNormalization(Conv(x, w)) -> Conv(x, w·s, β - μ·s), the weight scaled where it lies: for all who read it."""

    name = "planted-shared-weight"
    numerics = Numerics.REASSOCIATED

    def run(self, edit: Editor) -> None:
        for bn in [n for n in edit.graph if n.op_type == "BatchNormalization"]:
            conv = bn.inputs[0].producer() if bn.inputs[0] is not None else None
            if conv is None or not edit.step(bn):
                continue
            weight = conv.inputs[1]
            gamma, beta, mean, var = (np.asarray(ir.const(v)) for v in bn.inputs[1:5])
            s = gamma / np.sqrt(var + 1e-5)
            scaled = edit.initializer((np.asarray(ir.const(weight)) * s.reshape(-1, 1, 1, 1)).astype("f"), "scaled")
            for use in weight.uses() if weight is not None else ():
                edit.set_input(use.node, use.idx, scaled)
            bias = edit.initializer((beta - mean * s).astype("f"), "bias")
            made = edit.node("Conv", [conv.inputs[0], scaled, bias], name="made", sources=[conv, bn])
            edit.insert_before(bn, [made])
            edit.set_type(made.outputs[0], bn.outputs[0].dtype, bn.outputs[0].shape)
            edit.replace(bn.outputs[0], made.outputs[0])
            edit.remove(bn)
            edit.sweep([conv.outputs[0]])


@dataclass(frozen=True)
class ShareEverything(Pass):
    """Nodes with the same operator and inputs become one, random ones, too."""

    name = "planted-share"
    numerics = Numerics.BITWISE

    def run(self, edit: Editor) -> None:
        seen: dict[object, ir.Node] = {}
        for node in list(edit.graph):
            first = seen.setdefault((node.op_type, tuple(map(id, node.inputs))), node)
            if first is not node and edit.step(node):
                edit.replace(node.outputs[0], first.outputs[0])
                edit.remove(node)


PLANTED: tuple[tuple[Pass, str], ...] = (
    (Wrong(_casts, _one_cast), "cast: float -> int32 -> float"),
    (Wrong(_casts, _one_cast), "cast: float -> bool -> float"),
    (Wrong(_slice, _whole), "slice: backwards"),
    (Wrong(_reshapes, _last), "view: a reshape of a reshape with 0"),
    (Wrong(_clips, _one_clip), "clip: of a clip that is disjoint from below"),
    (Wrong(_pad, _into_conv), "pad-conv: mode reflect"),
    (Wrong(_pad, _into_conv), "pad-conv: crops"),
    (Wrong(_norm, _layer_norm), "layer norm: axis 1"),
    (Wrong(_norm, _layer_norm), "layer norm: mean and variance over other axes"),
    (Wrong(_bias, _into_bias), "conv and Add: a constant of shape 2"),
    (Wrong(_bias, _into_bias), "conv and Add: a constant of shape 2,1,1,1"),
    (Wrong(_resize, _scaled), "resize: a crop at scale 1"),
    (Wrong(_product, _zero), "arithmetic: x·0"),
    (Wrong(_difference, lambda op, x: op.Mul(op.Relu(x), np.zeros((), np.float32))), "arithmetic: x - x"),
    (Wrong(_quotient, _floored), "folded: Div of int32"),
    (SharedWeight(), "two convolutions on one weight, one BatchNormalization"),
)
"""A wrong pass, and the name of the case that catches it."""
