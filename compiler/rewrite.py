"""Rewriting: rules indexed by the operator at their root, applied to a fixed point over a graph and its bodies."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from optc.compiler import ir, regions
from optc.compiler.diagnostics import InternalError
from optc.compiler.edit import Editor
from optc.compiler.pattern import Const, Match, Matcher, PatternBuilder, trace
from optc.compiler.pipeline import Pass
from optc.compiler.shapes import infer_node
from optc.compiler.wiring import release

__all__ = ["Builder", "Const", "PatternBuilder", "Refuse", "RewritePass", "Rule", "apply_rules", "replace_node"]


FEW = 64
"""After a rewrite all that read its result are looked at again; where more do, those alone that did not read it before."""


@dataclass(frozen=True)
class Refuse:
    """Returned by a rewrite that matched but must not happen, with the reason for `optc explain`."""

    reason: str


@dataclass(frozen=True)
class Rule:
    """A pattern function `(op, x, w: Const, ...)` and a rewrite function that takes `op` and any of the bound names.

    In `rewrite` variables are values (`Const` ones arrays), names of nodes are nodes, and `op` builds nodes: arrays become
    initializers. It returns what replaces the pattern's outputs (value or array, a tuple for several), None or a Refuse.
    """

    name: str
    pattern: Callable[..., Any]
    rewrite: Callable[..., Any]


class RewritePass(Pass):
    """A pass that is one rule, written as two methods `pattern` and `rewrite`, or several: then override `rules`."""

    def rules(self) -> Sequence[Rule]:
        mine: Any = self
        return (Rule(self.name, mine.pattern, mine.rewrite),)

    def run(self, edit: Editor) -> None:
        apply_rules(edit, self.rules())


class Builder:
    """`op` in a rewrite: makes nodes whose origin is the match. `op.Split(x, outputs=2, axis=1)` returns a tuple."""

    def __init__(
        self, edit: Editor, match: Match, arrays: dict[int, ir.Value], domain: str = "", made: list[ir.Node] | None = None
    ) -> None:
        self._edit, self._match, self._arrays, self._domain = edit, match, arrays, domain
        self._held: list[Any] = []  # arrays are known by identity, so they must stay alive
        self._also: list[ir.Node] = []
        self.made: list[ir.Node] = [] if made is None else made

    @property
    def opset(self) -> int:
        """The imported version of the standard domain."""
        return self._edit.opset()

    @property
    def match(self) -> Match:
        return self._match

    def also(self, *nodes: ir.Node) -> None:
        """What is made from now on comes from these nodes, too, which stay where others use them."""
        self._also.extend(nodes)

    def graph(self, graph: ir.Graph, inputs: Iterable[ir.Value]) -> tuple[ir.Value, ...]:
        """The nodes of a whole graph, its inputs being these values; returns its outputs. The graph is taken apart."""
        swap: dict[ir.Value, ir.Value] = dict(zip(graph.inputs, inputs, strict=True))
        sources, root = list(self._match.nodes.values()), next(iter(self._match.nodes.values())).name or ""
        for name, held in graph.initializers.items():
            if held.const_value is not None:
                swap[held] = self._edit.initializer(held.const_value.numpy(), f"{root}_{name}")
        for old, new in swap.items():
            for use in tuple(old.uses()):
                use.node.replace_input_with(use.idx, new)
        nodes, results = list(graph), tuple(swap.get(v, v) for v in graph.outputs)
        graph.outputs.clear()
        graph.remove(nodes)
        for node in nodes:
            self._edit.adopt(node, root, sources)
            self.made.append(node)
        return results

    def domain(self, name: str) -> Builder:
        return Builder(self._edit, self._match, self._arrays, name, self.made)

    def value(self, held: Any, hint: str) -> ir.Value | None:
        """A value as it is; an array as an initializer (the one it came from, where it came from one)."""
        if held is None or isinstance(held, ir.Value):
            return held
        if id(held) not in self._arrays:
            self._held.append(held)
            self._arrays[id(held)] = self._edit.initializer(np.asarray(held), hint)
        return self._arrays[id(held)]

    def __getattr__(self, op_type: str) -> Callable[..., Any]:
        def build(*inputs: Any, outputs: int = 1, **attributes: Any) -> Any:
            root = self._match.roots[0].producer()
            name = (root.name if root is not None else None) or op_type
            values = [self.value(held, f"{name}_{i}") for i, held in enumerate(inputs)]
            while values and values[-1] is None:
                values.pop()
            attrs = [a if isinstance(a, ir.Attr) else ir_attr(k, a) for k, a in attributes.items() if a is not None]
            sources = (*self._match.nodes.values(), *self._also)
            node = self._edit.node(op_type, values, attrs, outputs=outputs, domain=self._domain, name=name, sources=sources)
            self.made.append(node)
            return node.outputs[0] if outputs == 1 else tuple(node.outputs)

        return build


def ir_attr(name: str, value: Any) -> ir.Attr:
    """A Python value as an attribute (int, float, str, sequences of them, an array as a tensor)."""
    return ir.convert_attribute(name, ir.tensor(value) if isinstance(value, np.ndarray) else value)


@dataclass
class _Compiled:
    rule: Rule
    matcher: Matcher
    takes: tuple[str, ...]


def apply_rules(edit: Editor, rules: Iterable[Rule]) -> None:
    """Apply rules everywhere until none applies; each rewrite is one `edit.step`."""
    index: dict[tuple[str, str], list[_Compiled]] = {}
    for rule in rules:
        matcher = Matcher(trace(rule.pattern), edit.opset())
        takes = tuple(n for n in inspect.signature(rule.rewrite).parameters if n not in ("self", "op"))
        index.setdefault(matcher.root, []).append(_Compiled(rule, matcher, takes))
    work = deque(node for graph in ir.all_graphs(edit.graph) for node in graph)
    queued = {id(n) for n in work}
    budget = 1000 + 50 * len(work)
    while work:
        node = work.popleft()
        queued.discard(id(node))
        touched = _first_that_applies(edit, index.get((node.domain if node.domain != "ai.onnx" else "", node.op_type), ()), node)
        for again in touched:
            if id(again) not in queued:
                queued.add(id(again))
                work.append(again)
        budget -= bool(touched)
        if budget < 0:
            raise InternalError(f"the rules of '{edit.owner}' reach no fixed point", place=f"node {ir.node_id(node)}")
    edit.rule = ""


def _first_that_applies(edit: Editor, rules: Sequence[_Compiled], node: ir.Node) -> Sequence[ir.Node]:
    for compiled in rules if node.graph is not None else ():
        if not edit.far and not compiled.matcher.possible(node):
            continue
        reason = ""
        for match in compiled.matcher.match(node):
            result = _rewrite(edit, compiled, match)
            if not isinstance(result, Refuse):
                return result
            reason = result.reason
        near = bool(reason) or compiled.matcher.near
        if near or edit.far:
            edit.refuse(node, compiled.rule.name, reason or compiled.matcher.reason, near=near)
    return ()


def _rewrite(edit: Editor, compiled: _Compiled, match: Match) -> Sequence[ir.Node] | Refuse:
    """Make one rewrite; the nodes to look at again, or why not."""
    root = match.roots[0].producer()
    if root is None:
        raise InternalError("a match without a root")
    why = _escapes(match, root)
    if why:
        return Refuse(why)
    mark, arrays = edit.mark(), {}
    bound: dict[str, Any] = dict(match.named)
    for name, value in match.values.items():
        is_const = isinstance(value, ir.Value) and name in compiled.takes and _is_const(compiled, name)
        bound[name] = ir.const(value) if is_const else value
        if is_const and value is not None:
            arrays[id(bound[name])] = value
    edit.at, edit.rule = root, compiled.rule.name
    op = Builder(edit, match, arrays)
    result = compiled.rule.rewrite(op, **{n: bound[n] for n in compiled.takes})
    refused = result if isinstance(result, Refuse) else Refuse("") if result is None else None
    results = result if isinstance(result, tuple) else (result,)
    if refused is None and len(results) != len(match.roots):
        raise InternalError(f"rule '{compiled.rule.name}' returned {len(results)} values for {len(match.roots)} outputs")
    if refused is None:
        values = [op.value(r, f"{root.name}_{i}") for i, r in enumerate(results)]
        refused = _keep_interface(op, match, values)
    if refused is not None or not edit.step(root):
        return _drop(edit, mark, op.made, refused)
    try:
        return _commit(edit, match, root, op.made, values)
    except _CycleError:
        edit.rollback(mark)
        edit.steps.pop()
        return Refuse("the result would depend on itself")


def replace_node(edit: Editor, node: ir.Node, build: Callable[[Builder], Any]) -> Sequence[ir.Node] | Refuse:
    """Replace one node by what `build` makes: a value or array for each output (None where nothing uses it;
    those of outputs that are left out may be there), or a Refuse.

    The new nodes are returned, or why it did not happen. It is one `edit.step`.
    """
    used = [i for i, v in enumerate(node.outputs) if ir.is_used(v) or v.is_graph_output()]
    roots = [node.outputs[i] for i in used]
    if not roots:
        return Refuse("nothing uses its results")
    mark = edit.mark()
    op = Builder(edit, Match(nodes={id(node): node}, roots=roots), {})
    edit.at = node
    result = build(op)
    values: list[ir.Value | None] = []
    refused = result if isinstance(result, Refuse) else None
    if refused is None:
        results = result if isinstance(result, tuple) else (result,)
        if len(results) < len(node.outputs):
            raise InternalError(f"{len(results)} values for {len(node.outputs)} outputs", place=f"node {ir.node_id(node)}")
        values = [op.value(results[i], f"{node.name}_{i}") for i in used]
        refused = _keep_interface(op, op.match, values)
    if refused is not None or not edit.step(node):
        return _drop(edit, mark, op.made, refused)
    _commit(edit, op.match, node, op.made, values)
    return op.made


def _drop(edit: Editor, mark: int, made: Sequence[ir.Node], refused: Refuse | None) -> Refuse:
    """Undo what was built."""
    for node in made:
        release(node)
    edit.rollback(mark)
    return refused or Refuse("beyond the bisection limit")


class _CycleError(Exception):
    pass


def _is_const(compiled: _Compiled, name: str) -> bool:
    return any(v.name == name and v.const for v in compiled.matcher.variables)


def _escapes(match: Match, root: ir.Node) -> str:
    """Why the match may not be replaced: something inside it is seen from outside, or it crosses graphs."""
    inside = set(match.nodes.values())
    for node in inside:
        if node.graph is not root.graph:
            return f"{ir.node_id(node)} is in another graph"
        for value in node.outputs:
            if any(value is r for r in match.roots):
                continue
            if value.is_graph_output():
                return f"'{value.name}' is also an output of the graph"
            others = [user for user in ir.users(value) if user not in inside]
            if others:
                more = f" and {len(others) - 2} more" if len(others) > 2 else ""
                return f"'{value.name}' is also used by {', '.join(map(ir.node_id, others[:2]))}{more}"
    for bound in match.values.values():
        if bound is not None and bound.producer() in inside:
            return f"'{bound.name}' is also an operand as it is"  # Add(x, Neg(y)) where x is that Neg
    return ""


def _keep_interface(op: Builder, match: Match, values: list[ir.Value | None]) -> Refuse | None:
    """A graph output keeps its name: what is not made here, or is an output twice, goes through an Identity."""
    taken: set[int] = set()
    for i, (old, new) in enumerate(zip(match.roots, values, strict=True)):
        if new is None:
            return Refuse("no value for an output")
        if old.is_graph_output() and (new.producer() not in op.made or id(new) in taken):
            if id(new) not in taken and _may_become_output(new, old, match):
                taken.add(id(new))
                continue
            producer = old.producer()
            if producer is not None and ir.standard(producer, "Identity"):
                return Refuse(f"'{old.name}' is an output of the graph and keeps its name")
            values[i] = op.domain("").Identity(new)
        taken.add(id(values[i]))
    return None


def _may_become_output(new: ir.Value, old: ir.Value, match: Match) -> bool:
    """Whether a value that is there already can take over the name of a graph output."""
    producer = new.producer()
    if producer is None or producer in match.nodes.values() or new.is_graph_output():
        return False
    return producer.graph is old.graph


def _commit(edit: Editor, match: Match, root: ir.Node, made: list[ir.Node], values: list[ir.Value | None]) -> Sequence[ir.Node]:
    graph, inside = root.graph, list(match.nodes.values())
    around = [p for n in inside for v in n.inputs if v is not None and (p := v.producer()) is not None and p not in inside]
    inputs = [v for n in inside for v in n.inputs if v is not None]
    users = [c for v in match.roots for c in ir.users(v)]
    roots = list(dict.fromkeys(p for v in match.roots if (p := v.producer()) is not None))
    edit.insert_before(root if len(roots) == 1 else min(roots, key=edit.place), made)
    for node in made:
        infer_node(edit, node)
    for old, new in zip(match.roots, values, strict=True):
        if new is None or old is new:
            continue
        fresh, name = new.producer() in made, old.name or ""
        if fresh or old.is_graph_output():  # it stands for the same value: type and name go with it
            edit.set_type(new, old.dtype or new.dtype, old.shape or new.shape)
        edit.replace(old, new)
        if fresh and new.name != name:
            edit.rename(old, edit.fresh(f"{name}_replaced"))
            edit.rename(new, name)
    while inside:
        dead = [n for n in inside if not any(ir.is_used(v) or v.is_graph_output() for v in n.outputs)]
        if not dead:
            raise InternalError(f"the outputs of {ir.node_id(root)} are still used after its rewrite")
        for node in dead:
            edit.remove(node)
            inside.remove(node)
    edit.sweep(dict.fromkeys(inputs))
    heir = values[0].producer() if values[0] is not None else None
    if heir in made and root.graph is None and heir is not None:  # names stay from pass to pass: the successor inherits it
        edit.rename(heir, root.name or "")
    if len(roots) > 1 and isinstance(graph, ir.Graph) and not _in_order(edit, graph, [*made, *users]):
        try:
            edit.sort(graph)
        except ValueError as error:
            raise _CycleError from error
    users += [c for v in values if v is not None and ir.count_uses(v) <= FEW for c in ir.users(v)]
    return [n for n in dict.fromkeys((*made, *users, *around)) if n.graph is not None] or [root]


def _in_order(edit: Editor, graph: ir.Graph, nodes: Sequence[ir.Node]) -> bool:
    """Whether all these nodes are in the graph, behind what they read."""
    for node in nodes:
        if node.graph is not graph:
            return False
        reads = (p for v in regions.read(node) if (p := v.producer()) is not None and p.graph is graph)
        if any(edit.place(p) > edit.place(node) for p in reads):
            return False
    return True
