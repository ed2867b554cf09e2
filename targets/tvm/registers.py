"""Small arrays that are only read and written at constant places become single values, which LLVM keeps in registers.

TVM asks its runtime for the memory of an array of 1 KiB or more, in every task of a parallel loop, and LLVM must store to it what
nobody reads. A register tile is such an array once its loops are unrolled.
"""

from __future__ import annotations

from typing import Any

import tvm
import tvm_ffi
from tvm import tirx
from tvm.ir import Var
from tvm.ir.expr import TensorLoad
from tvm.s_tir import pipeline
from tvm.tirx import compilation_pipeline

PIPELINE = "optc"
"""The name under which TVM's builder finds the lowering pipeline."""


def lowering() -> tuple[Any, Any, Any]:
    """TVM's own pipeline with `in_registers` before memory is asked for."""
    passes, host, device = pipeline.default_s_tir_pipeline()
    return passes, lambda: tvm.transform.Sequential([in_registers(), host()]), device


compilation_pipeline.PIPELINE_MAP[PIPELINE] = lowering


def in_registers() -> Any:
    """The pass, to be run when loops are unrolled and vectorized."""

    def transform(function: Any, _module: Any, _context: Any) -> Any:
        return function.with_body(_split(function.body))

    return tirx.transform.prim_func_pass(transform, opt_level=0, name="optc.in_registers")


def _split(body: Any) -> Any:
    """The statement with an array of one element for each place of such an array."""
    places: dict[Any, dict[int, Any]] = {}
    uses: dict[Any, int] = {}

    def made(node: Any) -> None:
        places[node.buffer], uses[node.buffer] = {}, -1  # where it is made it is named, too

    def used(var: Any) -> None:
        if var in uses:
            uses[var] += 1

    def accessed(node: Any) -> None:
        buffer = _buffer(node)
        if buffer in places:
            uses[buffer] -= 1
            if len(node.indices) == 1 and isinstance(node.indices[0], tirx.IntImm):
                places[buffer].setdefault(int(node.indices[0].value), None)
            else:
                uses[buffer] = -(1 << 30)

    tvm_ffi.structural_walk(body, (tirx.AllocBuffer, made))
    for kind, visit in ((Var, used), (TensorLoad, accessed), (tirx.BufferStore, accessed)):
        tvm_ffi.structural_walk(body, (kind, visit))
    values = {
        buffer: {i: tirx.decl_buffer((1,), buffer.dtype, f"{buffer.name}_{i}") for i in found}
        for buffer, found in places.items()
        if found and uses[buffer] == 0
    }
    return _replaced(body, values) if values else body


def _replaced(body: Any, values: dict[Any, dict[int, Any]]) -> Any:
    def load(node: Any) -> Any:
        held = values.get(node.source)
        return node if held is None else tirx.BufferLoad(held[int(node.indices[0].value)], [0])

    def store(node: Any) -> Any:
        held = values.get(node.buffer)
        return node if held is None else tirx.BufferStore(held[int(node.indices[0].value)], node.value, [0])

    def sequence(node: Any) -> Any:
        found = [values.get(each.buffer) if isinstance(each, tirx.AllocBuffer) else None for each in node.seq]
        if all(held is None for held in found):
            return node
        parts = zip(node.seq, found, strict=True)
        return tirx.SeqStmt(
            [s for each, held in parts for s in ([each] if held is None else map(tirx.AllocBuffer, held.values()))]
        )

    for kind, change in ((TensorLoad, load), (tirx.BufferStore, store), (tirx.SeqStmt, sequence)):
        body = tvm_ffi.structural_map(body, (kind, change), order="post")
    return body


def _buffer(node: Any) -> Any:
    return node.buffer if isinstance(node, tirx.BufferStore) else node.source
