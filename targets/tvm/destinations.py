"""Concat without copies: a kernel whose result is one part of a Concat, and nothing else, writes it where the whole lies.

Runs once kernels take the memory of their results as arguments. Parts that others read, too, are copied, each by a kernel of
its own.
"""

from __future__ import annotations

from collections import Counter, deque
from itertools import accumulate
from typing import Any

import tvm
import tvm_ffi
from tvm import relax, te, tirx
from tvm.ir.expr import TensorLoad, TensorRegion

from optc.targets.tvm.compute.kernel import static
from optc.targets.tvm.machine import Machine
from optc.targets.tvm.schedule import schedule_module

AXIS = "optc.concat"
"""Attribute of a PrimFunc that does nothing but concatenate its arguments: the axis."""
_ALLOC = tvm.ir.Op.get("relax.builtin.alloc_tensor")

Call = dict[str, Any]  # of a kernel, as `trace` tells; `share`: how much of its last argument it writes


def in_place(module: Any, calls: list[Call], machine: Machine) -> tuple[Any, list[Call]]:
    """The module without those Concats of which a part can be written in place, and the kernel calls of its `main`."""
    return _Main(module, calls, machine).rewritten()


class _Main:
    """`main`, binding by binding; what replaces one is noted at its place."""

    def __init__(self, module: Any, calls: list[Call], machine: Machine) -> None:
        self.module, self.machine, self.main = module, machine, module["main"]
        self.bindings = [b for block in self.main.body.blocks for b in block.bindings]
        self.places = {b.var: i for i, b in enumerate(self.bindings)}
        told = deque(calls)
        self.steps: list[list[tuple[Any, Call | None]]] = [[(b, self._told(b, told))] for b in self.bindings]
        self.reads = Counter(v for b in self.bindings for v in relax.analysis.free_vars(b.value))
        self.reads.update(relax.analysis.free_vars(self.main.body.body))
        self.memory = {b.var for b in self.bindings if isinstance(b.value, tvm.ir.Call) and b.value.op == _ALLOC}
        self.source = {b.var: b.value for b in self.bindings if b.value in self.memory}
        self.writer = {b.value.args[-1]: i for i, b in enumerate(self.bindings) if self._kernel(b)}
        self.builder = relax.BlockBuilder(module)
        self.made: dict[tuple[Any, ...], Any] = {}

    def rewritten(self) -> tuple[Any, list[Call]]:
        for place, binding in enumerate(self.bindings):
            function = self._kernel(binding)
            if function and function.attrs and AXIS in function.attrs:
                self._concat(place, binding.value, int(function.attrs[AXIS]), function)
        found = [step for steps in self.steps for step in steps]
        body = relax.SeqExpr([relax.BindingBlock([binding for binding, _ in found])], self.main.body.body)
        main = relax.Function(self.main.params, body, self.main.ret_ty, self.main.is_pure, self.main.attrs)
        self.builder.update_func(self.module.get_global_var("main"), main)
        return self.builder.get(), [call for _, call in found if call]

    def _told(self, binding: Any, told: deque[Call]) -> Call | None:
        """The next call, if it is this one: `trace` does not know all. Where sizes are passed on, the kernel is an argument."""
        value = binding.value
        parts = [value.op, *value.args[:1]] if isinstance(value, tvm.ir.Call) else []
        names = [part.name_hint for part in parts if isinstance(part, tvm.ir.GlobalVar)]
        return told.popleft() if told and told[0]["name"] in names else None

    def _kernel(self, binding: Any) -> Any:
        """The PrimFunc that a binding calls, which writes its last argument; None for any other binding."""
        callee = binding.value.op if isinstance(binding.value, tvm.ir.Call) else None
        function = self.module[callee] if isinstance(callee, tvm.ir.GlobalVar) else None
        return function if isinstance(function, tirx.PrimFunc) else None

    def _concat(self, place: int, call: Any, axis: int, function: Any) -> None:
        *parts, whole = call.args
        sizes = [size for p in function.params[:-1] if (size := static(p.ty.shape[axis])) is not None]
        if whole not in self.memory or len(parts) != len(sizes):
            return
        own = [self._own(p) if parts.count(p) == 1 else None for p in parts]
        if all(w is None for w in own):
            return
        first = min(self.places[self.source[p]] for p, w in zip(parts, own, strict=True) if w is not None)
        total, told = sum(sizes), self.steps[place][0][1] or {}
        self.steps[first] = [*self.steps[self.places[whole]], *self.steps[first]]
        self.steps[self.places[whole]], self.steps[place] = [], []
        for i, (part, writer, start) in enumerate(zip(parts, own, accumulate([0, *sizes[:-1]]), strict=True)):
            where = (axis, start, total)
            share = {"share": [sizes[i], total]}
            if writer is None:
                callee = self._copy(function.params[i], *where)
                copied = relax.VarBinding(relax.Var("_", call.ty), _call(callee, [part, whole], call))
                self.steps[place].append((copied, {**told, **share, "name": callee.name_hint}))
            else:
                [(binding, made)] = self.steps[writer]
                callee = self._placed(binding.value.op, *where)
                moved = relax.VarBinding(binding.var, _call(callee, [*binding.value.args[:-1], whole], binding.value))
                self.steps[writer] = [(moved, {**(made or {}), **share, "name": callee.name_hint})]
                gone = self.places[self.source[part]]
                self.steps[gone] = [step for step in self.steps[gone] if step[0] is not self.bindings[gone]]
                self.steps[self.places[part]] = []

    def _own(self, part: Any) -> int | None:
        """Where the kernel is that makes a part which nobody else reads, in memory of its own."""
        memory = self.source.get(part)
        alone = memory is not None and self.reads[part] == 1 and self.reads[memory] == 2  # its kernel, and the name
        return self.writer.get(memory) if alone else None

    def _placed(self, callee: Any, axis: int, start: int, total: int) -> Any:
        """The kernel that writes its result into a part of a larger array."""
        key = (callee, axis, start, total)
        if key not in self.made:
            self.made[key] = self._named(callee.name_hint, shifted(self.module[callee], axis, start, total), start)
        return self.made[key]

    def _copy(self, part: Any, axis: int, start: int, total: int) -> Any:
        key = (str(part.ty.dtype), *map(str, part.ty.shape), axis, start, total)
        if key not in self.made:
            x = te.placeholder(part.ty.shape, part.ty.dtype, "x")
            copy = te.create_prim_func([x, te.compute(x.shape, lambda *i: x(*i), name="copy")])
            module = tvm.IRModule({"copy": copy.with_attrs({"tirx.noalias": True})})
            scheduled, _ = schedule_module(module, self.machine)
            self.made[key] = self._named("concat", shifted(scheduled["copy"], axis, start, total), start)
        return self.made[key]

    def _named(self, name: str, function: Any, start: int) -> Any:
        return self.builder.add_func(function, f"{name}_at_{start}")


