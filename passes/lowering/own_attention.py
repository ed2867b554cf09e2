"""Attention that native code computes without a matrix of queries x keys."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from optc.compiler import ir
from optc.compiler.edit import Editor
from optc.compiler.numerics import Numerics
from optc.compiler.pipeline import Pass
from optc.compiler.rewrite import Builder, replace_node

_VECTOR = 4  # elements that the size of a head is a multiple of
_FORWARDED = ("is_causal", "kv_num_heads", "q_num_heads", "scale")


@dataclass(frozen=True)
class OwnAttention(Pass):
    """Attention of float32 without past, present and soft cap -> optc.Attention, whose kernel goes by blocks of keys."""

    name = "own-attention"
    numerics = Numerics.REASSOCIATED

    def run(self, edit: Editor) -> None:
        for node in [n for graph in ir.all_graphs(edit.graph) for n in graph if ir.standard(n, "Attention")]:
            reason = _misfit(node)
            if reason:
                edit.refuse(node, self.name, reason)
            else:
                replace_node(edit, node, partial(_own, node))


def _own(node: ir.Node, op: Builder) -> Any:
    kept = {a.name: a.value for a in node.attributes.values() if a.name in _FORWARDED}
    made = op.domain(ir.DOMAIN).Attention(*node.inputs[:4], **kept)
    return (made, *[None] * (len(node.outputs) - 1)) if len(node.outputs) > 1 else made


def _misfit(node: ir.Node) -> str:
    """Why the kernel does not compute a node; '' where it does."""
    q, k, v, *rest = node.inputs
    if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        return "more than its result is wanted"
    if any(value is not None for value in rest[1:]) or ir.attribute(node, "softcap", 0.0):
        return "it has a past, lengths or a soft cap"
    if any(x is None or x.dtype != ir.DataType.FLOAT or x.shape is None for x in (q, k, v)):
        return "it is not of float32, or of unknown rank"
    if ir.attribute(node, "softmax_precision", 0) not in (0, int(ir.DataType.FLOAT)) or ir.attribute(node, "scale", 1.0) < 0:
        return "it asks for another precision, or a negative scale"
    shapes = [_split(node, x, count) for x, count in ((q, "q_num_heads"), (k, "kv_num_heads"), (v, "kv_num_heads"))]
    for shape in shapes:
        if not all(isinstance(d, int) for d in shape[2:]) or shape[3] % _VECTOR:
            return "its heads are of unknown sizes, or not of whole vectors"
    (batch, queries, heads, depth), (_, keys, groups, own), _ = shapes
    if heads % groups or depth != own:
        return "its heads do not fit"
    mask = rest[0] if rest else None
    return "" if mask is None else _misfit_mask(mask, (batch, heads, queries, keys))


def _misfit_mask(mask: ir.Value, extents: tuple[Any, ...]) -> str:
    """A mask of fewer keys than there are hides the others from opset 24 on: one that has a single key is left alone."""
    if mask.shape is None or len(mask.shape) > 4 or mask.dtype not in (ir.DataType.FLOAT, ir.DataType.BOOL):
        return "its mask is of unknown rank, or of another type"
    for i, (dim, extent) in enumerate(zip(reversed(list(mask.shape)), reversed(extents), strict=False)):
        if (dim != 1 or i == 0) and (dim != extent or (not isinstance(dim, int) and dim.value is None)):
            return "its mask may not be as large as the scores"
    return ""


def _split(node: ir.Node, x: ir.Value | None, count: str) -> tuple[Any, Any, Any, Any]:
    """Batch, rows, heads, and the size of one; None for what is not known."""
    shape = list(x.shape) if x is not None and x.shape is not None else []
    if len(shape) == 4:
        return shape[0], shape[2], shape[1], shape[3]
    heads = ir.attribute(node, count, 0)
    if len(shape) != 3 or not heads or not isinstance(shape[2], int) or shape[2] % heads:
        return None, None, None, None
    return shape[0], shape[1], heads, shape[2] // heads
