"""The dimensions of a model's inputs as TVM's variables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tvm
from tvm import relax, tirx

from optc.compiler import bounds, ir


class Dims:
    """One variable a name, and an analyzer that knows the largest sizes.

    A name without a letter ('?', '-1') says nothing: each such dimension is its own unknown.
    """

    def __init__(self, graph: ir.Graph) -> None:
        self.analyzer = tvm.sym.Analyzer()
        self.variables: dict[str, Any] = {}
        self.largest = bounds.largest(graph)

    def of(self, value: ir.Value) -> list[Any]:
        """The dimensions of an input: integers and variables."""
        return [self._one(dim, f"{value.name}_{i}") for i, dim in enumerate(value.shape or ())]

    def _one(self, dim: int | ir.SymbolicDim, own: str) -> Any:
        if isinstance(dim, int) and dim >= 0:
            return dim
        name = "" if isinstance(dim, int) else dim.value or ""
        key = name if any(c.isalpha() for c in name) else f"?{own}"
        if key not in self.variables:
            self.variables[key] = tirx.Var(f"d{len(self.variables)}", "int64")
            if key in self.largest:
                self.analyzer.bind(self.variables[key], tvm.ir.Range(0, self.largest[key] + 1))
        return self.variables[key]


def extents(dims: Sequence[Any]) -> Any:
    """Dimensions, ints and expressions, as Relax has them."""
    return relax.ShapeExpr([tirx.IntImm("int64", d) if isinstance(d, int) else d for d in dims])
