"""Lineage: which source nodes became which nodes of the result and by which passes, and what was removed, by which and why."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from optc.compiler import atomic, ir
from optc.compiler.diagnostics import UserError
from optc.compiler.steps import Removal

FORMAT = 1
"""Of lineage.json; raised when a reader of the former format would misread it."""


@dataclass(frozen=True)
class Source:
    """The nodes of a model before passes: their `operators`, the `passes` that earlier runs noted, and what an origin means
    here: `meant[name]` are the nodes that come from `name`, which is a node of an earlier form where the model was optimized
    before."""

    operators: Mapping[str, str]
    passes: Mapping[str, tuple[str, ...]]
    meant: Mapping[str, tuple[str, ...]]

    @staticmethod
    def of(model: ir.Model) -> Source:
        nodes = {n.name or "": n for n in _nodes(model)}
        meant: dict[str, dict[str, None]] = {}
        for name, node in nodes.items():
            for source in ir.origin(node).sources:
                meant.setdefault(source, {})[name] = None
        origins = {name: ir.origin(node).passes for name, node in nodes.items()}
        return Source({name: operator(node) for name, node in nodes.items()}, origins, {k: tuple(v) for k, v in meant.items()})

    @property
    def count(self) -> int:
        return len(self.operators)

    def nodes(self, origin: ir.Origin) -> tuple[str, ...]:
        """The source nodes that an origin speaks of, in order."""
        return tuple(dict.fromkeys(name for source in origin.sources for name in self.meant.get(source, ())))


@dataclass(frozen=True)
class Made:
    """A node of the result: the source nodes that it comes from and the passes that made it (none: it is as it was)."""

    operator: str
    sources: tuple[str, ...]
    passes: tuple[str, ...]


@dataclass(frozen=True)
class Gone:
    """A source node that no node of the result comes from: the pass that removed it, and why; '' where nobody noted it."""

    operator: str
    by: str
    why: str


@dataclass(frozen=True)
class Lineage:
    """Operators of all source nodes, every node of the result, and every source node that left none, in the graphs' order."""

    source: Mapping[str, str]
    nodes: Mapping[str, Made]
    removed: Mapping[str, Gone]

    def document(self) -> dict[str, Any]:
        """What lineage.json holds: `source` (name -> operator), `nodes` (name -> operator, sources, passes), `removed` (name of a
        source node -> operator, pass, why)."""
        removed = {name: {"operator": g.operator, "pass": g.by, "why": g.why} for name, g in self.removed.items()}
        nodes = {
            name: {**asdict(made), "sources": list(made.sources), "passes": list(made.passes)}
            for name, made in self.nodes.items()
        }
        return {"format": FORMAT, "source": dict(self.source), "nodes": nodes, "removed": removed}

    def to_bytes(self) -> bytes:
        return (json.dumps(self.document(), indent=1) + "\n").encode()


def of(source: Source, model: ir.Model, removals: Iterable[Removal] = ()) -> Lineage:
    """The lineage of what passes made of a source, whose `removals` an editor noted."""
    nodes: dict[str, Made] = {}
    for node in _nodes(model):
        origin = ir.origin(node)
        sources = source.nodes(origin)
        before = {p for name in sources for p in source.passes[name]}
        nodes[node.name or ""] = Made(operator(node), sources, tuple(p for p in origin.passes if p not in before))
    left = {name for made in nodes.values() for name in made.sources}
    last = {name: removal for removal in removals for name in source.nodes(removal.origin)}
    gone = {
        name: Gone(kind, last[name].owner, last[name].why) if name in last else Gone(kind, "", "")
        for name, kind in source.operators.items()
        if name not in left
    }
    return Lineage(source.operators, nodes, gone)


def read(path: Path) -> Lineage:
    """From a lineage.json. Raises UserError."""
    try:
        held = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError("not a lineage file", place=str(path)) from error
    if not isinstance(held, dict) or held.get("format") != FORMAT:
        hint = "it was written by another version of optc: compile the model again"
        raise UserError(f"not a lineage file of format {FORMAT}", place=str(path), hint=hint)
    nodes = {name: Made(n["operator"], tuple(n["sources"]), tuple(n["passes"])) for name, n in held["nodes"].items()}
    removed = {name: Gone(n["operator"], n["pass"], n["why"]) for name, n in held["removed"].items()}
    return Lineage(held["source"], nodes, removed)


def write(path: Path, found: Lineage) -> None:
    with atomic.writing(path) as file:
        file.write(found.to_bytes())


@dataclass(frozen=True)
class Change:
    """Source nodes and the nodes that come from all of them and no other. Without sources, nobody noted where the nodes come
    from."""

    sources: tuple[str, ...]
    results: tuple[str, ...]
    passes: tuple[str, ...]


def changes(found: Lineage) -> list[Change]:
    """Every change, in the order of the result; nodes that are as they were are left out."""
    groups: dict[frozenset[str], list[str]] = {}
    for name, made in found.nodes.items():
        same = not made.passes and len(made.sources) == 1 and found.source.get(made.sources[0]) == made.operator
        if not same:
            groups.setdefault(frozenset(made.sources), []).append(name)
    out = []
    for names in groups.values():
        passes = dict.fromkeys(p for name in names for p in found.nodes[name].passes)
        out.append(Change(found.nodes[names[0]].sources, tuple(names), tuple(passes)))
    return out


def unchanged(found: Lineage) -> int:
    """How many nodes are as they were."""
    return len(found.nodes) - sum(len(change.results) for change in changes(found))


def operator(node: ir.Node) -> str:
    """The operator with its domain, unless that is the standard one."""
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def _nodes(model: ir.Model) -> Iterator[ir.Node]:
    """Of the graph and of all bodies, a body behind the node that holds it."""
    return _inside(model.graph)


def _inside(graph: ir.Graph) -> Iterator[ir.Node]:
    for node in graph:
        yield node
        for body in ir.bodies(node):
            yield from _inside(body)
