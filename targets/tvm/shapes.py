"""Shapes of intermediate results are made once a call, not once for each tensor that has them."""

from __future__ import annotations

from typing import Any

import tvm_ffi
from tvm import relax

_MAKE = "vm.builtin.make_shape"


def once(module: Any) -> Any:
    """The module after VMShapeLower, each shape made where it is first asked for and read from there on.

    It is made of slots of the call's dimensions, which are written once, before.
    """
    for variable, function in list(module.functions.items()):
        if isinstance(function, relax.Function):
            module.update_func(variable, _once(function))
    return module


def _once(function: Any) -> Any:
    made: dict[str, Any] = {}
    same: dict[Any, Any] = {}
    blocks = []
    for block in function.body.blocks:
        kept = []
        for binding in block.bindings:
            value = binding.value
            if same:
                value = tvm_ffi.structural_map(value, (relax.Var, lambda var: same.get(var, var)))
            if isinstance(value, relax.Call) and isinstance(value.op, relax.ExternFunc) and value.op.global_symbol == _MAKE:
                first = made.setdefault(" ".join(map(str, value.args)), binding.var)
                if not first.same_as(binding.var):
                    same[binding.var] = first
                    continue
            kept.append(relax.VarBinding(binding.var, value))
        blocks.append(relax.BindingBlock(kept))
    body = tvm_ffi.structural_map(function.body.body, (relax.Var, lambda var: same.get(var, var)))
    whole = relax.SeqExpr(blocks, body)
    return relax.Function(function.params, whole, function.ret_ty, function.is_pure, function.attrs)
