"""Many random graphs under pipelines, in several processes: what was tried, what rewrites happened, what failed, as one tally."""

from __future__ import annotations

import importlib
import importlib.util
import json
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from types import FrameType, ModuleType

import numpy as np

from optc.compiler import registry
from optc.compiler.diagnostics import UserError
from optc.compiler.numerics import Numerics
from optc.compiler.pipeline import Pass, Pipeline
from optc.compiler.testing import graphs, protos, traits
from optc.compiler.testing.checks import CHECKS, Failure, Subject, examine
from optc.compiler.validate import all_nodes

CHUNK = 50
"""Graphs that a process tries in one go; of so many the tally is written down."""
SECONDS = 120
"""What one graph may take: a pass that takes longer is taken for one that never ends."""


@dataclass
class Found:
    """A failure, and the seed of the graph that shows it."""

    seed: int
    failure: Failure


@dataclass
class Tally:
    """What a campaign did. `refused`: graphs that onnxruntime itself does not run. `amplified`: results that differ by what
    rounding makes of them."""

    graphs: int = 0
    nodes: int = 0
    refused: int = 0
    amplified: int = 0
    operators: Counter[str] = field(default_factory=Counter)
    traits: Counter[str] = field(default_factory=Counter)
    rewrites: Counter[str] = field(default_factory=Counter)
    failures: list[Found] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.graphs += other.graphs
        self.nodes += other.nodes
        self.refused += other.refused
        self.amplified += other.amplified
        self.operators += other.operators
        self.traits += other.traits
        self.rewrites += other.rewrites
        self.failures += other.failures

    def to_json(self) -> str:
        table = {
            **vars(self),
            "failures": [[f.seed, f.failure.check, f.failure.passes, f.failure.message] for f in self.failures],
        }
        return json.dumps(table, sort_keys=True)

    @staticmethod
    def from_json(text: str) -> Tally:
        table = json.loads(text)
        failures = [Found(seed, Failure(*rest)) for seed, *rest in table["failures"]]
        counts = {key: Counter(table[key]) for key in ("operators", "traits", "rewrites")}
        return Tally(**{**table, **counts, "failures": failures})

    def __str__(self) -> str:
        tried = f"{self.graphs} graphs, {self.nodes} nodes of {len(self.operators)} operators"
        apart = f"{self.refused} not run by onnxruntime, {self.amplified} results within what rounding makes of them"
        had, made = _table(self.traits), _table(self.rewrites)
        return f"{tried}; {apart}\ngraphs with:\n{had}\nrewrites:\n{made}\n{len(self.failures)} failures"


def _table(counts: Counter[str]) -> str:
    rows = sorted(counts.items(), key=lambda e: (-e[1], e[0]))
    return "\n".join(f"{count:10d}  {name}" for name, count in rows) or "         0"


@dataclass(frozen=True)
class Plan:
    """What is tried on each graph. `pipelines` as text; `own`: files or modules with passes that no package registers.

    Of `turns`, pipelines too, each graph is put through one, by its seed.
    With `random` each graph is also put through so many random sequences of `exact`, the names of passes.
    """

    pipelines: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    checks: tuple[str, ...] = CHECKS
    turns: tuple[str, ...] = ()
    random: int = 0
    exact: tuple[str, ...] = ()
    options: graphs.Options = field(default_factory=graphs.Options)
    special: bool = False

    def parse(self, text: str) -> Pipeline:
        return _parsed(text, self.own)

    def drawn(self, seed: int) -> list[Pipeline]:
        """The pipelines that the graph of a seed is put through; those of `random` come last."""
        rng = np.random.default_rng([seed, 1])
        drawn = []
        for _ in range(self.random):
            count = int(rng.integers(1, 7))
            names = [self.exact[int(i)] for i in rng.integers(0, len(self.exact), count)]
            drawn.append(Pipeline(tuple(p for name in names for p in self.parse(name))))
        turn = [self.turns[seed % len(self.turns)]] if self.turns else []
        return [*map(self.parse, (*self.pipelines, *turn)), *drawn]


@cache
def _parsed(text: str, own: tuple[str, ...]) -> Pipeline:
    """Entry points are looked for in many files: once for each text."""
    return Pipeline.parse(text, own_passes(own))


def exact_passes() -> tuple[str, ...]:
    """The names of all registered passes that keep what a model computes."""
    return tuple(n for n in sorted(registry.names("pass")) if Pipeline.parse(n).passes[0].numerics is not Numerics.LOSSY)


def own_passes(places: Sequence[str]) -> dict[str, type[Pass]]:
    """Name -> class of the passes defined in files (`my_pass.py`) or modules (`package.passes`)."""
    found: dict[str, type[Pass]] = {}
    for place in places:
        module = _module(place)
        for value in vars(module).values():
            if (
                isinstance(value, type)
                and issubclass(value, Pass)
                and value.__module__ == module.__name__
                and hasattr(value, "name")
            ):
                found[value.name] = value
    return found


