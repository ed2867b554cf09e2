"""A weight that is stored twice, once transposed, is stored once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from optc.compiler import ir
from optc.compiler.edit import Editor
from optc.compiler.numerics import Numerics
from optc.compiler.pipeline import Pass
from optc.compiler.shapes import infer_node


@dataclass(frozen=True)
class TieWeights(Pass):
    """Of two matrices of which one is the other transposed (tied embeddings of an exporter that folded the transpose), one stays.

    A Gemm takes the other by its flag. Any other operator reads it through a Transpose, which engines fold when they load the
    model, so it costs nothing in a call: the file and the download are what becomes smaller.

    `min_bytes`: smaller weights are left alone. Tensors are only read where two have the same type and shapes that fit.
    """

    min_bytes: int = 1 << 20

    name = "tie-weights"
    numerics = Numerics.REASSOCIATED

    def run(self, edit: Editor) -> None:
        large = [
            v for v in edit.graph.initializers.values() if (t := ir.const_tensor(v)) is not None and t.nbytes >= self.min_bytes
        ]
        matrices = [v for v in large if v.uses() and not v.is_graph_output() and len(ir.const_tensor(v).shape) == 2]  # type: ignore[union-attr]
        shapes = {(v.dtype, *_shape(v)) for v in matrices}
        candidates = [v for v in matrices if (v.dtype, *_shape(v)[::-1]) in shapes]
        kept: dict[bytes, ir.Value] = {}
        for weight in sorted(candidates, key=lambda v: not any(ir.standard(u.node, "Gather") for u in v.uses())):
            first = kept.get(_digest(weight, turned=True))
            if first is None:
                kept.setdefault(_digest(weight, turned=False), weight)
            elif edit.step(next(iter(weight.uses())).node):
                _tie(edit, weight, first)


def _shape(value: ir.Value) -> tuple[int, ...]:
    held = ir.const_tensor(value)
    return tuple(held.shape.numpy()) if held is not None else ()


def _digest(value: ir.Value, *, turned: bool) -> bytes:
    array = np.asarray(ir.const(value))
    array = np.ascontiguousarray(array.T if turned else array)
    return hashlib.sha256(f"{value.dtype} {array.shape}".encode() + array.tobytes()).digest()


def _tie(edit: Editor, weight: ir.Value, first: ir.Value) -> None:
    """Let what reads a weight read another one, transposed."""
    for use in list(weight.uses()):
        if ir.standard(use.node, "Gemm") and use.idx in (0, 1):
            flag = ("transA", "transB")[use.idx]
            edit.set_attribute(use.node, flag, ir.convert_attribute(flag, 1 - ir.attribute(use.node, flag, 0)))
            edit.set_input(use.node, use.idx, first)
            edit.set_origin(use.node, ir.origin(use.node).by(edit.owner))
    users = list(weight.uses())
    if not users:
        edit.sweep([weight])
        return
    perm = ir.convert_attribute("perm", [1, 0])
    made = edit.node("Transpose", [first], [perm], name=f"{weight.name}_transposed", sources=[users[0].node])
    edit.supply(weight, made)
    infer_node(edit, made)
