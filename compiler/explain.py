"""What passes did, and where each nearly did more: for people who ask why a rewrite did not happen."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from optc.compiler import ir, nearmiss, printer, registry
from optc.compiler.diagnostics import UserError, nearest
from optc.compiler.edit import Editor
from optc.compiler.instrument import Instrument, Outcome
from optc.compiler.pattern import Matcher, trace
from optc.compiler.pipeline import Pass, Pipeline
from optc.compiler.rewrite import RewritePass, Rule
from optc.compiler.steps import Refusal, Step

FORMAT = 1
"""Of the document that `optc explain --json` prints."""

_OPSET = re.compile(r"opset (\d+)\D+?has (?:opset )?(\d+)")


@dataclass(frozen=True)
class Miss:
    """A node at which a rule did not apply: `matched` of the `operators` of its pattern are there (0 of 0: a pass without
    patterns refused), why not, and the graph round the place where it is something else."""

    owner: str
    rule: str
    node: str
    op_type: str
    matched: int
    operators: int
    reason: str
    lines: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        return self.matched / self.operators if self.operators else 1.0

    @property
    def order(self) -> tuple[float, bool, int]:
        """How far it got: a pass that looks for itself has seen all that it looks for when it refuses."""
        return self.share, not self.operators, self.matched


@dataclass(frozen=True)
class Group:
    """Misses that are one: the same rule, as far, for the same reason but for names. `first` stands for all `nodes`."""

    first: Miss
    nodes: tuple[str, ...]

    @property
    def near(self) -> bool:
        """Whether more than the last operator of a pattern was there."""
        return self.first.matched > 1 or self.first.matched == self.first.operators

    @property
    def hint(self) -> str:
        """What to do, where that is known."""
        found = _OPSET.search(self.first.reason)
        if found is None or int(found[1]) <= int(found[2]):
            return ""
        if "convert-opset" in registry.names("pass"):
            return f"raise the opset first: --passes 'convert-opset{{to={found[1]}}},...'"
        return f"it needs a model of opset {found[1]}: export it again, or convert it"

    def document(self) -> dict[str, Any]:
        f = self.first
        return {
            "pass": f.owner,
            "rule": f.rule,
            "operator": f.op_type,
            "matched": f.matched,
            "operators": f.operators,
            "count": len(self.nodes),
            "nodes": list(self.nodes),
            "reason": f.reason,
            "hint": self.hint,
            "lines": list(f.lines),
        }


@dataclass(frozen=True)
class Question:
    """What is asked: about all passes of `pipeline`, or about one pass or rule; at nodes whose names hold `node`. `every`: each
    rule rather than the one that got furthest at a node."""

    pipeline: Pipeline
    owner: str = ""
    rule: str = ""
    node: str = ""
    every: bool = False

    @staticmethod
    def of(pipeline: Pipeline, name: str | None, node: str | None, every: bool) -> Question:
        """`name` is a pass, which is put behind the pipeline where it is not in it, or a rule of its passes. Raises UserError."""
        if name is None:
            return Question(pipeline, node=node or "", every=every)
        if name in {p.name for p in pipeline}:
            return Question(pipeline, owner=name, node=node or "", every=every)
        if name in registry.names("pass"):
            return Question(pipeline + Pipeline.parse(name), owner=name, node=node or "", every=every)
        rules = [r.name for p in pipeline if isinstance(p, RewritePass) for r in p.rules()]
        if name not in rules:
            hint = f"{nearest(name, {*registry.names('pass'), *rules})}; `optc passes` lists passes"
            raise UserError(f"no pass and no rule of the pipeline is named '{name}'", place="--pattern", hint=hint)
        return Question(pipeline, rule=name, node=node or "", every=every)

    def about(self, owner: str, rule: str) -> bool:
        return self.owner in ("", owner) and self.rule in ("", rule)


@dataclass
class Asking(Instrument):
    """Looks, when a pass has done what it could, at the nodes where it did nothing."""

    question: Question
    misses: list[Miss] = field(default_factory=list)
    ends: dict[str, bool] = field(default_factory=dict)  # operators with which patterns end: whether a node is of it
    _since: int = 0

    def before(self, p: Pass, edit: Editor) -> None:
        self._since = len(edit.refusals)

    def after(self, p: Pass, edit: Editor, outcome: Outcome) -> None:
        nodes = [n for graph in ir.all_graphs(edit.graph) for n in graph]
        refusals = edit.refusals[self._since :]
        if isinstance(p, RewritePass):
            found = [m for rule in p.rules() for m in self._rule(p, rule, nodes, refusals, edit.opset())]
        else:
            found = list(self._refused(p, nodes, refusals))
        earlier = [m for m in self.misses if m.owner != p.name]  # a pass that runs again speaks for its first run
        self.misses = earlier + (found if self.question.every else _best(found))

    def _refused(self, p: Pass, nodes: Sequence[ir.Node], refusals: Iterable[Refusal]) -> Iterator[Miss]:
        """What a pass that looks for itself says of nodes that are still there."""
        here = {(n.name, n.op_type): n for n in nodes}
        for r in refusals:
            node = here.get((r.node, r.op_type))
            if node is not None and r.reason and self.question.about(p.name, r.rule) and self.question.node in r.node:
                yield Miss(p.name, r.rule, r.node, r.op_type, 0, 0, r.reason, tuple(printer.neighbourhood(node)))

    def _rule(self, p: Pass, rule: Rule, nodes: Sequence[ir.Node], refusals: Sequence[Refusal], opset: int) -> Iterator[Miss]:
        """Where a rule's pattern is there in part, or whole and its rewrite refused."""
        if not self.question.about(p.name, rule.name):
            return
        matcher = Matcher(trace(rule.pattern), opset)
        refused = {(r.node, r.op_type): r.reason for r in refusals if r.rule == rule.name and r.near and r.reason}
        at_root = [n for n in nodes if ("" if n.domain == "ai.onnx" else n.domain, n.op_type) == matcher.root]
        end = ".".join(filter(None, matcher.root))
        self.ends[end] = self.ends.get(end, False) or bool(at_root)
        for node in at_root:
            if self.question.node not in (node.name or ""):
                continue
            fit = nearmiss.fit(matcher.pattern, node, opset)
            if next(matcher.match(node), None) is not None:
                reason, near = refused.get((node.name or "", node.op_type), ""), printer.neighbourhood(node)
                matched = fit.operators  # greed may have missed the way
            elif fit.misfits:
                worst = fit.deepest
                reason, near, matched = str(worst[0]), worst[0].lines(), fit.matched
                if matched == fit.operators == 1:
                    continue  # a rule of one operator: none of it but what every node of that kind has
                reason += f", and {len(worst) - 1} more" if len(worst) > 1 else ""
            else:
                continue
            if reason:
                yield Miss(p.name, rule.name, node.name or "", node.op_type, matched, fit.operators, reason, tuple(near))