def _module(place: str) -> ModuleType:
    if not place.endswith(".py"):
        try:
            return importlib.import_module(place)
        except ModuleNotFoundError as error:
            raise UserError(
                f"no module '{error.name}'", place=f"--load {place}", hint="give a file that ends in .py, or a module"
            ) from error
    path = Path(place)
    if not path.is_file():
        raise UserError("no such file", place=f"--load {place}")
    if path.stem in sys.modules and getattr(sys.modules[path.stem], "__file__", None) == str(path.resolve()):
        return sys.modules[path.stem]
    spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
    if spec is None or spec.loader is None:
        raise UserError("not a file of Python", place=f"--load {place}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # where dataclasses look for the types of their fields
    spec.loader.exec_module(module)
    return module


def subject(seed: int, plan: Plan) -> Subject:
    """The graph of a seed with its feeds."""
    proto = graphs.model(seed, plan.options)
    special = plan.special and seed % 8 == 0
    proto = protos.bounded(proto) if special else proto
    return Subject(proto, [graphs.feeds(proto, i, special) for i in graphs.samples(proto)])


def trial(seed: int, plan: Plan) -> Tally:
    """One graph through every pipeline of the plan."""
    held, tally = subject(seed, plan), Tally(graphs=1)
    nodes = list(all_nodes(held.proto.graph))
    tally.nodes = len(nodes)
    tally.operators.update(n.op_type for n in nodes)
    try:
        held.expected  # noqa: B018
    except UserError:
        tally.refused = 1
        return tally
    try:
        held.loaded  # noqa: B018
    except UserError as error:
        tally.failures.append(Found(seed, Failure("load", "", f"{error.message} {' '.join(error.lines)[:300]}")))
        return tally
    tally.traits.update(traits.found(held.proto, held.loaded))
    drawn = plan.drawn(seed)
    for i, pipeline in enumerate(drawn):
        # a random order reaches no fixed point: there a second run may well do more
        checks = [c for c in plan.checks if c != "idempotence" or i < len(drawn) - plan.random]
        try:
            with _limited():
                outcome = examine(held, pipeline.passes, checks)
        except TimeoutError:
            tally.failures.append(Found(seed, Failure("crash", str(pipeline), f"not done in {SECONDS} s")))
            continue
        tally.rewrites += outcome.rewrites
        tally.amplified += outcome.amplified
        tally.failures += [Found(seed, failure) for failure in outcome.failures]
    return tally


@contextmanager
def _limited() -> Iterator[None]:
    def stop(signum: int, frame: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def chunk(seeds: Sequence[int], plan: Plan) -> Tally:
    tally = Tally()
    for seed in seeds:
        tally.add(trial(seed, plan))
    return tally


def run(
    seeds: range,
    plan: Plan,
    jobs: int = 0,
    state: Path | None = None,
    tell: Callable[[Tally], None] = lambda _: None,
    enough: Callable[[], bool] | None = None,
) -> Tally:
    """Try a range of seeds, in so many processes (0: in this one, which an engine that dies takes along). Chunks that the `state`
    file has are not tried again. `tell` hears of every chunk; once `enough` says so, no more are begun."""
    plan_text = repr(plan)
    done = _read(state, plan_text) if state is not None else {}
    total = Tally()
    chunks = [range(start, min(start + CHUNK, seeds.stop)) for start in range(seeds.start, seeds.stop, CHUNK)]
    for known in (c for c in chunks if (c.start, c.stop) in done):
        total.add(done[known.start, known.stop])
    rest = [c for c in chunks if (c.start, c.stop) not in done]
    together = max(1, 8 * jobs if enough is not None else len(rest))
    for group in (rest[i : i + together] for i in range(0, len(rest), together)):
        for span, tally in _tallies(group, plan, jobs):
            total.add(tally)
            if state is not None:
                state.parent.mkdir(parents=True, exist_ok=True)
                with state.open("a", encoding="utf-8") as file:
                    file.write(json.dumps([plan_text, span.start, span.stop, tally.to_json()]) + "\n")
            tell(total)
        if enough is not None and enough():
            break
    total.failures.sort(key=lambda f: f.seed)
    return total


def _read(state: Path, plan: str) -> Mapping[tuple[int, int], Tally]:
    if not state.is_file():
        return {}
    rows = [json.loads(line) for line in state.read_text(encoding="utf-8").splitlines()]
    return {(start, stop): Tally.from_json(text) for told, start, stop, text in rows if told == plan}


def _tallies(chunks: Sequence[range], plan: Plan, jobs: int) -> Iterator[tuple[range, Tally]]:
    if jobs < 1:
        yield from ((c, chunk(c, plan)) for c in chunks)
        return
    rest = list(chunks)
    while rest:
        with _pool(jobs) as pool:
            futures = [pool.submit(chunk, c, plan) for c in rest]
            try:
                for future in futures:
                    tally = future.result()
                    yield rest.pop(0), tally
            except BrokenProcessPool:  # by this chunk, or by another that ran beside it
                for future in futures:
                    future.cancel()
        if rest:
            yield rest[0], _one_by_one(rest[0], plan)
            rest.pop(0)


def _pool(jobs: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(jobs, mp_context=get_context("spawn"))


def _one_by_one(seeds: range, plan: Plan) -> Tally:
    """A chunk that lets its process die: which graph does is the failure, unless onnxruntime dies of the graph as it was made."""
    tally, rest = Tally(), list(seeds)
    while rest:
        with _pool(1) as pool:
            try:
                while rest:
                    tally.add(pool.submit(trial, rest[0], plan).result())
                    rest.pop(0)
            except BrokenProcessPool:
                seed = rest.pop(0)
                tried = " or ".join(map(str, plan.drawn(seed)))
                died = Found(seed, Failure("crash", tried, "the process died"))
                tally.add(Tally(graphs=1, failures=[died]) if _runs(seed, plan) else Tally(graphs=1, refused=1))
    return tally


def _runs(seed: int, plan: Plan) -> bool:
    """Whether the source itself runs in a process without ending it."""
    with _pool(1) as pool:
        try:
            return pool.submit(_run_source, seed, plan).result()
        except BrokenProcessPool:
            return False


def _run_source(seed: int, plan: Plan) -> bool:
    try:
        return bool(subject(seed, plan).expected)
    except UserError:
        return False
