"""Which value of a model computes what a value of an earlier form of it computed: by lineage, and by name."""

from __future__ import annotations

from dataclasses import dataclass

from optc.compiler import ir

_MOVES = frozenset({"Cast", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})


@dataclass(frozen=True)
class Pair:
    """Two values that should hold the same numbers; `same`: they are surely one value, so that another shape is a fault.

    A pass may have stored `after` in another layout (`moved`): it made the node, and gave the value another name.
    """

    before: ir.Value
    after: ir.Value
    same: bool
    moved: bool


def computed(model: ir.Model) -> list[ir.Value]:
    """The tensors that nodes of the main graph compute from the inputs, in topological order; of constant ones, outputs alone."""
    varying = set(model.graph.inputs)
    found: list[ir.Value] = []
    for node in model.graph:
        varies = node.op_type.startswith("Random") or not varying.isdisjoint(reads(node))
        varying.update(node.outputs if varies else ())
        for value in node.outputs:
            seen = value.is_graph_output() or (varies and value.uses())
            found += [value] if seen and value.name and isinstance(value.type, ir.TensorType) else []
    return found


def reads(node: ir.Node) -> list[ir.Value]:
    """What a node is computed from, what its bodies read of the graph around them included."""
    inner = (v for body in ir.bodies(node) for g in ir.all_graphs(body) for n in g for v in n.inputs)
    return [v for v in (*node.inputs, *inner) if v is not None]


def pairs(before: ir.Model, after: ir.Model) -> list[Pair]:
    """A pair for each value of `after` that is known to mean a value of `before`, in the topological order of `after`.

    A node that passes made from a set of source nodes computes what the one value that leaves that set held, if it is the last
    that was made from the set. A value keeps its meaning with its name, unless the lineage of its node says otherwise.
    """
    theirs = {v.name: v for v in computed(before)}
    lineage = _Lineage(before, after)
    found = []
    for value in computed(after):
        node = value.producer()
        if node is None:
            continue
        named = theirs.get(value.name)
        made = bool(ir.origin(node).passes)
        if named is not None and made and not value.is_graph_output() and not lineage.agrees(node, named):
            named = None  # a name that became free and was used again
        meant = named if named is not None else lineage.meaning(value) if made else None
        output = named is not None and value.is_graph_output()  # the interface: whatever it is, it is compared
        if meant is None or theirs.get(meant.name) is not meant or (kind(meant) != kind(value) and not output):
            continue
        producer = meant.producer()
        alike = made or value.is_graph_output() or (producer is not None and producer.op_type == node.op_type)
        found.append(Pair(meant, value, same=named is not None and alike, moved=made and named is None))
    return found


def kind(value: ir.Value) -> str:
    """The class of dtypes within which numbers are compared; a quantized integer is no float."""
    if value.dtype is None:
        return "?"
    if value.dtype.is_floating_point():
        return "float"
    return "integer" if value.dtype.is_integer() else value.dtype.name


class _Lineage:
    """The origins of both models. The nodes of `before` may have origins, too: both then speak of the same source."""

    def __init__(self, before: ir.Model, after: ir.Model) -> None:
        self._after: dict[frozenset[str], list[ir.Node]] = {}
        for node in after.graph:
            self._after.setdefault(frozenset(ir.origin(node).sources), []).append(node)
        self._before: dict[str, list[ir.Node]] = {}
        for node in before.graph:
            for source in ir.origin(node).sources:
                self._before.setdefault(source, []).append(node)

    def agrees(self, node: ir.Node, value: ir.Value) -> bool:
        """Whether a node comes from what computes a value of `before`."""
        producer = value.producer()
        return producer is not None and not set(ir.origin(producer).sources).isdisjoint(ir.origin(node).sources)

    def meaning(self, value: ir.Value) -> ir.Value | None:
        """The value of `before` that a value of a made node stands for; None where lineage does not say."""
        node = value.producer()
        if node is None:
            return None
        sources = frozenset(ir.origin(node).sources)
        near = dict.fromkeys(n for s in ir.origin(node).sources for n in self._before.get(s, ()))
        old = [n for n in near if sources.issuperset(ir.origin(n).sources)]
        if {s for n in old for s in ir.origin(n).sources} != sources or _last(self._after[sources], old) != [node]:
            return None
        if len(old) == 1 and len(node.outputs) == len(old[0].outputs):
            return old[0].outputs[value.index() or 0]
        left = _leaving(old)
        used = [v for v in node.outputs if v.uses() or v.is_graph_output()]
        return left[0] if len(left) == 1 and used == [value] else None


def _leaving(nodes: list[ir.Node]) -> list[ir.Value]:
    """The values of a set of nodes that are seen outside it."""
    return [v for n in nodes for v in n.outputs if v.is_graph_output() or any(c not in nodes for c in v.consumers())]


def _last(made: list[ir.Node], old: list[ir.Node]) -> list[ir.Node]:
    """Of nodes made from the same sources, in topological order, those that no other one is computed from.

    What only moves a value (a layout's transposes) does not count beside what computes it, where no source moved one.
    """
    moves = any(ir.standard(n, *_MOVES) for n in old)
    work = {n for n in made if moves or not ir.standard(n, *_MOVES)} or set(made)
    inside, feeding = set(made), set[ir.Node]()
    for node in reversed(made):
        if any(c in inside and (c in work or c in feeding) for v in node.outputs for c in v.consumers()):
            feeding.add(node)
    return [n for n in made if n in work and n not in feeding]
