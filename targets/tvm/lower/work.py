"""How much there is to compute, about, where sizes are known only at run time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tvm
import tvm_ffi
from tvm import tirx

UNKNOWN = 64
"""What stands for an extent that is known only at run time; a batch, the first of them, is 1."""


def typical(dims: Sequence[Any], variables: Sequence[Any]) -> int:
    """How many elements a tensor of these extents has; the `variables` in them are those of the inputs, in order."""
    sizes = {var: tirx.IntImm("int64", UNKNOWN if i else 1) for i, var in enumerate(variables)}
    analyzer, total = tvm.sym.Analyzer(), 1
    for dim in dims:
        if isinstance(dim, int):
            total *= dim
            continue
        found = analyzer.simplify(tvm_ffi.structural_map(dim, (tvm.ir.Var, lambda v: sizes.get(v, v)), order="post"))
        total *= max(int(found), 1) if isinstance(found, tirx.IntImm) else UNKNOWN
    return total
