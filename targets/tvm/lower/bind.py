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
    dims = old.params[count - 1]
    params = [*old.params[: count - 1], *old.params[count:]]
    found = relax.Var("found", relax.ShapeType(ndim=len(computed)))
    known = relax.VarBinding(found, relax.ShapeExpr([expr for expr, _ in computed]))
    bound = relax.BindingBlock([known, relax.MatchCast(dims, found, dims.ty)])
    body = relax.SeqExpr([bound, *old.body.blocks], old.body.body)
    main = relax.Function(params, body, _erased(old.ret_ty), old.is_pure, old.attrs).with_attr("num_input", count - 1)
    functions = dict(module.functions)
    functions[module.get_global_var("main")] = main
    return tvm.IRModule(functions, attrs=module.attrs)


def _erased(ty: Any) -> Any:
    """A result type that names no dimension: those that are computed are unknown outside."""
    if isinstance(ty, relax.TupleType):
        return relax.TupleType([_erased(field) for field in ty.fields])
    return relax.TensorType(dtype=str(ty.dtype), ndim=ty.ndim)
