"""Which source nodes are behind each kernel call of a compiled program, and how many multiply-adds they take."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import tvm
from tvm import relax

_CALL_TIR = tvm.ir.Op.get("relax.call_tir")


@dataclass
class Made:
    """What lowering knows of the variables it made, by name: the source nodes; of products, how many multiply-adds an element is,
    and whether it is one of the first operand, not of the result."""

    nodes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    depths: dict[str, tuple[int, bool]] = field(default_factory=dict)


def kernels(before: Any, after: Any, made: Made) -> list[dict[str, Any]]:
    """The kernel calls of `main` in the module `after` FuseOps, in the order of their execution: `name`; `nodes`; `depth`,
    multiply-adds for each element of argument number `of`, 0 where it is no product.

    FuseOps keeps no names, and calls of one structure share one function. So the two modules are walked side by side: a call
    inside a fused function is the one of `before` with the same callee and arguments.
    """
    return list(_Walk(before, after, made).calls())


class _Walk:
    def __init__(self, before: Any, after: Any, made: Made) -> None:
        self._after, self._made = after, made
        self._same: dict[Any, Any] = dict(zip(after["main"].params, before["main"].params, strict=True))
        self._waiting: dict[Any, deque[Any]] = defaultdict(deque)
        for binding in _bindings(before["main"]):
            key = _key(binding, {})
            if key is not None:
                self._waiting[key].append(binding.var)

    def calls(self) -> Iterator[dict[str, Any]]:
        for binding in _bindings(self._after["main"]):
            value: Any = getattr(binding, "value", None)
            callee: Any = value.op if isinstance(value, tvm.ir.Call) else None
            function = self._after[callee] if isinstance(callee, tvm.ir.GlobalVar) else None
            if isinstance(function, relax.Function):
                same = {p: self._same.get(a, a) for p, a in zip(function.params, value.args, strict=False)}
                inner = [found for b in _bindings(function) if (found := self._met(b, same)) is not None]
                self._same[binding.var] = same.get(function.body.body, binding.var)
                yield self._call(callee.name_hint, inner, binding.var)
            else:
                found = self._met(binding, self._same)
                if found is not None and isinstance(value, tvm.ir.Call) and value.op == _CALL_TIR:
                    yield self._call(value.args[0].name_hint, [found], binding.var)

    def _met(self, binding: Any, same: dict[Any, Any]) -> Any:
        """The variable of `before` that a binding stands for; noted in `same`."""
        value = getattr(binding, "value", None)
        if isinstance(value, relax.Var):
            same[binding.var] = same.get(value, value)
            return None
        waiting = self._waiting.get(_key(binding, same))
        if not waiting:
            return None
        same[binding.var] = waiting.popleft() if len(waiting) > 1 else waiting[0]
        return same[binding.var]

    def _call(self, name: str, inner: list[Any], result: Any) -> dict[str, Any]:
        names = [v.name for v in inner]
        nodes = dict.fromkeys(node for n in names for node in self._made.nodes.get(n, ()))
        results = len(result.ty.fields) if isinstance(result.ty, relax.TupleType) else 1
        products = [self._made.depths[n] for n in names if n in self._made.depths]
        of = 0 if any(first for _, first in products) else -results
        return {"name": name, "nodes": list(nodes), "depth": sum(d for d, _ in products), "of": of}


def _bindings(function: Any) -> Iterator[Any]:
    for block in function.body.blocks:
        yield from block.bindings


def _key(binding: Any, same: Mapping[Any, Any]) -> Any:
    """What a binding computes of what, where it computes; variables as their counterparts in `same`."""
    value = binding if isinstance(binding, relax.MatchCast) else getattr(binding, "value", None)
    if isinstance(value, relax.MatchCast):
        return "cast", _counterpart(value.value, same)
    if isinstance(value, relax.TupleGetItem):
        return "item", _counterpart(value.tuple_value, same), value.index
    if not isinstance(value, tvm.ir.Call):
        return None
    callee = str(value.args[0].name_hint) if value.op == _CALL_TIR else str(value.op)
    return callee, tuple(_counterpart(a, same) for a in value.args)


def _counterpart(value: Any, same: Mapping[Any, Any]) -> Any:
    if isinstance(value, relax.Var):
        return same.get(value, value)
    if isinstance(value, relax.Tuple):
        return tuple(_counterpart(f, same) for f in value.fields)
    return None
