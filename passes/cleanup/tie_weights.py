"""A weight that is stored twice, once transposed, is stored once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from optc.compiler import ir
from optc.compiler.edit import Editor
from optc.compiler.numerics import Numerics
from optc.compiler.pipeline import Pass
from optc.compiler.shapes import infer_node

CORNER = 8
"""Rows and columns that are compared before whole matrices are."""
ROWS = 256
"""Rows that are compared at once."""


@dataclass(frozen=True)
class TieWeights(Pass):
    """Of two matrices of which one is the other transposed (tied embeddings of an exporter that folded the transpose), one stays.

    A Gemm takes the other by its flag. Any other operator reads it through a Transpose, which engines fold when they load the
    model, so it costs nothing in a call: the file and the download are what becomes smaller.

    `min_bytes`: smaller weights are left alone. Tensors are read as a whole only where a corner of another one is the same.
    """

    min_bytes: int = 1 << 20

    name = "tie-weights"
    numerics = Numerics.REASSOCIATED

    def run(self, edit: Editor) -> None:
        matrices = [v for v in edit.graph.initializers.values() if self._large(v)]
        shapes = {(v.dtype, _shape(v)) for v in matrices}
        candidates = [v for v in matrices if (v.dtype, _shape(v)[::-1]) in shapes]
        kept: dict[Any, list[ir.Value]] = {}
        for weight in sorted(candidates, key=lambda v: not any(ir.standard(u.node, "Gather") for u in v.uses())):
            first = next((v for v in kept.get(_corner(weight, turned=True), ()) if _turned(v, weight)), None)
            if first is None:
                kept.setdefault(_corner(weight, turned=False), []).append(weight)
            elif edit.step(next(iter(weight.uses())).node):
                _tie(edit, weight, first)

    def _large(self, value: ir.Value) -> bool:
        held = ir.const_tensor(value)
        known = held is not None and len(held.shape) == 2 and held.nbytes >= self.min_bytes
        return known and bool(value.uses()) and not value.is_graph_output()


def _shape(value: ir.Value) -> tuple[int, ...]:
    held = ir.const_tensor(value)
    return tuple(held.shape.numpy()) if held is not None else ()


def _corner(value: ir.Value, *, turned: bool) -> Any:
    """What matrices have in common that are the same (`turned`: once transposed), at the cost of a few rows."""
    array = np.asarray(ir.const(value))[:CORNER, :CORNER]
    return value.dtype, _shape(value)[::-1] if turned else _shape(value), (array.T if turned else array).tobytes()


def _turned(a: ir.Value, b: ir.Value) -> bool:
    """Whether one matrix is the other transposed, bit by bit."""
    x, y = np.asarray(ir.const(a)), np.asarray(ir.const(b))
    blocks = range(0, len(x), ROWS)
    return x.shape == y.shape[::-1] and all(x[i : i + ROWS].tobytes() == y[:, i : i + ROWS].T.tobytes() for i in blocks)


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
