"""Two models compared value by value: where they first part, and what their values hold that numbers should not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from optc.compiler import ir, watch
from optc.compiler.diagnostics import UserError
from optc.compiler.exposed import Runner, by_reference, sizes
from optc.compiler.numerics import TOLERANCE, Array, Difference, Numerics, rounding
from optc.compiler.pairs import Pair, computed, pairs, reads
from optc.compiler.watch import Finding, Seen

LIMIT = 1 << 30
"""About how many bytes of values are held at once; more are computed in several runs, each with a part of the values."""

_LAST = (0, 2, 3, 1)  # NCHW -> NHWC, as `perm` of a transpose

Samples = Iterable[Mapping[str, Array]]
"""One mapping a sample, iterated once a run."""


@dataclass(frozen=True)
class Row:
    """One value of the result beside the source's: `error` is max|a-b| / max|a| over all samples, `l2` relative, too.

    `allowed` is the tolerance, or the rounding of the value's dtype where that is more. `first`: it parts, and nothing that it
    is computed from does; then `between` are the nodes that feed it whose values could not be compared: the fault may be theirs.
    """

    value: str
    source: str
    node: str
    op_type: str
    sources: tuple[str, ...]
    passes: tuple[str, ...]
    error: float
    l2: float
    problem: str
    allowed: float
    parts: bool
    first: bool
    between: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """Rows in topological order; `values` counts those of the result, `unpaired` those with nothing to compare them with.

    `missing` are outputs of the source that the result lacks, or that could not be compared: the models part there, too.
    """

    rows: tuple[Row, ...]
    values: int
    unpaired: int
    samples: int
    findings: tuple[Finding, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def first(self) -> Row | None:
        """The first place where the models part."""
        return next((row for row in self.rows if row.first), None)

    @property
    def holds(self) -> bool:
        return self.first is None and not self.missing

    def worst(self, count: int) -> list[Row]:
        """The rows with the largest errors, largest first."""
        return sorted(self.rows, key=lambda r: (not r.problem, -r.error))[:count]


def compare_values(
    before: ir.Model,
    after: ir.Model,
    samples: Samples,
    tolerance: float = TOLERANCE,
    saturation: float = watch.SATURATION,
    *,
    limit: int = LIMIT,
    run: Runner | None = None,
    found: Sequence[Pair] | None = None,
) -> Report:
    """Run both models with all their values as outputs and compare what is paired (see `pairs`).

    `run` computes the values of `after` (the reference, if nobody says otherwise). With `found`, only these pairs are looked at.
    Values that lie in memory as NHWC beside NCHW are compared so. Memory holds one sample's values, of `limit` bytes at most
    where no pair has more. Raises UserError for a source with an output that is no tensor.
    """
    for value in before.graph.outputs if found is None else ():
        if not isinstance(value.type, ir.TensorType):
            raise UserError(f"output '{value.name}' is no tensor of known type: it cannot be compared")
    values = [computed(before), computed(after)] if found is None else [[p.before for p in found], [p.after for p in found]]
    work = _Work(before, after, {p.after: p for p in (pairs(before, after) if found is None else found)}, values)
    count = 0
    for theirs, mine in work.chunks(samples, limit):
        runs = by_reference(before)(theirs), (run or by_reference(after))(mine)
        count = 0
        for feeds in samples:
            work.add(runs[0](feeds), runs[1](feeds), theirs, mine, feeds)
            count += 1
        work.watched.update(theirs, mine, before.graph.inputs, after.graph.inputs)
    return work.report(tolerance, saturation, count)


@dataclass
class _Work:
    before: ir.Model
    after: ir.Model
    pairs: Mapping[ir.Value, Pair]
    values: Sequence[Sequence[ir.Value]]  # of both
    differences: dict[ir.Value, list[Difference | None]] = field(default_factory=dict)  # as they are, and as NHWC
    seen: tuple[dict[ir.Value, Seen], dict[ir.Value, Seen]] = field(default_factory=lambda: ({}, {}))
    watched: set[ir.Value] = field(default_factory=set)  # in an earlier chunk

    def chunks(self, samples: Samples, limit: int) -> Iterable[tuple[list[ir.Value], list[ir.Value]]]:
        """The values of both models, a pair in one chunk, in chunks of about `limit` bytes."""
        feeds = next(iter(samples), None)
        if feeds is None:
            return
        size = [sizes(model, feeds) for model in (self.before, self.after)]
        theirs: dict[ir.Value, None] = {}
        mine: list[ir.Value] = []
        held = 0
        mates = {p.before for p in self.pairs.values()}
        alone: list[tuple[ir.Value | None, ir.Value | None]] = [(v, None) for v in self.values[0] if v not in mates]
        mated = [(self.pairs[v].before if v in self.pairs else None, v) for v in self.values[1]]
        for old, new in [*mated, *alone]:
            more = (0 if old is None or old in theirs else size[0](old)) + (0 if new is None else size[1](new))
            if held and held + more > limit:
                yield list(theirs), mine
                theirs, mine, held = {}, [], 0
            held += more
            if old is not None:
                theirs[old] = None
            if new is not None:
                mine.append(new)
        if theirs or mine:
            yield list(theirs), mine

    def add(
        self,
        old: Mapping[str, Array],
        new: Mapping[str, Array],
        theirs: Sequence[ir.Value],
        mine: Sequence[ir.Value],
        feeds: Mapping[str, Array],
    ) -> None:
        """One sample."""
        for seen, model, wanted, arrays in zip(self.seen, (self.before, self.after), (theirs, mine), (old, new), strict=True):
            for value in (*model.graph.inputs, *wanted):
                if value not in self.watched:
                    name = value.name or ""
                    array = arrays[name] if value.producer() is not None else feeds[name]
                    seen.setdefault(value, Seen(watch.ends(value))).add(np.asarray(array))
        for value in mine:
            pair = self.pairs.get(value)
            if pair is not None:
                self._compare(pair, np.asarray(old[pair.before.name or ""]), np.asarray(new[value.name or ""]))

    def _compare(self, pair: Pair, a: Array, b: Array) -> None:
        ways = self.differences.setdefault(pair.after, [Difference(), Difference() if pair.moved else None])
        forms = (a, a.transpose(_LAST) if a.ndim == 4 else None)
        for i, form in enumerate(forms):
            way = ways[i]
            if way is None or form is None or form.shape != b.shape:
                ways[i] = None
            elif way is not None:
                way.add(form, b.astype(form.dtype) if form.dtype.kind == b.dtype.kind else b)

    def report(self, tolerance: float, saturation: float, samples: int) -> Report:
        rows: list[Row] = []
        parted: set[ir.Value] = set()
        for node in self.after.graph:
            behind = any(v in parted for v in reads(node))
            for value in node.outputs:
                row = self._row(value, node, tolerance, behind)
                rows += [] if row is None else [row]
                if behind or (row is not None and row.parts):
                    parted.add(value)
        twins = {p.after: p.before for p in self.pairs.values()}
        found = watch.findings(*self.seen, twins, saturation)
        asked = {v.name for v in self.before.graph.outputs if v in self.values[0] or v.producer() is None}
        missing = asked - {row.source for row in rows if row.source == row.value} - _passed_through(self.before, self.after)
        count = len(self.values[1])
        return Report(tuple(rows), count, count - len(rows), samples, tuple(found), tuple(sorted(n for n in missing if n)))

    def _row(self, value: ir.Value, node: ir.Node, tolerance: float, behind: bool) -> Row | None:
        pair, ways = self.pairs.get(value), [w for w in self.differences.get(value, ()) if w is not None]
        if pair is None or (not ways and not (pair.same and value in self.differences)):
            return None
        least = max(rounding(v.dtype.numpy()) if v.dtype is not None else 0.0 for v in (pair.before, value))
        name, origin = value.name or "", ir.origin(node)
        ways = ways or [Difference(problem="has another shape")]
        best = min((w.comparison(name, least) for w in ways), key=lambda c: (bool(c.problem), c.error))
        parts = not best.meets(Numerics.REASSOCIATED, tolerance)
        return Row(
            name,
            pair.before.name or "",
            node.name or "",
            node.op_type,
            origin.sources,
            origin.passes,
            best.error,
            best.l2,
            best.problem,
            best.allowed(tolerance),
            parts,
            parts and not behind,
            self._between(node) if parts and not behind else (),
        )

    def _between(self, node: ir.Node) -> tuple[str, ...]:
        """The nodes that a node is computed from, back to those whose values were compared."""
        found: dict[ir.Node, None] = {}
        work = [node]
        while work:
            for value in reads(work.pop()):
                producer = value.producer()
                if producer is not None and producer not in found and value not in self.differences:
                    found[producer] = None
                    work.append(producer)
        return tuple(n.name or "" for n in self.after.graph if n in found)


def _passed_through(before: ir.Model, after: ir.Model) -> set[str | None]:
    """Outputs that no node computes and that both models have: the same input, or equal weights."""
    theirs = {v.name: v for v in before.graph.outputs if v.producer() is None}
    same: set[str | None] = set()
    for value in after.graph.outputs:
        old = theirs.get(value.name)
        if old is None or value.producer() is not None:
            continue
        a, b = ir.const(old), ir.const(value)
        if (old.is_graph_input() and value.is_graph_input()) or (a is not None and b is not None and np.array_equal(a, b)):
            same.add(value.name)
    return same