def _best(misses: Iterable[Miss]) -> list[Miss]:
    """Of a pass's rules the one that got furthest at each node."""
    best: dict[str, Miss] = {}
    for miss in misses:
        held = best.get(miss.node)
        if held is None or miss.order > held.order:
            best[miss.node] = miss
    return list(best.values())


def groups(misses: Iterable[Miss]) -> list[Group]:
    """The misses, those that got furthest first; of equal ones the most frequent."""
    found: dict[tuple[Any, ...], list[Miss]] = {}
    for miss in misses:
        alike = re.sub(r"'[^']*'", "'", miss.reason)
        found.setdefault((miss.owner, miss.rule, miss.op_type, miss.matched, miss.operators, alike), []).append(miss)
    made = [Group(held[0], tuple(dict.fromkeys(m.node for m in held))) for held in found.values()]
    return sorted(made, key=lambda g: (*g.first.order, len(g.nodes)), reverse=True)


@dataclass(frozen=True)
class Fired:
    """What a pass did: rewrites in all and by rule, nodes before and after."""

    outcome: Outcome
    rules: dict[str, int]

    def document(self) -> dict[str, Any]:
        o = self.outcome
        return {
            "pass": o.text,
            "rewrites": o.rewrites,
            "nodes_before": o.nodes_before,
            "nodes_after": o.nodes_after,
            "rules": self.rules,
        }


def fired(outcomes: Iterable[Outcome], steps: Sequence[Step]) -> list[Fired]:
    """One a pass, in the order of the pipeline."""
    found, at = [], 0
    for outcome in outcomes:
        mine = steps[at : at + outcome.rewrites]
        at += outcome.rewrites
        found.append(Fired(outcome, dict(Counter(s.rule for s in mine if s.rule).most_common())))
    return found
