"""Attention, however an exporter wrote it, becomes one operator."""

from __future__ import annotations

from dataclasses import dataclass
from math import isclose, sqrt
from typing import Any

from optc.compiler import ir
from optc.compiler.edit import Editor
from optc.compiler.numerics import Numerics
from optc.compiler.pipeline import Pass
from optc.compiler.replace import replace_values
from optc.compiler.rewrite import Builder, Refuse
from optc.passes.attention import build, found
from optc.passes.attention.found import Attention
from optc.passes.attention.walk import MisfitError

OPSET = 23


@dataclass(frozen=True)
class FuseAttention(Pass):
    """Softmax(scale·Q·Kᵀ + mask)·V -> Attention (opset 23): with the split into heads and the merge where all are there, grouped
    heads, past and present, a soft cap; a triangular mask becomes is_causal.

    Scores that a mask replaces by a number of -1000 or less must be well above it. Where a mask is -inf for all keys of a query,
    Softmax gives NaN and Attention zeros: where that cannot be excluded it refuses.
    """

    name = "fuse-attention"
    numerics = Numerics.REASSOCIATED

    def run(self, edit: Editor) -> None:
        for graph in ir.all_graphs(edit.graph):
            spread: dict[Any, ir.Value] = {}
            for node in [n for n in graph if ir.standard(n, "Softmax")]:
                try:
                    result = _fuse(edit, found.find(node, edit.opset()), spread)
                except MisfitError as misfit:
                    edit.refuse(node, self.name, misfit.reason, near=misfit.depth > 1)
                    continue
                if isinstance(result, Refuse):
                    edit.refuse(node, self.name, result.reason)


def _fuse(edit: Editor, a: Attention, spread: dict[Any, ir.Value]) -> Any:
    if edit.opset() < OPSET:
        return Refuse(f"Attention is in opset {OPSET}, the model has {edit.opset()}: put convert-opset before")
    if not a.scale_of(a.flats) >= build.LEAST:
        return Refuse(f"its scale is {a.scale_of(a.flats):g}, Attention takes none below {build.LEAST:g}")
    made: dict[Any, ir.Value] = {}
    result = replace_values(edit, a.outputs, a.nodes, lambda op: _attention(op, a, spread, made))
    if not isinstance(result, Refuse):
        spread.update(made)
    return result


def _attention(op: Builder, a: Attention, spread: dict[Any, ir.Value], made: dict[Any, ir.Value]) -> Any:
    flats = a.flats
    counts: dict[str, Any] = {}
    if flats is not None:
        parts: dict[Any, Any] = {}
        q, k, v = (build.flat(op, flat, parts) for flat in flats)
        counts = {"q_num_heads": flats[0].heads, "kv_num_heads": flats[1].heads}
    else:
        q, k, v = (build.split(op, side) for side in a.sides)
    mask = build.mask(op, a, spread, made)
    scale, width = a.scale_of(flats), a.q.dims[3]
    attributes: dict[str, Any] = {
        **counts,
        "scale": None if isinstance(width, int) and isclose(scale, 1 / sqrt(width), rel_tol=1e-6) else scale,
        "is_causal": 1 if a.causal else None,
        "softcap": a.softcap or None,
        "softmax_precision": int(a.precision) if a.precision is not None else None,
    }
    old = [p.old for p in a.past] if a.past is not None else []
    results = op.Attention(q, k, v, mask, *old, outputs=3 if old else 1, **attributes)
    y, *present = results if old else (results,)
    if flats is not None and a.reshape is not None:
        y = op.Reshape(y, a.reshape)
    return (y, *present)
