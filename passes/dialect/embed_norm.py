"""The embeddings of BERT and its like, as onnxruntime's EmbedLayerNormalization."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from optc.compiler import ir
from optc.compiler.contents import Contents, dims, known_array
from optc.compiler.numerics import Numerics
from optc.compiler.rewrite import Builder, PatternBuilder, Refuse, RewritePass, Rule
from optc.passes.dialect.activations import DOMAIN

_INDICES = (ir.DataType.INT32, ir.DataType.INT64)


@dataclass(frozen=True)
class OrtEmbedNorm(RewritePass):
    """LayerNormalization(words[ids] + positions[...] + kinds[...], γ, β) -> com.microsoft.EmbedLayerNormalization.

    kinds may be missing. ids are int32 there, so int64 ones are cast; positions that count from 0 are left out. float32.
    """

    name = "ort-embed-norm"
    numerics = Numerics.REASSOCIATED

    def rules(self) -> Sequence[Rule]:
        return (Rule("embed-three", _three, _rewrite), Rule("embed-two", _two, _rewrite))


def _three(op: PatternBuilder, a: Any, i: Any, b: Any, j: Any, c: Any, k: Any, gamma: Any, beta: Any | None) -> Any:
    two = op.Add(op.Gather(a, i, axis=0), op.Gather(b, j, axis=0))
    return op.LayerNormalization(op.Add(two, op.Gather(c, k, axis=0)), gamma, beta, name="norm")


def _two(op: PatternBuilder, a: Any, i: Any, b: Any, j: Any, gamma: Any, beta: Any | None) -> Any:
    return op.LayerNormalization(op.Add(op.Gather(a, i, axis=0), op.Gather(b, j, axis=0)), gamma, beta, name="norm")


def _rewrite(op: Builder, norm: ir.Node, gamma: ir.Value, beta: ir.Value | None) -> Any:
    bound, total = op.match.values, norm.inputs[0]
    pairs = [(bound[t], bound[i]) for t, i in (("a", "i"), ("b", "j"), ("c", "k")) if t in bound]
    shape, width = dims(total), dims(gamma)
    if shape is None or len(shape) != 3 or width != shape[2:] or not isinstance(shape[2], int) or _other_axis(norm):
        return Refuse("it is not of three dimensions, or does not normalize over the last alone")
    if any(t is None or i is None or t.dtype != ir.DataType.FLOAT or i.dtype not in _INDICES for t, i in pairs):
        return Refuse("it is not of float32, or its indices are of another type")
    if any((found := dims(t)) is None or len(found) != 2 or found[1] != shape[2] for t, _ in pairs):
        return Refuse("a table is no matrix of that width")
    whole = [p for p in pairs if dims(p[1]) == shape[:2]]
    others = [p for p in pairs if p not in whole]
    if len(others) > 1 or not whole or len(pairs) < 2 or any(len(dims(i) or ()) != 2 for _, i in others):
        return Refuse("it does not add words, positions and maybe kinds of tokens")
    positions = others[0] if others else whole.pop()
    if not whole:
        return Refuse("there are no words beside the positions")
    words, kinds = whole[0], whole[1] if len(whole) > 1 else (None, None)
    zero = np.zeros(shape[2], np.float32)
    at = None if _counts(positions[1]) else _int32(op, positions[1])
    given = (_int32(op, words[1]), _int32(op, kinds[1]), words[0], positions[0], kinds[0], gamma, zero if beta is None else beta)
    epsilon = ir.attribute(norm, "epsilon", 1e-5)
    y, counts = op.domain(DOMAIN).EmbedLayerNormalization(*given, None, at, outputs=2, epsilon=epsilon)
    counts.dtype = ir.DataType.INT32  # of a mask, which is not there: but onnxruntime refuses the node without this output
    return y


def _other_axis(norm: ir.Node) -> bool:
    return ir.attribute(norm, "axis", -1) not in (-1, 2)


def _int32(op: Builder, indices: ir.Value | None) -> Any:
    if indices is None or indices.dtype == ir.DataType.INT32:
        return indices
    return op.Cast(indices, to=int(ir.DataType.INT32))


def _counts(indices: ir.Value | None) -> bool:
    """Whether indices are surely 0, 1, 2, ... in each row: a constant, or the beginning of one."""
    producer = indices.producer() if indices is not None else None
    if producer is not None and ir.standard(producer, "Slice") and len(producer.inputs) >= 3:
        contents = Contents()
        starts, axes, steps = (known_array(contents.of(_input(producer, i))) for i in (1, 3, 4))
        whole = ir.const(producer.inputs[0])
        first = starts is not None and np.all(starts == 0) and (steps is None or np.all(steps == 1))
        along = axes is not None and axes.size == 1 and whole is not None and int(axes.item()) in (1, -1) and whole.ndim == 2
        return bool(first and along and _is_range(whole))
    return _is_range(ir.const(indices))


def _input(node: ir.Node, index: int) -> ir.Value | None:
    return node.inputs[index] if index < len(node.inputs) else None


def _is_range(array: ir.Array | None) -> bool:
    return array is not None and array.ndim == 2 and bool(np.all(array == np.arange(array.shape[1])))
