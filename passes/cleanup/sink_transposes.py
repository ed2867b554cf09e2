"""Transposes are carried through what is between them, until they cancel."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from optc.compiler import ir
from optc.compiler.contents import dims
from optc.compiler.edit import Editor
from optc.compiler.numerics import Numerics
from optc.compiler.rewrite import Builder, Refuse, RewritePass, Rule, apply_rules
from optc.passes.cleanup import carried
from optc.passes.cleanup.min_cut import min_cut
from optc.passes.cleanup.operands import one_node, rank
from optc.passes.cleanup.transposed_views import TRANSPOSED_VIEWS
from optc.passes.cleanup.views import moves_nothing, reshaped

Perm = tuple[int, ...]


@dataclass(frozen=True)
class SinkTransposes(RewritePass):
    """Operators between transposes compute in the order of axes in which fewer transposes are left, by a least cut.

    A region is what is connected through elementwise operators, Concat, Split, Softmax, Slice, Pad, reductions and their like.
    What remains goes into the flags of a Gemm, or, where it only moves extents of 1, becomes a Reshape. Where none would be
    saved, a region stays as it is. `max_region`: larger ones are left alone.
    """

    max_region: int = 2000

    name = "sink-transposes"
    numerics = Numerics.REASSOCIATED

    def rules(self) -> Sequence[Rule]:
        return (
            Rule("gemm-of-transpose", lambda op: op.Gemm(..., name="node"), _gemm),
            Rule("matmul-of-transpose", one_node("MatMul", 2), _matmul),
            Rule("transpose-of-ones", one_node("Transpose", 1), _of_ones),
            *TRANSPOSED_VIEWS,
            *(Rule(f"{kind.lower()}-of-transpose", one_node(kind, 2), _reduced) for kind in sorted(carried.REDUCTIONS)),
        )

    def run(self, edit: Editor) -> None:
        for graph in list(ir.all_graphs(edit.graph)):
            seen: set[tuple[ir.Value, Perm]] = set()
            large: dict[Perm, set[ir.Value]] = {}
            order = {node: i for i, node in enumerate(graph)}
            for node in list(graph):
                perm = perm_of(node)
                if perm is None or node.graph is not graph or (node.outputs[0], perm) in seen:
                    continue
                region = Region(graph, perm, edit.opset())
                whole = region.grow(node.outputs[0], self.max_region, large.setdefault(perm, set()))
                seen.update((v, perm) for v in region.values)
                if not whole:
                    large[perm].update(region.values)
                    edit.refuse(node, self.name, f"more than {self.max_region} operators are between it and others")
                elif region.nodes and region.saves() and edit.step(node):
                    region.rewrite(edit, order)
        apply_rules(edit, self.rules())


def perm_of(node: ir.Node) -> Perm | None:
    perm = ir.attribute(node, "perm") if ir.standard(node, "Transpose") else None
    return tuple(perm) if perm is not None else None


@dataclass
class Region:
    """What `perm` may be carried through from one transpose on: values that are computed as they are, or unpermuted.

    Each node is on a side: 0 as it is, 1 unpermuted. A value costs a transpose where what makes it and what reads it are on
    different sides.
    """

    graph: ir.Graph
    perm: Perm
    opset: int
    nodes: dict[ir.Node, None] = field(default_factory=dict)
    values: dict[ir.Value, None] = field(default_factory=dict)
    side: set[ir.Node] = field(default_factory=set)

    @property
    def inverse(self) -> Perm:
        return tuple(int(i) for i in np.argsort(self.perm))

    def grow(self, start: ir.Value, limit: int, large: Collection[ir.Value]) -> bool:
        """Gather the nodes that are connected with a value through nodes that carry the permutation. False where there are more
        than `limit`; `large` are values of which that is known."""
        work = [start]
        while work:
            value = work.pop()
            if value in large or len(self.nodes) > limit:
                return False
            if value in self.values:
                continue
            self.values[value] = None
            maker = value.producer()
            for node in (*([maker] if maker is not None else []), *value.consumers()):
                if node in self.nodes or node.graph is not self.graph or not carried.carries(node, self.perm, self.opset):
                    continue
                self.nodes[node] = None
                work += [*node.outputs, *self._read(node)]
        return True

    def _read(self, node: ir.Node) -> list[ir.Value]:
        """The computed inputs of a node that have the axes of its result."""
        found = (node.inputs[i] for i in carried.operands(node))
        return [v for v in found if v is not None and ir.const_tensor(v) is None]

    def _maker(self, value: ir.Value) -> Any:
        """On which side a value is made: 0, 1, a node of the region, or None where both cost the same."""
        node = value.producer()
        if node in self.nodes:
            return node
        perm = perm_of(node) if node is not None and node.graph is self.graph else None
        return 0 if perm is None else 1 if perm == self.perm else None

    def _users(self, value: ir.Value) -> Iterator[Any]:
        """On which sides a value is read."""
        if value.is_graph_output():
            yield 0
        for user in dict.fromkeys(value.consumers()):
            perm = perm_of(user)
            if user in self.nodes:
                yield user
            elif user.graph is not self.graph:
                yield 0
            elif perm is not None:
                if perm == self.inverse:
                    yield 1
            elif not carried.absorbs(user, self.perm):
                yield 0

    def saves(self) -> bool:
        """Decide which nodes compute unpermuted; whether that leaves fewer transposes, of no more elements."""
        once: list[tuple[Any, Any]] = []
        always: list[tuple[Any, Any]] = []
        for value in self.values:
            maker, users = self._maker(value), list(self._users(value))
            if maker is None or not users:
                continue
            down, up = ("down", value), ("up", value)
            once += [(maker, down), (up, maker)]
            for user in users:
                always += [(down, user), (user, up)]
        _, unpermuted = min_cut(once, always, 0, 1)
        self.side = {n for n in self.nodes if n in unpermuted}
        before, after = (self._cost(side) for side in (set(), self.side))
        return bool(self.side) and after[0] < before[0] and after[1] <= before[1]

    def _cost(self, side: set[ir.Node]) -> tuple[int, int]:
        """How many transposes are left where these nodes compute unpermuted, and how many elements they move."""
        count = elements = 0
        for value in self.values:
            sides = [maker if isinstance(maker := self._maker(value), int) else int(maker in side)]
            users = {int(u in side) if isinstance(u, ir.Node) else u for u in self._users(value)}
            if self._maker(value) is not None and users - set(sides):
                count += 1
                elements += _size(value)
        return count, elements

    # --- the rewrite ----------------------------------------------------------------------------------------------------

    def rewrite(self, edit: Editor, order: dict[ir.Node, int]) -> None:
        """Let the nodes of side 1 compute unpermuted. `order` tells where each node stands; what is made stands where it was."""
        twins: dict[ir.Value, ir.Value] = {}
        moved = sorted(self.side, key=order.__getitem__)
        for node in moved:
            order[self._unpermuted(edit, node, twins)] = order[node]
        for node in moved:
            for value in node.outputs:
                self._readers(edit, node, value, twins[value])
        swept = [v for n in moved for v in n.inputs]
        heirs = [(twins[n.outputs[0]].producer(), n.name or "") for n in moved]
        for node in reversed(moved):
            edit.remove(node)
        for heir, name in heirs:
            if heir is not None:
                edit.rename(heir, name)
        edit.sweep(dict.fromkeys(swept))

    def _unpermuted(self, edit: Editor, node: ir.Node, twins: dict[ir.Value, ir.Value]) -> ir.Node:
        """Insert the node that computes the unpermuted results; it is returned."""
        inputs, (constants, attributes) = list(node.inputs), carried.moved(node, self.perm)
        for i in carried.operands(node):
            value = node.inputs[i]
            held = ir.const(value)
            if value is not None and held is not None:
                array = carried.moved_constant(held, self.perm)
                inputs[i] = value if array is held else edit.initializer(array, value.name or "")
            elif value is not None:
                inputs[i] = self._twin(edit, value, node, twins)
        for i, array in constants.items():
            inputs[i] = edit.initializer(array, f"{node.name}_{i}")
        changed = {k: ir.convert_attribute(k, v) for k, v in attributes.items()}
        attrs = {**node.attributes, **changed}.values()
        made = edit.node(node.op_type, inputs, attrs, outputs=len(node.outputs), name=node.name or "", sources=[node])
        edit.insert_before(node, [made])
        for old, new in zip(node.outputs, made.outputs, strict=True):
            edit.set_type(new, old.dtype, _permuted(old.shape, self.inverse))
            twins[old] = new
        return made

    def _twin(self, edit: Editor, value: ir.Value, node: ir.Node, twins: dict[ir.Value, ir.Value]) -> ir.Value:
        """The unpermuted value: what was transposed, or a transpose of it."""
        if value not in twins:
            maker = value.producer()
            source = maker.inputs[0] if maker is not None and perm_of(maker) == self.perm else None
            twins[value] = source if source is not None else self._transposed(edit, value, self.inverse, node, value)
        return twins[value]

    def _transposed(self, edit: Editor, value: ir.Value, perm: Perm, before: ir.Node, like: ir.Value) -> ir.Value:
        perm_attribute = ir.convert_attribute("perm", list(perm))
        source = value.producer()
        made = edit.node(
            "Transpose",
            [value],
            [perm_attribute],
            name=f"{like.name}_transpose",
            sources=[source if source is not None else before],
        )
        edit.insert_before(before, [made])
        edit.set_type(made.outputs[0], like.dtype, _permuted(value.shape, perm))
        return made.outputs[0]

    def _readers(self, edit: Editor, node: ir.Node, old: ir.Value, new: ir.Value) -> None:
        """Let what reads a permuted result read the unpermuted one, through a transpose where it must."""
        for user in dict.fromkeys(old.consumers()):
            perm = perm_of(user)
            if user in self.side or user.graph is not self.graph:
                continue
            if perm == self.inverse and not user.outputs[0].is_graph_output():
                edit.replace(user.outputs[0], new)
                edit.remove(user)
            elif perm is not None:
                edit.set_input(user, 0, new)
                composed = [self.perm[i] for i in perm]
                edit.set_attribute(user, "perm", ir.convert_attribute("perm", composed))
                edit.set_origin(user, ir.origin(user).by(edit.owner))
            elif carried.absorbs(user, self.perm):
                self._absorbed(edit, user, new)
        others = [u for u in old.uses() if u.node not in self.side]
        if not others and not old.is_graph_output():
            return
        back = self._transposed(edit, new, self.perm, node, old)
        edit.set_type(back, old.dtype, old.shape)
        if old.is_graph_output():
            edit.replace(old, back)
        for use in others:
            edit.set_input(use.node, use.idx, back)

    def _absorbed(self, edit: Editor, user: ir.Node, new: ir.Value) -> None:
        constants, attributes = carried.moved(user, self.perm)
        edit.set_input(user, 0, new)
        for i, array in constants.items():
            edit.set_input(user, i, edit.initializer(array, f"{user.name}_axes"))
        for name, value in attributes.items():
            edit.set_attribute(user, name, ir.convert_attribute(name, value))
        edit.set_origin(user, ir.origin(user).by(edit.owner))


def _permuted(shape: ir.Shape | None, perm: Perm) -> ir.Shape | None:
    return None if shape is None else ir.Shape([shape[i] for i in perm])


def _size(value: ir.Value) -> int:
    """Elements of a value, where an extent that is not known counts as much as any other."""
    total = 1
    for d in value.shape or ():
        total *= d if isinstance(d, int) else 64
    return total


def _turned(value: ir.Value | None) -> ir.Node | None:
    """The Transpose that a matrix comes from."""
    node = value.producer() if value is not None else None
    return node if node is not None and perm_of(node) == (1, 0) else None


def _gemm(op: Builder, node: ir.Node) -> Any:
    """Gemm(Transpose(a), b, c) -> Gemm(a, b, c) with its flag turned."""
    inputs, flags = list(node.inputs), dict[str, Any](node.attributes)
    for i, flag in enumerate(("transA", "transB")):
        inner = _turned(node.inputs[i])
        if inner is not None:
            op.also(inner)
            inputs[i], flags[flag] = inner.inputs[0], 1 - ir.attribute(node, flag, 0)
    return op.Gemm(*inputs, **flags) if inputs != list(node.inputs) else None


def _matmul(op: Builder, x: ir.Value, a: ir.Value, node: ir.Node) -> Any:
    """MatMul of transposed matrices of floats -> Gemm."""
    inner = [_turned(v) for v in (x, a)]
    if inner == [None, None] or rank(x) != 2 or rank(a) != 2:
        return None
    if op.opset < 11 or x.dtype is None or not x.dtype.is_floating_point():
        return Refuse("Gemm without a bias is of floats, from opset 11 on")
    op.also(*(n for n in inner if n is not None))
    inputs = [v if n is None else n.inputs[0] for n, v in zip(inner, (x, a), strict=True)]
    flags = [None if n is None else 1 for n in inner]
    return op.Gemm(*inputs, transA=flags[0], transB=flags[1])


def _reduced(op: Builder, x: ir.Value, node: ir.Node) -> Any:
    """A reduction that drops all that a Transpose put out of order reduces what was transposed."""
    inner = x.producer()
    perm = perm_of(inner) if inner is not None else None
    if inner is None or perm is None or not carried.absorbs(node, perm):
        return None
    op.also(inner)
    constants, attributes = carried.moved(node, perm)
    return getattr(op, node.op_type)(inner.inputs[0], *constants.values(), **{**node.attributes, **attributes})


def _of_ones(op: Builder, x: ir.Value, node: ir.Node) -> Any:
    known = dims(x)
    return reshaped(op, x, [known[i] for i in ir.attribute(node, "perm")]) if known and moves_nothing(node) else None
