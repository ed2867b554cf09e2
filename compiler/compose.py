"""From a model to what a bundle runs: by one target as a whole, or cut into parts, each built by the first target that takes it.

What a target refuses runs in its fallbacks, and is said: nothing is handed over silently. If, Loop and Scan of tensors are driven
by the plan (plan.py), their bodies cut in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from optc.compiler import elsewhere, ir, regions, runner, untyped
from optc.compiler.diagnostics import UserError
from optc.compiler.impossible import blocked
from optc.compiler.manifest import ValueInfo
from optc.compiler.numerics import Array
from optc.compiler.pipeline import Pipeline
from optc.compiler.target import Artifact, Target, UnbuildableError

CONTROL = "control"
"""The colour of what the plan itself runs."""


def build(target: Target, model: ir.Model, fallback: bool = True) -> Artifact:
    """What a bundle of this target holds. Without `fallback`, UserError names every node that the target refuses."""
    untyped.fill(model)
    composition = _Composition(model, [target, *(map(Target.parse, target.fallbacks) if fallback else ())])
    while True:
        try:
            return composition.artifact()
        except UnbuildableError as found:
            composition.learn(found)


@dataclass
class _Composition:
    """One model and the targets in the order of preference; what is learnt of them by trying."""

    model: ir.Model
    chain: Sequence[Target]
    refused: dict[tuple[int, str], str] = field(default_factory=dict)  # (target, node) -> reason
    early: set[str] = field(default_factory=set)  # values that a region reads as numbers: known before it starts
    built: dict[tuple[Any, ...], Artifact] = field(default_factory=dict)
    trying: int = 0  # the target that is being built for
    parts: list[tuple[int, Artifact, tuple[ir.Node, ...]]] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    blocked: list[str] = field(default_factory=list)  # what is said of bodies that no input makes valid

    def learn(self, found: UnbuildableError) -> None:
        """Take in what a target said while it was building; it must be news, or nothing would change."""
        news = {(self.trying, node): reason for node, reason in found.refused.items()}
        if news.keys() <= self.refused.keys() and found.early <= self.early:
            raise found
        self.refused.update(news)
        self.early.update(found.early)

    def artifact(self) -> Artifact:
        graph = self.model.graph
        self.parts, self.constants, self.blocked = [], {}, []
        colours = {self._colour(node) for node in graph if not regions.is_constant(node)}
        if colours <= {0} and not self.early:
            self.trying = 0
            return self.chain[0].build(self.model)
        return self._composed(self._plan(graph))

    def _colour(self, node: ir.Node) -> int | str:
        """The first target that takes a node, by its number in the chain."""
        reasons = []
        for number, target in enumerate(self.chain):
            reason = self.refused.get((number, node.name or "")) or target.refusal(node)
            if not reason:
                return number
            self.refused[number, node.name or ""] = reason
            if number == 0 and _drivable(node, self.model.opset_imports.get("", 1)):
                return CONTROL
            reasons.append(reason)
        raise self._nowhere(node, reasons)

    def _nowhere(self, node: ir.Node, reasons: Sequence[str]) -> UserError:
        """What to say of a node that no target takes: of a target without others behind it, all that it refuses."""
        first, *others = self.chain
        if others:
            lines = [f"{target.name}: {why}" for target, why in zip(others, reasons[1:], strict=True)]
            return UserError(f"{node.op_type} cannot be compiled: {reasons[0]}", place=f"node {ir.node_id(node)}", lines=lines)
        opset = self.model.opset_imports.get("", 1)
        everywhere = [n for graph in ir.all_graphs(self.model.graph) for n in graph if not regions.is_constant(n)]
        given = [(n, self.refused.get((0, n.name or "")) or first.refusal(n)) for n in everywhere if not _drivable(n, opset)]
        found = [(ir.node_id(n), why) for n, why in given if why]
        hint = "without --no-fallback what is refused runs in another engine, inside the bundle" if first.fallbacks else ""
        place = f"node {ir.node_id(node)}" + (f", and {len(found) - 1} more" if len(found) > 1 else "")
        lines = elsewhere.refusals(found) if len(found) > 1 else []
        return UserError(f"{node.op_type} cannot be compiled: {reasons[0]}", place=place, lines=lines, hint=hint)

    def _body(self, graph: ir.Graph) -> dict[str, Any]:
        """The plan of a body; of one that holds a node which no input makes valid, to fail."""
        found = blocked(graph, self.model.opset_imports)
        if found is None:
            return self._plan(graph)
        node, reason = found
        place = f"node '{ir.origin(node).sources[0]}' ({node.op_type})"  # passes may have copied it
        self.blocked.append(f"a run that reaches {place} fails, as the model does: {reason}")
        step = {"raise": f"{node.op_type} is given what no input makes valid: {reason}", "place": place}
        names = [[v.name for v in values] for values in (graph.inputs, graph.outputs)]
        return {"inputs": names[0], "outputs": names[1], "steps": [step], "drop": [[]]}

    def _plan(self, graph: ir.Graph) -> dict[str, Any]:
        cut = regions.regions(graph, self._colour, lambda n: self._colour(n) == CONTROL, self.early)
        reading: list[set[ir.Value]] = [{v for node in region.nodes for v in regions.read(node)} for region in cut]
        results, local = set(graph.outputs), {v for node in graph for v in node.outputs}
        steps, drops = [], []
        for i, region in enumerate(cut):
            made = [v for node in region.nodes for v in node.outputs if v.name]
            later = results.union(*reading[i + 1 :])
            outputs = [v for v in made if v in later]
            if not outputs:
                continue  # nobody reads what it makes
            steps.append(self._control(region.nodes[0]) if region.colour == CONTROL else self._part(region, outputs))
            drops.append(sorted(v.name or "" for v in (*outputs, *reading[i]) if v in local and v not in later and v.name))
        for value in graph.outputs:
            self._constant(value)
        held = set(graph.initializers.values())
        own = [v.name for v in graph.inputs if v not in held]
        return {"inputs": own, "outputs": [v.name for v in graph.outputs], "steps": steps, "drop": drops}

    def _part(self, region: regions.Region, outputs: Sequence[ir.Value]) -> dict[str, Any]:
        number = int(str(region.colour))
        names = tuple(v.name or "" for v in outputs)
        key = (number, tuple(n.name for n in region.nodes), names)
        model = regions.extract(self.model, region.nodes, outputs)
        if key not in self.built:
            self.trying = number
            self.built[key] = self._built(number, model)
        self.parts.append((number, self.built[key], region.nodes))
        return {"part": len(self.parts) - 1, "inputs": [v.name for v in model.graph.inputs], "outputs": list(names)}

    def _built(self, number: int, model: ir.Model) -> Artifact:
        """What a target makes of a region. The passes that a fallback wants have not run yet; the first target's have."""
        target = self.chain[number]
        if number and target.pipeline():
            prepared = model.clone()
            runner.run(Pipeline.parse(target.pipeline()), prepared, runner.Options(check="off"))
            with suppress(UnbuildableError):  # it may name nodes that its passes made: without them it names the graph's
                return target.build(prepared)
        return target.build(model)

    def _control(self, node: ir.Node) -> dict[str, Any]:
        for value in node.inputs:
            self._constant(value)
        outputs = [v.name or f"{node.name}.{i}" for i, v in enumerate(node.outputs)]
        if node.op_type == "If":
            branches = {key: self._body(ir.attribute_graph(node, f"{key}_branch")) for key in ("then", "else")}
            return {"if": _name(node.inputs[0]), **branches, "outputs": outputs}
        return self._loop(node, outputs) if node.op_type == "Loop" else self._scan(node, outputs)

    def _loop(self, node: ir.Node, outputs: Sequence[str]) -> dict[str, Any]:
        body, (trips, condition, *state) = ir.attribute_graph(node, "body"), node.inputs
        return {
            "loop": self._body(body),
            "trips": _name(trips),
            "condition": _name(condition),
            "state": [_name(v) for v in state],
            "outputs": outputs,
            "ranks": [len(v.shape or ()) for v in body.inputs[:2]],
            "scans": [_gathered(v) for v in body.outputs[1 + len(state) :]],
        }

    def _scan(self, node: ir.Node, outputs: Sequence[str]) -> dict[str, Any]:
        body, scanned = ir.attribute_graph(node, "body"), int(ir.attribute(node, "num_scan_inputs"))
        carried = len(node.inputs) - scanned
        gathered = body.outputs[carried:]

        def each(name: str, count: int) -> Sequence[int]:
            return [int(number) for number in ir.attribute(node, name, (0,) * count)]

        read = zip(node.inputs[carried:], each("scan_input_axes", scanned), each("scan_input_directions", scanned), strict=True)
        count = len(gathered)
        made = zip(gathered, each("scan_output_axes", count), each("scan_output_directions", count), strict=True)
        return {
            "scan": self._body(body),
            "state": [_name(v) for v in node.inputs[:carried]],
            "scanned": [[_name(v), axis, bool(reverse)] for v, axis, reverse in read],
            "outputs": outputs,
            "scans": [_gathered(v, axis, bool(reverse)) for v, axis, reverse in made],
        }

    def _constant(self, value: ir.Value | None) -> None:
        """Keep a constant that the plan itself reads or hands out."""
        array = ir.const(value)
        if value is not None and array is not None:
            self.constants[value.name or ""] = array

    def _composed(self, plan: Mapping[str, Any]) -> Artifact:
        files: dict[str, bytes] = {}
        weights: dict[str, Array] = dict(self.constants)
        described, notes, choices = [], list[str](), dict[str, int]()
        for i, (number, artifact, nodes) in enumerate(self.parts):
            program = artifact.added(files, i)
            weights.update({f"{i}.{name}": array for name, array in artifact.weights.items()})
            part: dict[str, Any] = {"target": str(self.chain[number]), "nodes": len(nodes), "program": program}
            if number:
                part["why"] = {ir.node_id(n): self._why(n, number) for n in nodes}
            described.append(part)
            notes += artifact.notes
            choices.update(artifact.choices)
        composed = {"plan": plan, "parts": described, "constants": sorted(self.constants)}
        told = tuple(dict.fromkeys([*elsewhere.each(composed), *notes, *self.blocked]))
        return Artifact(files, weights, composed, told, choices)

    def _why(self, node: ir.Node, number: int) -> str:
        """Why a node runs in a fallback: what the target says, and what the fallbacks before this one say."""
        first, *others = (self.refused[i, node.name or ""] for i in range(number))
        skipped = zip(self.chain[1:number], others, strict=True)
        return "; ".join([first, *(f"not in {target}: {why}" for target, why in skipped)])


def _drivable(node: ir.Node, opset: int) -> bool:
    """Whether the plan can run a node: control flow over tensors alone. The Scan of opset 8 has another meaning."""
    if not ir.standard(node, "If", "Loop", "Scan") or (node.op_type == "Scan" and opset < 9):
        return False
    inner = [v for g in ir.bodies(node) for v in (*g.inputs, *g.outputs)]
    outer = [v for v in (*node.inputs, *node.outputs) if v is not None]
    return all(v.type is None or isinstance(v.type, ir.TensorType) for v in inner + outer)


def _name(value: ir.Value | None) -> str | None:
    return None if value is None else value.name


def _gathered(value: ir.Value, axis: int = 0, reverse: bool = False) -> dict[str, Any]:
    """How a gathered output looks; `shape` is that of no items at all."""
    dims = [d if isinstance(d, int) else 0 for d in value.shape or ()]
    dims.insert(axis if axis >= 0 else axis + len(dims) + 1, 0)
    dtype = ValueInfo.of(value).dtype if value.shape is not None else "float32"
    return {"axis": axis, "reverse": reverse, "shape": dims, "dtype": dtype}