def _call(callee: Any, args: list[Any], like: Any) -> Any:
    return tvm.ir.Call(callee, args, like.attrs, like.ty_args, like.span, like.ty)


def shifted(function: Any, axis: int, start: int, total: int) -> Any:
    """The kernel with its last argument `total` long on `axis`; what it wrote there from 0 on it writes from `start` on."""
    old = function.params[-1]
    shape = [total if i == axis else extent for i, extent in enumerate(old.ty.shape)]
    new = tirx.decl_buffer(shape, old.ty.dtype, old.name)

    def at(indices: Any) -> list[Any]:
        return [index + start if i == axis else index for i, index in enumerate(indices)]

    def load(node: Any) -> Any:
        return tirx.BufferLoad(new, at(node.indices)) if node.source.same_as(old) else node

    def store(node: Any) -> Any:
        return tirx.BufferStore(new, node.value, at(node.indices)) if node.buffer.same_as(old) else node

    def region(node: Any) -> Any:
        if not node.source.same_as(old):
            return node
        extents = [r.extent for r in node.region]
        return tirx.BufferRegion(new, list(map(tvm.ir.Range.from_min_extent, at([r.min for r in node.region]), extents)))

    body = function.body
    for kind, change in ((TensorLoad, load), (tirx.BufferStore, store), (TensorRegion, region)):
        body = tvm_ffi.structural_map(body, (kind, change), order="post")
    return tirx.PrimFunc([*function.params[:-1], new], body, function.ret_type, function.attrs)
