"""Running a pipeline: groups of passes are checked once; what breaks its contract is found, rolled back and reported."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from pathlib import Path
from typing import Any, Literal, Protocol

from optc.compiler import analysis, bisect, check, collector, inputs, ir, pieces, printer, reproducer, verify
from optc.compiler.check import Feeds
from optc.compiler.diagnostics import InternalError, OptcError
from optc.compiler.edit import Editor
from optc.compiler.executable import Executable, executable
from optc.compiler.instrument import Instrument, Outcome
from optc.compiler.numerics import Array, Numerics, compare
from optc.compiler.pipeline import LossyPass, Pass, Pipeline
from optc.compiler.reference import Reference
from optc.compiler.sensitivity import Layer
from optc.compiler.stand_in import loadable
from optc.compiler.steps import Refusal, Removal, Step


@dataclass(frozen=True)
class Verdict:
    """Why a model must not stay as a pass left it, '' where it may; and what was measured, for the record."""

    why: str = ""
    found: Mapping[str, Any] = field(default_factory=dict)


class Gate(Protocol):
    """What judges a model after a pass, beyond the contract of the pass."""

    def judge(self, model: ir.Model) -> Verdict:
        """By the metrics of a model that a LOSSY pass has changed."""

    def weigh(self, before: ir.Model, after: ir.Model, lossy: bool) -> Verdict:
        """By what both cost on the target: the LOSSY has to bring something, the exact must not surely be slower."""

    def sweep(self, model: ir.Model, p: Pass, feeds: Feeds) -> list[Layer]:
        """The layers that a LOSSY pass changes, the most sensitive first."""


@dataclass(frozen=True)
class Options:
    """How a pipeline runs. `check`: compare outputs once a group of passes (default), after each pass, or not at all.

    `feeds` are the samples to compare on; without them they are generated. After `bisect_limit` rewrites nothing more is changed.
    `far`: refusals are noted also where no more than the first operator of a rule was there.
    With a `gate`, a LOSSY pass that is refused is tried on fewer layers before it is given up, and passes that bring nothing on
    the target are dropped. `skips` are the names of the nodes that each pass leaves alone, where that was decided earlier.
    `decided` is called after each group of passes.
    """

    check: Literal["group", "each", "off"] = "group"
    verify_each: bool = False
    bisect_limit: int | None = None
    far: bool = False
    feeds: Feeds | None = None
    gate: Gate | None = None
    skips: Sequence[frozenset[str]] = ()
    decided: Callable[[Report], None] = lambda _: None
    instruments: Sequence[Instrument] = ()
    reproducers: Path = field(default_factory=Path)


@dataclass
class Report:
    """What happened: an outcome a pass, every rewrite made, every near miss, every node removed, the worst error measured of
    each group, and the sensitivity of the layers of each LOSSY pass that was refused at first (by its place in the pipeline,
    from 0: two passes may have the same text)."""

    outcomes: list[Outcome] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    removals: list[Removal] = field(default_factory=list)
    checks: list[check.Check] = field(default_factory=list)
    sensitivity: dict[int, list[Layer]] = field(default_factory=dict)

    @property
    def broken(self) -> list[Outcome]:
        return [o for o in self.outcomes if not o.kept]


def run(pipeline: Pipeline, model: ir.Model, options: Options | None = None) -> Report:
    """Run a pipeline on a model, in place.

    A pass that breaks its contract is rolled back and reported with the guilty node. Raises InternalError, with a
    reproducer, where a pass crashes or leaves the model invalid.
    """
    return _Run(model, options or Options()).pipeline(pipeline.passes)


class _Before:
    """A model as it was before a group of passes, as far as comparing needs it: `whole` as a model too.

    It is run beside the passes, in a thread that hardly ever needs Python.
    """

    def __init__(self, model: ir.Model, whole: bool, feeds: Feeds | None) -> None:
        self.large = pieces.large(model)
        self.model = model.clone() if whole or self.large else None
        self._feeds = feeds
        self._answers: Future[check.Answers] | None = None
        if not self.large:
            beside = ThreadPoolExecutor(max_workers=1)
            self._answers = beside.submit(_answers, executable(loadable(model)), inputs.Sampler.of(model.graph), feeds)
            beside.shutdown(wait=False)

    @property
    def feeds(self) -> Feeds:
        """Raises UserError where there are none with which the model runs."""
        if self._answers is not None:
            return self._answers.result().feeds
        if self._feeds is None and self.model is not None:
            self._feeds = inputs.generate(self.model, reference=pieces.Pieces(self.model))
        return self._feeds or []

    def check(self, after: ir.Model, numerics: Numerics) -> check.Check:
        """Compare with the model after the passes. Raises UserError where no executor takes one of them."""
        if self._answers is not None:
            return self._answers.result().check(after, numerics)
        if self.model is None:
            raise ValueError("a large model is kept as a whole")
        return pieces.check(self.model, after, numerics, self.feeds)


def _answers(model: Executable, sampler: inputs.Sampler, feeds: Feeds | None) -> check.Answers:
    return check.answers(Reference(model), sampler, feeds)


class _Run:
    def __init__(self, model: ir.Model, options: Options) -> None:
        self.model, self.options = model, options
        self.edit = Editor(model, options.bisect_limit)
        self.edit.far = options.far
        self.report = Report(steps=self.edit.steps, refusals=self.edit.refusals, removals=self.edit.removals)
        self.interface = verify.signature(model)
        self._feeds = options.feeds
        self._counted: tuple[int, int] | None = None

    @property
    def feeds(self) -> Feeds:
        if self._feeds is None:
            self._feeds = inputs.generate(self.model)
        return self._feeds

    def pipeline(self, passes: Sequence[Pass]) -> Report:
        at = 0
        while at < len(passes):
            end = at + 1
            if self.options.check == "off":
                self.edit.skip = self.options.skips[at] if self.options.skips else frozenset()
                outcome = self._one(passes[at])
                self._keep(passes[at], replace(outcome, skipped=tuple(sorted(self.edit.skip))))
                self.edit.skip = frozenset()
            elif isinstance(passes[at], LossyPass):
                self._lossy(passes[at])
            else:
                while self.options.check == "group" and end < len(passes) and not isinstance(passes[end], LossyPass):
                    end += 1
                self._group(passes[at:end])
            at = end
            self.options.decided(self.report)
        return self.report

    def _one(self, p: Pass) -> Outcome:
        """Run one pass; roll it back and raise where it crashes or leaves the model invalid."""
        for instrument in self.options.instruments:
            instrument.before(p, self.edit)
        self.edit.owner, self.edit.at, self.edit.rule = p.name, None, ""
        mark, steps = self.edit.mark(), len(self.edit.steps)
        nodes, start = self._count(), time.perf_counter()
        try:
            with collector.paused():
                p.run(self.edit)
        except OptcError as error:
            self.edit.rollback(mark)
            if not isinstance(error, InternalError):
                raise
            raise self._bug(p, error.message, error) from error
        except Exception as error:  # anything else that escapes a pass is a bug: report it with what replays it
            self.edit.rollback(mark)
            raise self._bug(p, f"{type(error).__name__}: {error}", error) from error
        if len(self.edit.steps) == steps and self.edit.changed_since(mark):  # nothing would be compared or bisected
            self.edit.rollback(mark)
            raise self._bug(p, f"pass '{p.name}' changed the model without announcing a rewrite (edit.step)", None)
        changed = self.edit.mark() > mark
        if changed:
            analysis.forget(self.model.graph)
        seconds = time.perf_counter() - start
        outcome = Outcome(p.name, str(p), len(self.edit.steps) - steps, nodes, self._count(), seconds)
        if changed and (self.options.verify_each or self.options.check == "each"):
            self._verify(p, mark)
        return outcome

    def _count(self) -> int:
        """Nodes of the model, counted again when it has changed."""
        if self._counted is None or self._counted[0] != self.edit.mark():
            self._counted = self.edit.mark(), ir.count_nodes(self.model)
        return self._counted[1]

    def _verify(self, p: Pass | None, mark: int) -> None:
        problems = verify.verify(self.model, self.interface)
        if problems:
            self.edit.rollback(mark)
            where = f"pass '{p.name}'" if p else "the pipeline"
            raise self._bug(p, f"{where} left an invalid model: {problems[0]}", None)

    def _bug(self, p: Pass | None, message: str, error: Exception | None) -> InternalError:
        command = reproducer.write(
            self.options.reproducers, self.model, f"optc opt {{model}} -o replayed.onnx --passes '{p}' --verify-each", error
        )
        place = f"pass '{p}'" if p else ""
        lines: list[str] = []
        if self.edit.at is not None:
            place += f", at node {ir.node_id(self.edit.at)}"
            lines = printer.neighbourhood(self.edit.at)
        return InternalError(message, place=place, lines=lines, hint=f"this is a bug in optc; replay it with\n{command}")

    def _keep(self, p: Pass, outcome: Outcome) -> None:
        self.report.outcomes.append(outcome)
        self._after(p, outcome)

    def _after(self, p: Pass, outcome: Outcome) -> None:
        for instrument in self.options.instruments:
            instrument.after(p, self.edit, outcome)

    def _undo(self, mark: int, steps: int, refusals: int) -> None:
        self.edit.rollback(mark)
        self._counted = None
        del self.edit.steps[steps:]
        del self.edit.refusals[refusals:]
        analysis.forget(self.model.graph)

    def _group(self, passes: Sequence[Pass]) -> None:
        """Run passes, compare once with the model before them, and on failure drop the guilty one and run the others again."""
        mark, before = self.edit.mark(), _Before(self.model, self.options.gate is not None, self._feeds)
        steps, refusals = len(self.edit.steps), len(self.edit.refusals)
        limit = None if self.edit.limit is None else self.edit.limit - steps
        dropped: dict[int, str] = {}
        found: dict[int, Mapping[str, Any]] = {}
        while True:
            active = [(i, p) for i, p in enumerate(passes) if i not in dropped]
            outcomes: dict[int, Outcome] = {}
            for i, p in active:
                outcomes[i] = self._one(p)
                self._after(p, outcomes[i])  # now: after the group it would be shown the model that later passes made
            changed = len(self.edit.steps) > steps
            if changed:
                self._verify(None, mark)
            numerics = contract(p for _, p in active)
            failed = self._compare(before, numerics) if changed else None
            verdict = Verdict()
            if failed is None:
                if changed and self.options.gate is not None and before.model is not None:
                    verdict = self.options.gate.weigh(before.model, self.model, lossy=False)
                if not verdict.why:
                    break
            self._undo(mark, steps, refusals)
            source = self.model.clone()
            if failed is None:
                good, why = partial(self._fast, source), verdict.why
            else:
                good, why = partial(self._same, before, numerics), f"breaks its contract ({failed.worst})"
            culprit = bisect.find(source, [p for _, p in active], good, limit)
            guilty = active[culprit.index][0]
            dropped[guilty] = f"{why} first at node '{culprit.step.node}' ({culprit.step.op_type})"
            found[guilty] = verdict.found
        last = max((i for i, o in outcomes.items() if o.rewrites), default=None)
        if last is not None:
            outcomes[last] = replace(outcomes[last], measured=verdict.found)
        for i, p in enumerate(passes):
            nodes = self._count()
            outcome = outcomes.get(i) or Outcome(
                p.name, str(p), 0, nodes, nodes, 0.0, False, dropped[i], measured=found.get(i, {})
            )
            self.report.outcomes.append(outcome)
            if i in dropped:
                self._after(p, outcome)

    def _compare(self, before: _Before, numerics: Numerics) -> check.Check | None:
        """None where the contract holds (and the check is noted), else the failed check."""
        found = self._check(before, numerics, self.model)
        if found.holds:
            self.report.checks.append(found)
            return None
        return found

    def _same(self, before: _Before, numerics: Numerics, model: ir.Model) -> bool:
        return self._check(before, numerics, model).holds

    def _fast(self, before: ir.Model, model: ir.Model) -> bool:
        return self.options.gate is None or not self.options.gate.weigh(before, model, lossy=False).why

    def _check(self, before: _Before, numerics: Numerics, after: ir.Model) -> check.Check:
        found = before.check(after, numerics)
        self._feeds = before.feeds
        return found

    def _lossy(self, p: Pass) -> None:
        """Run a LOSSY pass and measure it against its own bound and by the gate."""
        if not isinstance(p, LossyPass):
            raise TypeError(p)
        gate, expected = self.options.gate, Reference(self.model).run_all(self.feeds)
        mark, steps, refusals = self.edit.mark(), len(self.edit.steps), len(self.edit.refusals)
        before = self.model.clone() if gate is not None else self.model
        outcome, why = self._attempt(p, expected, gate)
        if why and gate is not None:
            outcome, why = self._fewer(p, expected, gate, outcome, why)
        if gate is not None and not why and self.edit.mark() > mark:
            verdict = gate.weigh(before, self.model, lossy=True)
            outcome = replace(outcome, measured={**outcome.measured, **verdict.found})
            if verdict.why:
                why = verdict.why
                self._undo(mark, steps, refusals)
        if why:
            outcome = replace(outcome, kept=False, reason=why, nodes_after=outcome.nodes_before, rewrites=0)
        elif self.edit.mark() > mark:
            self._verify(p, mark)
        else:
            refused = next((r.reason for r in self.edit.refusals[refusals:] if r.owner == p.name and r.reason), "")
            outcome = replace(outcome, reason=f"changed nothing: {refused}" if refused else "changed nothing")
        self._keep(p, outcome)

    def _attempt(
        self, p: LossyPass, expected: Sequence[dict[str, Array]], gate: Gate | None, skip: Sequence[str] = ()
    ) -> tuple[Outcome, str]:
        """Run a LOSSY pass but for the nodes of `skip`. What is not acceptable is undone, and the reason returned."""
        mark, steps, refusals = self.edit.mark(), len(self.edit.steps), len(self.edit.refusals)
        self.edit.skip = frozenset(skip)
        outcome = replace(self._one(p), skipped=tuple(sorted(skip)))
        self.edit.skip = frozenset()
        if self.edit.mark() == mark:
            return outcome, ""
        self._verify(p, mark)
        worst = compare(expected, Reference(self.model).run_all(self.feeds))
        outcome = replace(outcome, error=worst.l2 if math.isfinite(worst.l2) else None)  # a manifest is JSON; the reason says it
        why = worst.problem
        if not why and worst.l2 > p.max_error:
            why = f"relative L2 error {worst.l2:.2e} of output '{worst.output}' is above max-error {p.max_error:.2e}"
        if not why and gate is not None:
            verdict = gate.judge(self.model)
            why, outcome = verdict.why, replace(outcome, measured=verdict.found)
        if why:
            self._undo(mark, steps, refusals)
        return outcome, why

    def _fewer(
        self, p: LossyPass, expected: Sequence[dict[str, Array]], gate: Gate, outcome: Outcome, why: str
    ) -> tuple[Outcome, str]:
        """Leave the fewest most sensitive layers alone with which a refused pass is accepted; found by halving.

        More layers left alone do less harm; where that is not so, the pass may change fewer layers than it could.
        """
        layers = gate.sweep(self.model, p, self.feeds)
        self.report.sensitivity[len(self.report.outcomes)] = layers
        names = [layer.node for layer in layers]
        low, high, accepted = 1, len(names) - 1, 0
        found = outcome.measured
        mark, steps, refusals = self.edit.mark(), len(self.edit.steps), len(self.edit.refusals)
        while low <= high:
            middle = (low + high) // 2
            tried, refused = self._attempt(p, expected, gate, names[:middle])
            if refused:
                low = middle + 1
            else:
                self._undo(mark, steps, refusals)
                accepted, high, found = middle, middle - 1, tried.measured
        if not accepted:
            return outcome, why
        outcome, _ = self._attempt(p, expected, None, names[:accepted])
        return replace(outcome, measured=found, reason=f"{accepted} of {len(names)} layers left alone: with them, {why}"), ""


def contract(passes: Iterable[Pass]) -> Numerics:
    """The weakest promise among passes: what their composition promises."""
    return reduce(Numerics.weaker, (p.numerics for p in passes), Numerics.BITWISE)
