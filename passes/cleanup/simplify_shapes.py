"""Shape arithmetic is done once, and in as few operators as it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from optc.compiler import ir
from optc.compiler.contents import RULES, Array, Contents, contents, dims, known_array
from optc.compiler.edit import Editor
from optc.compiler.numerics import Numerics
from optc.compiler.pipeline import Pass
from optc.compiler.shapes import infer_node
from optc.compiler.symbolic import Dim
from optc.passes.cleanup.parts import cut

Places = Mapping[Dim, Sequence[tuple[ir.Value, int]]]
Key = tuple[tuple[int, ...], tuple[str, ...]]


@dataclass(frozen=True)
class SimplifyShapes(Pass):
    """Values of which every element is the same expression of dimensions become one value, however they are computed.

    A vector of dimensions of the graph's inputs, or of what it is computed from, is taken from there (Shape, Gather, Concat of
    the parts) where that is fewer operators than those that nothing else needs; a single one where it is no more, so that no
    value inside the graph is kept for its shape.
    """

    name = "simplify-shapes"
    numerics = Numerics.BITWISE

    def run(self, edit: Editor) -> None:
        _Graph(edit, edit.graph, contents(edit.graph), _where(edit.graph.inputs), {}).run()


@dataclass
class _Graph:
    edit: Editor
    graph: ir.Graph
    known: Contents
    fed: Places
    seen: dict[Key, ir.Value]
    shapes: dict[ir.Value, ir.Value] = field(default_factory=dict)

    def run(self) -> None:
        for node in list(self.graph):
            if node.graph is None:
                continue
            for body in ir.bodies(node):
                _Graph(self.edit, body, self.known, self.fed, dict(self.seen)).run()
            if ir.standard(node, "Shape") and node.inputs[0] is not None and not node.attributes:
                self.shapes.setdefault(node.inputs[0], node.outputs[0])
            for value in node.outputs:
                self._value(node, value)

        if self.edit.opset() >= 15:
            for node in [n for n in self.graph if ir.standard(n, "Shape") and not n.attributes]:
                self._ranges(node)

    def _ranges(self, node: ir.Node) -> None:
        """A Shape of which all that is read is ranges: each is a Shape from a start to an end."""
        users, total = list(dict.fromkeys(node.outputs[0].consumers())), len(dims(node.inputs[0]) or ())
        found = [_range(u, total) if u.graph is self.graph else None for u in users]
        if not users or node.outputs[0].is_graph_output() or None in found or not self.edit.step(node):
            return
        for user, axes in zip(users, found, strict=True):
            if axes is not None and node.inputs[0] is not None:
                old = user.outputs[0]
                made = self._made(user, "Shape", [node.inputs[0]], start=axes[0], end=axes[1])
                self.edit.set_type(made, old.dtype, old.shape)
                name = old.name or ""
                self.edit.replace(old, made)
                operands = list(user.inputs)
                self.edit.remove(user)
                self.edit.rename(old, self.edit.fresh(f"{name}_replaced"))
                self.edit.rename(made, name)
                self.edit.sweep(operands)

    def _value(self, node: ir.Node, value: ir.Value) -> None:
        found = self.known.of(value) if node.op_type in RULES and value.dtype == ir.DataType.INT64 else None
        if found is None or known_array(found) is not None or value.is_graph_output() or found.size == 0:
            return
        key = (tuple(found.shape), tuple(str(e) for e in found.flat))
        first = self.seen.get(key)
        if first is None or not _alive(first):
            self.seen[key] = first = value
        if first is not value:
            if self.edit.step(node):
                self._replace(node, value, first)
            return
        if found.ndim == 0 and ir.standard(node, "Gather"):
            self._from_input(node, value, found.item(), key)
        if found.ndim == 1 and not ir.standard(node, "Shape") and any(not _is_arithmetic(u) for u in value.consumers()):
            self._rebuild(node, value, found, key)

    def _replace(self, node: ir.Node, old: ir.Value, new: ir.Value) -> None:
        self.edit.replace(old, new)
        if not any(v.uses() or v.is_graph_output() for v in node.outputs):
            inputs = list(node.inputs)
            self.edit.remove(node)
            self.edit.sweep(inputs)

    def _from_input(self, node: ir.Node, value: ir.Value, dim: Dim, key: Key) -> None:
        """Read one dimension of a computed value from an input of the graph that has it, too."""
        shape = node.inputs[0].producer() if node.inputs[0] is not None else None
        if shape is None or not ir.standard(shape, "Shape") or shape.inputs[0] is None or shape.inputs[0].producer() is None:
            return
        places = self.fed.get(dim, ())
        there = [place for place in places if place[0] in self.shapes and _alive(self.shapes[place[0]])]
        only = len(set(shape.outputs[0].consumers())) == 1 and not shape.outputs[0].is_graph_output()
        if not (there or (places and only)) or not self.edit.step(node):
            return
        source, axis = (there or places)[0]
        made = self._made(
            node, "Gather", [self._shape(node, source), self.edit.initializer(np.array(axis, np.int64), f"{node.name}_axis")]
        )
        self.edit.set_type(made, value.dtype, value.shape)
        self.seen[key] = made
        self._replace(node, value, made)

    def _rebuild(self, node: ir.Node, value: ir.Value, found: Array, key: Key) -> None:
        """Compute a vector from the shapes of values that are there, if that is less than it is computed from."""
        asked = _where(_asked(node))
        parts = _parts(list(found), lambda dim: (*asked.get(dim, ()), *self.fed.get(dim, ())))
        if parts is None:
            return
        full = self.edit.opset() >= 15
        new = (len(parts) > 1) + sum(p.cost(full) for p in parts)
        whole = {p.source for p in parts if p.source is not None and not p.short(full)}
        new += sum(v not in self.shapes or not _alive(self.shapes[v]) for v in whole)
        if new >= _alone(node) or not self.edit.step(node):
            return
        made = [self._part(node, p, full) for p in parts]
        result = made[0] if len(made) == 1 else self._made(node, "Concat", made, axis=0)
        self.edit.set_type(result, value.dtype, value.shape)
        self.seen[key] = result
        self._replace(node, value, result)

    def _part(self, node: ir.Node, part: _Part, full: bool) -> ir.Value:
        if part.source is None:
            return self.edit.initializer(np.array(part.numbers, np.int64), f"{node.name}_part")
        if part.short(full):
            return self._made(node, "Shape", [part.source], start=part.axes[0], end=part.axes[-1] + 1)
        index = self.edit.initializer(np.array(part.axes, np.int64), f"{node.name}_axes")
        return self._made(node, "Gather", [self._shape(node, part.source), index], axis=0)

    def _shape(self, node: ir.Node, source: ir.Value) -> ir.Value:
        """The whole shape of a value, made before a node where there is none yet."""
        if source not in self.shapes or not _alive(self.shapes[source]):
            self.shapes[source] = self._made(node, "Shape", [source])
        return self.shapes[source]

    def _made(self, node: ir.Node, op_type: str, inputs: Sequence[ir.Value], **attributes: int) -> ir.Value:
        attrs = [ir.convert_attribute(k, v) for k, v in attributes.items()]
        made = self.edit.node(op_type, inputs, attrs, name=f"{node.name}_{op_type}", sources=[node])
        self.edit.insert_before(node, [made])
        infer_node(self.edit, made)
        return made.outputs[0]


@dataclass(frozen=True)
class _Part:
    """Elements that follow each other: numbers, or dimensions of one value."""

    source: ir.Value | None
    axes: tuple[int, ...] = ()
    numbers: tuple[int, ...] = ()

    def short(self, full: bool) -> bool:
        """Whether one Shape with a start and an end gives it (`full`: the opset has them)."""
        return full and self.axes == tuple(range(self.axes[0], self.axes[0] + len(self.axes)))

    def cost(self, full: bool) -> int:
        return 0 if self.source is None else 1


def _alive(value: ir.Value) -> bool:
    """Whether what computes a value has not been removed meanwhile."""
    node = value.producer()
    return node is None or node.graph is not None


def _where(values: Iterable[ir.Value]) -> Places:
    """Where each dimension of these values can be read."""
    found: dict[Dim, list[tuple[ir.Value, int]]] = {}
    for value in dict.fromkeys(values):
        for axis, dim in enumerate(dims(value) or ()):
            found.setdefault(dim, []).append((value, axis))
    return found


def _parts(elements: Sequence[Dim], sources: Callable[[Dim], Sequence[tuple[ir.Value, int]]]) -> list[_Part] | None:
    """The elements as few parts, from the left; None where one is found nowhere."""
    parts: list[_Part] = []
    at = 0
    while at < len(elements):
        if isinstance(elements[at], int):
            numbers = []
            while at < len(elements) and isinstance(dim := elements[at], int):
                numbers.append(dim)
                at += 1
            parts.append(_Part(None, numbers=tuple(numbers)))
            continue
        longest: tuple[ir.Value, list[int]] | None = None
        for value, axis in sources(elements[at]):
            axes = [axis]
            for dim in elements[at + 1 :]:
                more = [a for v, a in sources(dim) if v is value]
                if not more:
                    break
                axes.append(axes[-1] + 1 if axes[-1] + 1 in more else more[0])
            while len(axes) > 1 and isinstance(elements[at + len(axes) - 1], int):
                axes.pop()
            if longest is None or len(axes) > len(longest[1]):
                longest = value, axes
        if longest is None:
            return None
        parts.append(_Part(longest[0], tuple(longest[1])))
        at += len(longest[1])
    return parts


def _range(node: ir.Node, total: int) -> tuple[int, int] | None:
    """The axes from which on and before which a node takes dimensions out of a shape of `total` of them."""
    if ir.standard(node, "Gather") and total:
        index = ir.const(node.inputs[1])
        axes = [] if index is None or index.ndim != 1 else [int(i) % total for i in index]
        consecutive = bool(axes) and axes == list(range(axes[0], axes[0] + len(axes)))
        return (axes[0], axes[-1] + 1) if consecutive else None
    taken = cut(node) if ir.standard(node, "Slice") and total else None
    if taken is None or taken.steps != (1,):
        return None
    start, end, _ = slice(taken.starts[0], taken.ends[0]).indices(total)
    return (start, end) if start < end else None


def _is_arithmetic(node: ir.Node) -> bool:
    return node.op_type in ("Concat", "Add", "Sub", "Mul", "Div", "Gather", "Slice", "Squeeze", "Unsqueeze", "Cast")


def _alone(node: ir.Node) -> int:
    """How many nodes go if this one does."""
    gone = {node}
    work = [node]
    while work:
        for maker in {v.producer() for v in work.pop().inputs if v is not None}:
            if (
                maker is not None
                and maker not in gone
                and all(not v.is_graph_output() and all(u in gone for u in v.consumers()) for v in maker.outputs)
            ):
                gone.add(maker)
                work.append(maker)
    return len(gone)


def _asked(node: ir.Node) -> Iterable[ir.Value]:
    """The values whose shapes a node is computed from."""
    seen, work = {node}, [node]
    while work:
        at = work.pop()
        if ir.standard(at, "Shape") and at.inputs[0] is not None:
            yield at.inputs[0]
            continue
        for maker in [p for v in at.inputs if v is not None and (p := v.producer()) is not None]:
            if maker not in seen and maker.op_type in RULES:
                seen.add(maker)
                work.append(maker)
