"""Large models, run and compared piece by piece: no more than the weights of one piece are in memory.

A border is a value that both models have under one name. Each piece computes some borders from inputs of the model and from
borders on which earlier pieces were seen to agree: where all pieces agree, so do the models. What lies between borders and is
needed by several pieces is computed in each of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from optc.compiler import ir, plain, printer, regions
from optc.compiler.check import Check, Feeds
from optc.compiler.numerics import Array, Numerics, compare, worst
from optc.compiler.reference import Reference

LARGE = 1 << 30
"""Bytes of weights; models with fewer are run whole."""
BYTES = 1 << 27
"""Weights of a piece, where there are borders to cut at."""


def large(model: ir.Model) -> bool:
    """Whether a model is run in pieces."""
    return plain.weight_bytes(model) > LARGE and all(v.producer() is not None for v in model.graph.outputs)


class Pieces:
    """A large model ready to run: in every run each piece is loaded when its turn comes."""

    def __init__(self, model: ir.Model) -> None:
        self._outputs = [v.name or "" for v in model.graph.outputs]
        layout = _Layout(model)
        self._parts = [layout.part(*names) for names in _cut(model, layout.borders)]

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name. Raises UserError where the feeds do not fit."""
        held, last = dict(feeds), _last_reads(self._parts, self._outputs)
        for i, part in enumerate(self._parts):
            held.update(part.run([held])[0])
            for name in last[i]:
                held.pop(name, None)
        return {name: held[name] for name in self._outputs}


def check(before: ir.Model, after: ir.Model, numerics: Numerics, feeds: Feeds) -> Check:
    """Compare two models on the same inputs. What is told is the worst border, or the first that breaks the contract."""
    old, new = _Layout(before), _Layout(after)
    outputs = [v.name or "" for v in before.graph.outputs]
    cuts = list(_cut(after, old.borders & new.borders | set(outputs)))
    pairs = [(old.part(*names), new.part(*names)) for names in cuts]
    last = _last_reads([part for pair in pairs for part in pair], outputs)
    held: list[dict[str, Array]] = [dict(sample) for sample in feeds]
    found = []
    for i, (mine, theirs) in enumerate(pairs):
        expected = mine.run(held)
        if not mine.same(theirs):
            found.append(compare(expected, theirs.run(held)))
            if not found[-1].meets(numerics):
                break
        for sample, results in zip(held, expected, strict=True):
            sample.update(results)
            for name in (*last[2 * i], *last[2 * i + 1]):
                sample.pop(name, None)
    return Check(numerics, worst(found))


@dataclass(frozen=True)
class _Part:
    """The nodes that compute some values of a model, in order, and the names of what they start from."""

    model: ir.Model
    nodes: tuple[ir.Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[ir.Value, ...]

    def run(self, samples: Sequence[Mapping[str, Array]]) -> list[dict[str, Array]]:
        reference = Reference(regions.extract(self.model, self.nodes, self.outputs), lean=True)
        return [reference.run({name: sample[name] for name in self.inputs}) for sample in samples]

    def same(self, other: _Part) -> bool:
        """Whether both are the same nodes with the same weights."""
        return len(self.nodes) == len(other.nodes) and all(map(_same, self.nodes, other.nodes))


def _same(a: ir.Node, b: ir.Node) -> bool:
    weights = [[id(v.const_value) for v in regions.read(n) if v.is_initializer()] for n in (a, b)]
    return weights[0] == weights[1] and printer.node_line(a, comments=False) == printer.node_line(b, comments=False)


class _Layout:
    """Where the values of a model are made."""

    def __init__(self, model: ir.Model) -> None:
        self._model = model
        self._values = {v.name or "": v for v in (*model.graph.inputs, *(o for n in model.graph for o in n.outputs))}
        self._order = {node: i for i, node in enumerate(model.graph)}
        self.borders = {name for name, value in self._values.items() if name and _is_typed(value)}

    def part(self, outputs: Sequence[str], known: Collection[str]) -> _Part:
        """What computes the outputs from known values."""
        results = [self._values[name] for name in outputs]
        nodes: dict[ir.Node, None] = {}
        inputs: dict[str, None] = {}
        work = [p for v in results if (p := v.producer()) is not None]
        while work:
            node = work.pop()
            if node in nodes:
                continue
            nodes[node] = None
            for value in regions.read(node):
                maker, name = value.producer(), value.name or ""
                if name in known:
                    inputs[name] = None
                elif maker is not None:
                    work.append(maker)
        return _Part(self._model, tuple(sorted(nodes, key=self._order.__getitem__)), tuple(inputs), tuple(results))


def _is_typed(value: ir.Value) -> bool:
    return value.dtype is not None and value.shape is not None and not value.shape.has_unknown_dim()


def _cut(model: ir.Model, borders: Collection[str]) -> Iterator[tuple[tuple[str, ...], frozenset[str]]]:
    """For each piece, in order: the borders that it gives, and those that are known before it."""
    known = {v.name or "" for v in model.graph.inputs}
    inside: dict[ir.Node, None] = {}
    weights: set[ir.Value] = set()
    size, left = 0, len(model.graph)
    for node in model.graph:
        new = {v for v in regions.read(node) if v.is_initializer() and v not in weights}
        size += sum(v.const_value.nbytes for v in new if v.const_value is not None)
        weights |= new
        inside[node] = None
        left -= 1
        if size < BYTES and left:
            continue
        made = tuple(v.name or "" for n in inside for v in n.outputs if v.name in borders and _leaves(v, inside))
        if made:
            yield made, frozenset(known)
            known.update(made)
            inside.clear()
            weights.clear()
            size = 0


def _leaves(value: ir.Value, inside: Collection[ir.Node]) -> bool:
    """Whether something outside of these nodes reads the value."""
    return value.is_graph_output() or any(user not in inside for user in ir.users(value))


def _last_reads(parts: Sequence[_Part], outputs: Collection[str]) -> list[list[str]]:
    """For each part the values that no later one reads and that are no results."""
    last = {name: i for i, part in enumerate(parts) for name in part.inputs if name not in outputs}
    return [[name for name, at in last.items() if at == i] for i in range(len(parts))]
