"""Attention in onnxruntime's vocabulary, of models of any opset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isclose, sqrt
from typing import Any

import numpy as np

from optc.compiler import ir
from optc.compiler.contrib.standard import is_finite
from optc.compiler.edit import Editor
from optc.compiler.numerics import Numerics
from optc.compiler.pipeline import Pass
from optc.compiler.replace import replace_values
from optc.compiler.rewrite import Builder, Refuse
from optc.passes.attention import build, found, padding
from optc.passes.attention.heads import Flat
from optc.passes.attention.masks import Place
from optc.passes.attention.scores import Mask
from optc.passes.attention.walk import MisfitError, operand, sizes
from optc.passes.dialect.projections import Projection, packed, projected

DOMAIN = "com.microsoft"


@dataclass(frozen=True)
class OrtAttention(Pass):
    """Attention, or what it is decomposed to in an older opset, -> com.microsoft.Attention where queries, keys and values are
    products of one input with constants, else com.microsoft.MultiHeadAttention with their biases.

    A mask that hides padding, made of integers [B, T], becomes the operator's own; they must be 0 and 1. float32 alone.
    """

    name = "ort-attention"
    numerics = Numerics.REASSOCIATED

    def run(self, edit: Editor) -> None:
        for graph in ir.all_graphs(edit.graph):
            known: dict[Any, ir.Value] = {}
            for node in [n for n in graph if ir.standard(n, "Softmax", "Attention")]:
                try:
                    operands = _decomposed(node, edit.opset()) if node.op_type == "Softmax" else _standard(node)
                    result = _rewrite(edit, operands, known)
                except MisfitError as misfit:
                    edit.refuse(node, self.name, misfit.reason, near=misfit.depth > 1)
                    continue
                if isinstance(result, Refuse):
                    edit.refuse(node, self.name, result.reason)


@dataclass(frozen=True)
class Operands:
    """Of an attention over [B, S, N·H]; `shape` is that of its scores, `old` are keys and values of the past, `reshape` the shape
    that the result gets."""

    sides: tuple[Flat, Flat, Flat]
    scale: float
    width: int
    causal: bool
    masks: tuple[Mask, ...]
    shape: tuple[Any, ...]
    places: tuple[Place, tuple[Place, ...]]
    old: tuple[ir.Value, ...]
    outputs: Sequence[ir.Value]
    nodes: tuple[ir.Node, ...]
    reshape: ir.Value | None = None
    dtype: ir.DataType | None = ir.DataType.FLOAT


def _decomposed(softmax: ir.Node, opset: int) -> Operands:
    a = found.find(softmax, opset, zeros=False)
    flats, width = a.flats, a.q.dims[3]
    if flats is None or not isinstance(width, int):
        raise MisfitError("heads are not split before it and merged behind it", 4)
    if flats[0].heads != flats[1].heads or a.softcap or a.precision is not None:
        raise MisfitError("heads are grouped, scores capped, or Softmax is of another precision", 4)
    return Operands(
        flats, a.scale_of(flats), width, a.causal, a.masks, a.shape, a.places,
        tuple(p.old for p in a.past or ()), a.outputs, a.nodes, a.reshape,
    )  # fmt: skip


def _standard(node: ir.Node) -> Operands:
    """Raises MisfitError where onnxruntime's operators compute something else than standard Attention."""
    q, k, v, mask, old_k, old_v, lengths = (operand(node, i) for i in range(7))
    heads = ir.attribute(node, "q_num_heads", 0)
    if q is None or k is None or v is None or len(sizes(q)) != 3 or not heads or heads != ir.attribute(node, "kv_num_heads", 0):
        raise MisfitError("its heads are split already, or grouped", 2)
    if lengths is not None or len(node.outputs) > 3 or any(n in node.attributes for n in ("softcap", "left_window_size")):
        raise MisfitError("it gives the products of queries and keys, caps them, or takes lengths or windows", 2)
    if mask is not None and (mask.dtype == ir.DataType.BOOL or not is_finite(mask)):
        raise MisfitError(f"'{mask.name}' may hide all keys from a query: that is NaN there, but zeros in Attention", 2)
    old = tuple(x for x in (old_k, old_v) if x is not None)
    batch, queries, wide = sizes(q)
    if not isinstance(wide, int):
        raise MisfitError(f"the width of '{q.name}' is not known", 2)
    keys = sizes(k)[1] + (sizes(old[0], 4)[2] if old else 0)
    sides = [Flat(x, heads) for x in (q, k, v)]
    scale = ir.attribute(node, "scale", 1 / sqrt(wide // heads))
    if scale < 0:
        raise MisfitError(f"its scale is {scale:g}: of that Attention takes the root", 2)
    held = (Mask(mask, 4),) if mask is not None else ()
    causal, shape = bool(ir.attribute(node, "is_causal", 0)), (batch, heads, queries, keys)
    outputs = [v for v in node.outputs if v.name]
    places = ((q, 1), ((k, 1), *((x, 2) for x in old[:1])))
    three = (sides[0], sides[1], sides[2])
    return Operands(three, scale, wide // heads, causal, held, shape, places, old, outputs, (node,))


def _rewrite(edit: Editor, o: Operands, known: dict[Any, ir.Value]) -> Any:
    if o.causal and not o.old and o.shape[2] != o.shape[3]:
        return Refuse("it is causal over more keys than queries")
    if any(side.value.dtype != ir.DataType.FLOAT for side in o.sides):
        return Refuse(f"only float32, '{o.sides[0].value.name}' is {o.sides[0].value.dtype}")
    if abs(o.scale) < build.LEAST:
        return Refuse(f"its scale is {o.scale:g}, which onnxruntime takes for one that is left out")
    made: dict[Any, ir.Value] = {}
    whole, parts = None if o.old else packed(o.sides, o.nodes), [projected(side, o.nodes) for side in o.sides]
    sources = (*o.nodes, *(n for p in (whole, *parts) if p is not None for n in p.nodes))
    result = replace_values(edit, o.outputs, sources, lambda op: _write(op, o, whole, parts, known, made))
    if not isinstance(result, Refuse):
        known.update(made)
    return result


def _write(
    op: Builder, o: Operands, whole: Projection | None, parts: list[Projection | None], known: dict[Any, ir.Value],
    made: dict[Any, ir.Value],
) -> Any:  # fmt: skip
    mask, bias, low = _masks(op, o, known, made)
    attributes: dict[str, Any] = {
        "num_heads": o.sides[0].heads,
        "scale": None if isclose(o.scale, 1 / sqrt(o.width), rel_tol=1e-6) else o.scale,
        "unidirectional": 1 if o.causal else None,
        "mask_filter_value": low,
    }
    own = op.domain(DOMAIN)
    if whole is not None:
        y = own.Attention(
            whole.x, whole.weight, whole.bias, mask, None, bias, qkv_hidden_sizes=_uneven(whole.widths), **attributes
        )
        return y if o.reshape is None else op.Reshape(y, o.reshape)
    biased = all(p is not None and p.bias is not None for p in parts) and not any(s.rotary or s.parts > 1 for s in o.sides)
    shared: dict[Any, Any] = {}
    if biased:
        values: list[Any] = [p.product for p in parts if p is not None]
        added: Any = np.concatenate([p.bias for p in parts if p is not None and p.bias is not None])
    else:
        values, added = [build.flat(op, side, shared) for side in o.sides], None
    results = own.MultiHeadAttention(*values, added, mask, bias, *o.old, outputs=3 if o.old else 1, **attributes)
    y, *present = results if o.old else (results,)
    return (y if o.reshape is None else op.Reshape(y, o.reshape), *present)


def _uneven(widths: tuple[int, ...]) -> list[int] | None:
    return None if len(set(widths)) == 1 else list(widths)


def _masks(op: Builder, o: Operands, known: dict[Any, ir.Value], made: dict[Any, ir.Value]) -> tuple[Any, Any, float | None]:
    """(marks of padding as int32 [B, T], what is added to the scores [B or 1, N or 1, S, T], what is added where a mark is 0)."""
    marked = [padding.marks(m, o.shape[0], o.shape[3]) for m in o.masks]
    at = next((i for i, m in enumerate(marked) if m is not None), None)
    rest = tuple(m for i, m in enumerate(o.masks) if i != at)
    found_marks = marked[at] if at is not None else None
    mask, low = None, None
    if found_marks is not None:
        value, low = found_marks
        key = ("marks", id(value))
        if value.dtype == ir.DataType.INT32:
            mask = value
        elif key not in known:
            made[key] = op.Cast(value, to=int(ir.DataType.INT32))
        mask = mask or known.get(key) or made[key]
    return mask, build.mask(op, replace(o, masks=rest), known, made, whole=True), low
