"""Kernels that read what the caller feeds must not assume its alignment; all other memory is the runtime's, and aligned."""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax


def unaligned_inputs(module: tvm.IRModule) -> tvm.IRModule:
    """The module with alignment assumptions dropped in every PrimFunc that reads an input of `main`, or a view of one."""
    main = module["main"]
    fed = set(main.params[: int(main.attrs["num_input"])])
    readers: set[Any] = set()
    for block in main.body.blocks:
        for binding in block.bindings:
            value: Any = getattr(binding, "value", None)
            if isinstance(binding, relax.MatchCast) or (isinstance(value, tvm.ir.Call) and value.op == _RESHAPE):
                source = value if isinstance(binding, relax.MatchCast) else value.args[0]
                if source in fed:
                    fed.add(binding.var)
            elif isinstance(value, tvm.ir.Call) and value.op == _CALL_TIR and any(arg in fed for arg in value.args[1].fields):
                readers.add(value.args[0])
    # A buffer's alignment is part of its type, which no transformation rewrites; the serialised function has it in one spelling.
    loose = {
        v: tvm.ir.load_json(tvm.ir.save_json(module[v]).replace('"data_alignment":64', '"data_alignment":1')) for v in readers
    }
    return tvm.IRModule({v: loose.get(v, f) for v, f in module.functions.items()}, attrs=module.attrs)


_CALL_TIR = tvm.ir.Op.get("relax.call_tir")
_RESHAPE = tvm.ir.Op.get("relax.reshape")
