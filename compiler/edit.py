"""Journalled edits: passes change a model only through an Editor, so every change can be undone without a copy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from optc.compiler import ir
from optc.compiler.dimensions import NOTED
from optc.compiler.steps import Refusal, Removal, Step
from optc.compiler.wiring import detach, feed, graph_of, put


class Editor:
    """Edits of one model, with their inverses in a journal.

    `rollback(mark())` restores the state at the mark; nodes that were removed come back as the same objects.
    Each rewrite is announced with `step(node)`, which counts it and answers whether it may be made: `limit` bounds the
    count, so that a bisection finds the first harmful rewrite and passes know nothing of it (after LLVM's OptBisect). Nodes
    whose names are in `skip` are left alone the same way.
    """

    def __init__(self, model: ir.Model, limit: int | None = None) -> None:
        self.model = model
        self.limit = limit
        self.skip: frozenset[str] = frozenset()
        self.owner = ""
        self.at: ir.Node | None = None  # the node being rewritten, for messages
        self.rule = ""  # the rule that rewrites it, where the pass has rules
        self.steps: list[Step] = []
        self.removals: list[Removal] = []
        self.refusals: list[Refusal] = []
        self.far = True  # whether refusals are noted also where a rule met no more than its first operator
        self._numbers: dict[str, int] = {}
        self._places: dict[ir.Graph, dict[ir.Node, float]] = {}
        self._disordered: dict[ir.Graph, None] = {}
        self._journal: list[tuple[Callable[[], object], bool]] = []
        self._names = ir.used_names(model.graph)
        weights = (v for graph in ir.all_graphs(model.graph) for v in graph.initializers.values())
        self._rank = {weight: i for i, weight in enumerate(weights)}  # files list initializers in this order

    def step(self, node: ir.Node) -> bool:
        """Announce a rewrite at a node; False: leave it."""
        self.at = node
        if node.name in self.skip or (self.limit is not None and len(self.steps) >= self.limit):
            return False
        self.steps.append(Step(self.owner, node.name or "", node.op_type, ir.origin(node), self.rule))
        return True

    def refuse(self, node: ir.Node, rule: str, reason: str, *, near: bool = True) -> None:
        """Note why a rule did not apply at a node (shown by `optc explain`); `near`: it nearly did."""
        self.refusals.append(Refusal(self.owner, rule, node.name or "", node.op_type, reason, near))

    @property
    def graph(self) -> ir.Graph:
        return self.model.graph

    def opset(self, domain: str = "") -> int:
        """The imported version of a domain (0 where it is not imported)."""
        return self.model.opset_imports.get(domain, 0)

    def mark(self) -> int:
        return len(self._journal)

    def rollback(self, mark: int) -> None:
        """Undo every edit made since the mark, newest first."""
        while len(self._journal) > mark:
            self._journal.pop()[0]()
        for graph in self._disordered:
            ir.sort_initializers(graph, self._rank.__getitem__)
        self._disordered.clear()

    def changed_since(self, mark: int) -> bool:
        """Whether what the model computes may have changed: types, names and initializers alone do not change it."""
        return any(program for _, program in self._journal[mark:])

    def _did(self, undo: Callable[[], object], program: bool = False) -> None:
        self._journal.append((undo, program))

    def fresh(self, hint: str) -> str:
        """A name that no value or node has: the hint itself, or the hint with the smallest free number."""
        name, before = hint, self._numbers.get(hint, 0)
        number = before
        while name in self._names:
            number += 1
            name = f"{hint}_{number}"
        self._names.add(name)
        self._numbers[hint] = number

        def undo() -> None:
            self._names.discard(name)
            self._numbers[hint] = before

        self._did(undo)
        return name

    def node(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        attributes: Iterable[ir.Attr] = (),
        *,
        outputs: int = 1,
        domain: str = "",
        name: str,
        sources: Iterable[ir.Node],
    ) -> ir.Node:
        """A new node, not inserted yet, with fresh names derived from `name`; its origin is that of `sources`, by this pass."""
        if domain and domain not in self.model.opset_imports:
            self.import_domain(domain)
        made = ir.Node(domain, op_type, inputs, attributes, num_outputs=outputs, name=self.fresh(name))
        for i, value in enumerate(made.outputs):
            value.name = self.fresh(f"{made.name}_out" if outputs == 1 else f"{made.name}_out{i}")
        ir.set_origin(made, ir.Origin.union(ir.origin(n) for n in sources).by(self.owner))
        return made

    def adopt(self, node: ir.Node, name: str, sources: Iterable[ir.Node]) -> None:
        """Make a node that is in no graph one of this model, as `node` would: fresh names, in its bodies too, and its origin."""
        origin = ir.Origin.union(ir.origin(n) for n in sources).by(self.owner)
        bodies = [g for body in ir.bodies(node) for g in ir.all_graphs(body)]
        for new in (node, *(n for g in bodies for n in g)):
            new.name = self.fresh(f"{name}_{new.op_type}")
            for value in new.outputs:
                if value.name:
                    value.name = self.fresh(f"{new.name}_out")
            ir.set_origin(new, origin)
        for graph in bodies:
            for value in (*graph.inputs, *(v for v in graph.initializers.values() if not v.is_graph_input())):
                value.name = self.fresh(f"{node.name}_{value.name}")

    def import_domain(self, domain: str, version: int = 1) -> None:
        imports, before = self.model.opset_imports, self.model.opset_imports.get(domain)
        imports[domain] = version
        self._did(lambda: imports.__setitem__(domain, before) if before is not None else imports.pop(domain))

    def set_opset(self, version: int) -> None:
        """Change which version of the standard operators the model's nodes are of, and its IR version where that is too old."""
        imports, before, written = self.model.opset_imports, self.opset(), self.model.ir_version
        imports[""] = version
        self.model.ir_version = max(written or 0, ir.ir_version(version))

        def undo() -> None:
            imports[""] = before
            self.model.ir_version = written

        self._did(undo, program=True)

    def insert_before(self, anchor: ir.Node, nodes: Sequence[ir.Node]) -> None:
        """Insert nodes, in order, before a node of a graph."""
        graph = graph_of(anchor)
        graph.insert_before(anchor, nodes)
        self._place(graph, anchor, nodes)
        self._did(lambda: detach(graph, *reversed(nodes)), program=True)

    def place(self, node: ir.Node) -> float:
        """Where a node stands among those of its graph: smaller is earlier. Known in constant time while nodes come and go."""
        graph = graph_of(node)
        places = self._places.get(graph)
        if places is None or node not in places:
            places = self._places[graph] = {n: float(i) for i, n in enumerate(graph)}
        return places[node]

    def _place(self, graph: ir.Graph, anchor: ir.Node, nodes: Sequence[ir.Node]) -> None:
        """New nodes stand between their neighbours; where there is no room for a number, all are counted again when asked."""
        places = self._places.get(graph)
        if places is None or not nodes:
            return
        before, end = ir.previous_node(graph, nodes[0]), places.get(anchor)
        start = -1.0 if before is None else places.get(before)
        if start is None or end is None or end - start < 1e-6:
            del self._places[graph]
            return
        step = (end - start) / (len(nodes) + 1)
        places.update((node, start + step * (i + 1)) for i, node in enumerate(nodes))

    def append(self, graph: ir.Graph, nodes: Sequence[ir.Node]) -> None:
        self._places.pop(graph, None)
        graph.extend(nodes)
        self._did(lambda: detach(graph, *reversed(nodes)), program=True)

    def remove(self, node: ir.Node, why: str = "") -> None:
        """Remove a node none of whose outputs is used; its bodies stop using what they captured.

        `why` is for people who ask where a source node went; without it, it is the rewrite that is being made.
        """
        graph = graph_of(node)
        users = [node, *(n for body in ir.bodies(node) for g in ir.all_graphs(body) for n in g)]
        noted, why = len(self.removals), why or self._rewriting()
        self.removals += [Removal(self.owner, why, ir.origin(n)) for n in users]
        uses = [(n, i, v) for n in users for i, v in enumerate(n.inputs) if v is not None]
        follower = ir.next_node(graph, node)
        for user, i, _ in uses:
            user.replace_input_with(i, None)
        ir.remove_node(graph, node)

        def undo() -> None:
            del self.removals[noted:]
            for user, i, value in uses:
                user.replace_input_with(i, value)
            self._places.pop(graph, None)
            if follower is None:
                graph.append(node)
            else:
                graph.insert_before(follower, node)

        self._did(undo, program=True)

    def _rewriting(self) -> str:
        at = f" at '{self.at.name}' ({self.at.op_type})" if self.at is not None else ""
        return f"{self.rule or 'rewritten'}{at}"

    def sweep(self, values: Iterable[ir.Value | None]) -> None:
        """Remove what computes or holds these values where nothing uses them, and what only that used in turn."""
        work = [v for v in values if v is not None]
        while work:
            value = work.pop()
            if ir.is_used(value) or value.is_graph_output() or value.is_graph_input() or value.graph is None:
                continue
            node = value.producer()
            if node is None:
                if value.is_initializer():
                    self.remove_initializer(value)
            elif not any(ir.is_used(v) or v.is_graph_output() for v in node.outputs):
                gone = {g for body in ir.bodies(node) for g in ir.all_graphs(body)}
                users = [node, *(n for g in gone for n in g)]
                inputs = dict.fromkeys(v for n in users for v in n.inputs if v is not None and v.graph not in gone)
                self.remove(node, "nothing used its results any more")
                work.extend(inputs)

    def supply(self, weight: ir.Value, node: ir.Node) -> None:
        """Let a new node compute what an initializer held: insert it before every use, and remove the initializer."""
        graph = weight.graph
        if not isinstance(graph, ir.Graph):
            raise ValueError(f"'{weight.name}' is not an initializer of a graph")
        self.set_type(node.outputs[0], weight.dtype, weight.shape)
        direct = {u.node for u in weight.uses() if u.node.graph is graph}
        all_direct = all(u.node in direct for u in weight.uses())
        anchor = next((n for n in graph if n in direct), None) if all_direct else next(iter(graph), None)
        if anchor is None:
            raise ValueError(f"'{weight.name}' is not used")
        self.insert_before(anchor, [node])
        self.replace(weight, node.outputs[0])
        self.remove_initializer(weight)

    def set_input(self, node: ir.Node, index: int, value: ir.Value | None) -> None:
        before = node.inputs[index]
        node.replace_input_with(index, value)
        self._did(lambda: node.replace_input_with(index, before), program=True)

    def set_inputs(self, node: ir.Node, values: Sequence[ir.Value | None]) -> None:
        """Give a node these inputs, more or fewer than it has."""
        before = list(node.inputs)
        feed(node, values)
        self._did(lambda: feed(node, before), program=True)

    def set_op_type(self, node: ir.Node, op_type: str) -> None:
        before = node.op_type
        node.op_type = op_type
        self._did(lambda: setattr(node, "op_type", before), program=True)

    def set_output(self, graph: ir.Graph, index: int, value: ir.Value) -> None:
        """Make `value` the graph's output at `index`. The caller keeps the interface: see `replace`."""
        before = graph.outputs[index]
        graph.outputs[index] = value
        self._did(lambda: graph.outputs.__setitem__(index, before), program=True)

    def replace(self, old: ir.Value, new: ir.Value) -> None:
        """Let every use of `old` use `new`. Where `old` is a graph output, `new` must be free to take over its name."""
        for use in old.uses():
            self.set_input(use.node, use.idx, new)
        graph = old.graph
        if old.is_graph_output() and graph is not None:
            name = old.name or ""
            for i, value in enumerate(graph.outputs):
                if value is old:
                    self.set_output(graph, i, new)
            self.rename(old, self.fresh(f"{name}_replaced"))
            self.rename(new, name)
            self._describe(new, old.doc_string, {**new.metadata_props, **old.metadata_props})
            self.set_type(new, new.dtype, _declared(old.shape, new.shape))

    def _describe(self, value: ir.Value, text: str | None, properties: Mapping[str, str]) -> None:
        """What an output says of itself stays with its name."""
        before, props = value.doc_string, dict(value.metadata_props)
        value.doc_string = text
        value.metadata_props.update(properties)

        def undo() -> None:
            value.doc_string = before
            value.metadata_props.clear()
            value.metadata_props.update(props)

        self._did(undo)

    def rename(self, named: ir.Value | ir.Node, name: str) -> None:
        """Give a value or node a name that is free, or becomes free with this rewrite."""
        before = named.name
        if isinstance(named, ir.Node) and ir.is_source(named):
            self.set_origin(named, ir.origin(named))  # a source node is known by its name
        named.name = name
        self._names.add(name)
        self._did(lambda: setattr(named, "name", before))

    def initializer(self, array: ir.Array, hint: str, graph: ir.Graph | None = None) -> ir.Value:
        """A new initializer of the main graph (or of `graph`), under a fresh name."""
        graph = graph or self.graph
        name = self.fresh(hint)
        held = ir.tensor(array, name)
        value = ir.Value(name=name, shape=ir.Shape(held.shape), type=ir.TensorType(held.dtype), const_value=held)
        graph.register_initializer(value)
        self._rank[value] = len(self._rank)
        self._did(lambda: graph.initializers.pop(name))
        return value

    def remove_initializer(self, value: ir.Value) -> None:
        """Remove an unused initializer."""
        graph, name = value.graph, value.name
        if graph is None or name is None:
            raise ValueError(f"{value} is not an initializer of a graph")
        if value not in self._rank:  # of a body that was adopted
            for weight in graph.initializers.values():
                self._rank.setdefault(weight, len(self._rank))
        del graph.initializers[name]

        def undo() -> None:
            graph.register_initializer(value)
            self._disordered[graph] = None

        self._did(undo)

    def move_initializer(self, value: ir.Value, graph: ir.Graph) -> None:
        """Let another graph hold an initializer: one that encloses all of its uses."""
        self.remove_initializer(value)
        graph.register_initializer(value)
        self._did(lambda: graph.initializers.pop(value.name or ""))

    def set_attribute(self, node: ir.Node, name: str, attr: ir.Attr | None) -> None:
        before, origin = node.attributes.get(name), ir.origin(node)
        if self.owner not in origin.passes:
            self.set_origin(node, origin.by(self.owner))
        put(node, name, attr)
        self._did(lambda: put(node, name, before), program=True)

    def set_type(self, value: ir.Value, dtype: ir.DataType | None, shape: ir.Shape | None) -> None:
        """Record what was learnt of a value. Not a change of the program: never done to graph inputs and outputs."""
        before_type, before_shape = value.type, value.shape
        value.type = ir.TensorType(dtype) if dtype is not None else None
        value.shape = shape

        def undo() -> None:
            value.type, value.shape = before_type, before_shape

        self._did(undo)

    def note_shape(self, value: ir.Value, shape: ir.Shape | None) -> None:
        """Record the dimensions that were inferred of a graph output, whose shape says what the interface says."""
        before = value.meta.get(NOTED)
        value.meta[NOTED] = shape
        self._did(lambda: value.meta.__setitem__(NOTED, before))

    def set_origin(self, node: ir.Node, origin: ir.Origin) -> None:
        before = dict(node.metadata_props)
        ir.set_origin(node, origin)

        def undo() -> None:
            node.metadata_props.clear()
            node.metadata_props.update(before)

        self._did(undo)

    def sort(self, graph: ir.Graph) -> None:
        """Sort a graph topologically (stable)."""
        before = list(graph)
        graph.sort()
        self._places.pop(graph, None)

        def undo() -> None:
            self._places.pop(graph, None)
            graph.remove(before)
            graph.extend(before)

        self._did(undo)


def _declared(told: ir.Shape | None, found: ir.Shape | None) -> ir.Shape | None:
    """The shape of a value that becomes an output: what is told of the output stays, but for sizes that are known by now."""
    if told is None or found is None or len(told) != len(found):
        return found
    return ir.Shape(
        [new if isinstance(new, int) or old == ir.SymbolicDim(None) else old for old, new in zip(told, found, strict=True)]
    )
