"""Dimensions that are computed from others are computed once a call, before all else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tvm
from tvm import relax


def bind(module: tvm.IRModule, computed: Sequence[tuple[Any, Any]]) -> tvm.IRModule:
    """The module with a `main` that computes the dimensions and calls what was `main`."""
    if not computed:
        return module
    old = module["main"]
    count = int(old.attrs["num_input"])
    inner = tvm.ir.GlobalVar("body")
    ty = _erased(old.ret_ty)
    params = [*old.params[: count - 1], *old.params[count:]]
    shape = relax.ShapeExpr([expr for expr, _ in computed])
    relax.expr._update_type(inner, relax.FuncType([p.ty for p in old.params], ty))
    call = relax.Call(inner, [*old.params[: count - 1], shape, *old.params[count:]], ty_args=[])
    result = relax.Var("result", ty)
    block = relax.BindingBlock([relax.VarBinding(result, call)])
    main = relax.Function(params, relax.SeqExpr([block], result), ty, old.is_pure, old.attrs).with_attr("num_input", count - 1)
    body = relax.utils.copy_with_new_vars(relax.Function(old.params, old.body, ty, old.is_pure, old.attrs))
    functions = dict(module.functions)
    functions[module.get_global_var("main")] = main
    functions[inner] = body.without_attr("global_symbol") if "global_symbol" in body.attrs else body
    return tvm.IRModule(functions, attrs=module.attrs)


def _erased(ty: Any) -> Any:
    """A result type that names no dimension: those that are computed are unknown outside."""
    if isinstance(ty, relax.TupleType):
        return relax.TupleType([_erased(field) for field in ty.fields])
    return relax.TensorType(dtype=str(ty.dtype), ndim=ty.ndim)
