"""What states of a model cost on the target: each is built once and raced against the one before it, beside the source's peer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from optc.compiler import inputs, ir, plain, save
from optc.compiler.cores import cores
from optc.compiler.diagnostics import UserError
from optc.compiler.measure.latency import SideBySide, interleaved
from optc.compiler.measure.limits import Limits
from optc.compiler.measure.peers import ENGINES
from optc.compiler.measure.process import peak_memory
from optc.compiler.measure.race import RESULT, SOURCE, interval
from optc.compiler.runner import Verdict
from optc.compiler.runtime import Program

RACE = partial(interleaved, seconds=2.4, most=2)
"""How two states and the baseline are raced. What is decided by it is measured once more on the finished bundle."""
BEFORE = "before"
SLOWER = 1.02
"""An exact pass is dropped where it is surely slower than by this factor, in two races."""
FASTER = 1.01
"""A lossy pass brings something where it surely is faster by this factor."""
SMALLER = {"size": 0.99, "memory": 0.97}
"""A lossy pass brings something where a figure falls to this share. A fresh process' memory varies by about a hundredth."""
_HELD = 3  # built states: the one before, the one after, and the one that a search goes back to

Build = Callable[[ir.Model, Path], Program]


@dataclass(frozen=True)
class State:
    """A model as the target runs it, the bytes it needs and the peak of a fresh process, in bytes; or why it cannot be built."""

    program: Program | None
    size: int = 0
    memory: int = 0
    reason: str = ""


class Costs:
    """Weighs a model against the one before it. `build` makes a bundle of a model in a folder that does not exist."""

    def __init__(
        self, build: Build, path: Path, source: ir.Model, limits: Limits, folder: Path, tell: Callable[[str], None]
    ) -> None:
        self._build, self._limits, self._folder, self._tell = build, limits, folder, tell
        self._feeds = inputs.generate(source, samples=1, sizes=inputs.batch_of_one(source))[0]
        self._peer = ENGINES["onnxruntime"](path, cores(), self._feeds)
        self._states: dict[str, State] = {}
        self._verdicts: dict[tuple[str, str, bool], Verdict] = {}  # a bisection asks twice, and must hear the same
        self._built = 0

    def weigh(self, before: ir.Model, after: ir.Model, lossy: bool) -> Verdict:
        """What the change brought: a lossy one has to improve a figure (that has a budget, where one has), and must not break a
        budget that was held; an exact one must not surely be slower, in two races."""
        if max(plain.weight_bytes(m) for m in (before, after)) >= save.LIMIT:
            return Verdict()  # each state would be built and held: too much for a step, the finished bundle is measured
        asked = (_digest(before), _digest(after), lossy)
        if asked not in self._verdicts:
            self._verdicts[asked] = self._weigh(before, after, lossy)
        return self._verdicts[asked]

    def _weigh(self, before: ir.Model, after: ir.Model, lossy: bool) -> Verdict:
        a, b = self._state(before), self._state(after)
        if b.program is None:
            return Verdict(found={"cost": b.reason})
        raced = self._race(a, b)
        found = _document(a, b, raced)
        if a.program is None:
            return Verdict(found=found)
        if not lossy:
            again = self._race(a, b) if _slower(raced) else raced
            return Verdict(f"is slower: {again.speed(RESULT, BEFORE)} times as fast" if _slower(again) else "", found)
        broken = self._breaks(a, b, raced)
        return Verdict(broken or self._neutral(a, b, raced), found)

    def _state(self, model: ir.Model) -> State:
        key = _digest(model)
        if key in self._states:
            self._states[key] = self._states.pop(key)  # the one that was used last is forgotten last
            return self._states[key]
        self._built += 1
        self._tell("building a step for the target")
        path = self._folder / f"state-{self._built}"
        try:
            program = self._build(model, path)
            program.run(self._feeds)
            made = State(program, program.manifest.bytes_needed, peak_memory(path, self._feeds))
        except UserError as error:  # before the passes that a target needs have run, it may not take the model
            made = State(None, reason=str(error.message))
        self._states[key] = made
        while len(self._states) > _HELD:
            self._states.pop(next(iter(self._states)))
        return made

    def _race(self, a: State, b: State) -> SideBySide:
        states = {BEFORE: a, RESULT: b} if a is not b else {BEFORE: a, RESULT: a}
        self._tell("racing a step")
        calls = {name: _call(s.program, self._feeds) for name, s in states.items() if s.program is not None}
        return RACE({SOURCE: self._peer, **calls})

    def _breaks(self, a: State, b: State, raced: SideBySide) -> str:
        """The budget that was held before and surely is not now."""
        limits = self._limits
        if limits.memory is not None and a.memory <= limits.memory < b.memory:
            return f"memory is {b.memory / 1e6:.3g} MB, the budget is {limits.memory / 1e6:.3g} MB"
        if limits.latency is not None:
            quantile, most = limits.latency
            was, now = (raced.quantile(name, int(quantile[1:]) / 100) for name in (BEFORE, RESULT))
            if was.high <= most < now.low:
                return f"latency {quantile} is {now.value:.3g} ms, the budget is {most:.3g} ms"
        if limits.min_speedup:
            was, now = (raced.speed(name, SOURCE) for name in (BEFORE, RESULT))
            if now.high < limits.min_speedup <= was.low:
                return f"the speed is {now} times onnxruntime's, the budget is {limits.min_speedup:.3g}"
        return ""

    def _neutral(self, a: State, b: State, raced: SideBySide) -> str:
        """What is said where no figure that counts is better than before; '' where one is."""
        speed = raced.speed(RESULT, BEFORE)
        better = {
            "size": b.size <= SMALLER["size"] * a.size,
            "memory": b.memory <= SMALLER["memory"] * a.memory,
            "latency": speed.low > FASTER,
        }
        limits = self._limits
        asked = {"size": limits.size is not None, "memory": limits.memory is not None, "latency": limits.timed}
        counts = [name for name in better if asked[name] or not any(asked.values())]
        if limits.keep_neutral or any(better[name] for name in counts):
            return ""
        budgeted = f"nothing to {' and '.join(counts)}, which has a budget"
        what = "nothing on this target" if len(counts) == len(better) else budgeted
        sizes, memory = (f"{x / 1e6:.3g} -> {y / 1e6:.3g} MB" for x, y in ((a.size, b.size), (a.memory, b.memory)))
        return f"brings {what}: size {sizes}, memory {memory}, speed {speed}"


def _digest(model: ir.Model) -> str:
    return hashlib.sha256(save.to_bytes(model)).hexdigest()


def _call(program: Program, feeds: Mapping[str, Any]) -> Callable[[], object]:
    return lambda: program.run(feeds)


def _slower(raced: SideBySide) -> bool:
    return raced.speed(RESULT, BEFORE).high < 1 / SLOWER


def _document(a: State, b: State, raced: SideBySide) -> dict[str, Any]:
    """For the record of a step; `speed` against the state before it, `against_baseline` against the source in onnxruntime."""
    ratios = {"against_baseline": raced.speed(RESULT, SOURCE)}
    ratios |= {"speed": raced.speed(RESULT, BEFORE)} if a.program is not None else {}
    return {
        "bytes": b.size,
        "memory_mb": b.memory / 1e6,
        "latency_ms": raced.latencies[RESULT].median_ms,
        **{name: interval(ratio) for name, ratio in ratios.items()},
    }
