"""A program of several parts at work: each part has an engine; If, Loop and Scan choose and repeat them.

A plan is JSON: `inputs` and `outputs` of a graph by name, `steps` in order, and `drop`, the names that nobody reads after each.
A step is one of

    {"part": 0, "inputs": [...], "outputs": [...]}                          a part's engine
    {"if": condition, "then": plan, "else": plan, "outputs": [...]}
    {"loop": plan, "trips": name, "condition": name, "state": [...], "outputs": [...], "ranks": [0, 0], "scans": [...]}
    {"scan": plan, "state": [...], "scanned": [[name, axis, reverse] ...], "outputs": [...], "scans": [...]}
    {"raise": message, "place": node}                                       of a body that no input makes valid: its only step

where `scans` says of each gathered output its dtype, its shape where nothing was gathered, its axis and whether it is reversed.
Names are unique over all plans, so the values of a call are one table. Imports no compiler.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from optc.compiler import manifest, registry
from optc.compiler.diagnostics import UserError
from optc.compiler.numerics import Array
from optc.compiler.stored import Stored
from optc.compiler.target import Engine, KernelCall, Target

Values = dict[str, Any]
"""Arrays by name; lists of arrays where a value is a sequence."""

Run = Callable[[Values], None]


class PlanEngine:
    """The engine of a program that has a plan. May be called from many threads: each call has values of its own."""

    def __init__(self, folder: Path, program: Mapping[str, Any], weights: Mapping[str, Array], threads: int) -> None:
        plan, parts = program["plan"], program["parts"]
        optional = set(_optional(plan))
        self._engines = [_engine(folder, part, Part(weights, f"{i}."), threads, i in optional) for i, part in enumerate(parts)]
        self._seconds: dict[int, float] | None = None
        self._calls: list[KernelCall] | None = None
        self._inputs, self._outputs = list(plan["inputs"]), list(plan["outputs"])
        self._constants = {name: weights[name] for name in program["constants"]}
        self._steps = self._compiled(plan)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs for checked feeds, owned by the caller."""
        values: Values = {**self._constants, **feeds}
        self._steps(values)
        foreign = [v for v in (*self._constants.values(), *feeds.values()) if isinstance(v, np.ndarray)]
        found: dict[str, Array] = {}
        for name in self._outputs:
            value = values[name]
            if isinstance(value, np.ndarray) and any(np.may_share_memory(value, v) for v in (*foreign, *found.values())):
                value = value.copy()
            found[name] = value
        return found

    def profile(self, feeds: Mapping[str, Array]) -> list[float]:
        """Seconds that each part took in a call. Not while others call."""
        self._seconds = dict.fromkeys(range(len(self._engines)), 0.0)
        try:
            self.run(feeds)
            return list(self._seconds.values())
        finally:
            self._seconds = None

    def kernels(self, feeds: Mapping[str, Array]) -> list[KernelCall]:
        """The kernel calls of a run; a part whose engine tells of none is one. Not while others call."""
        self._calls = []
        try:
            self.run(feeds)
            return self._calls
        finally:
            self._calls = None

    def _compiled(self, plan: Mapping[str, Any]) -> Run:
        steps = [self._step(step) for step in plan["steps"]]
        drops = [tuple(names) for names in plan["drop"]]

        def run(values: Values) -> None:
            for step, names in zip(steps, drops, strict=True):
                step(values)
                for name in names:
                    values.pop(name, None)

        return run

    def _step(self, step: Mapping[str, Any]) -> Run:
        if "part" in step:
            return self._part(step)
        if "if" in step:
            return self._if(step)
        if "raise" in step:
            return _raising(step)
        return self._loop(step) if "loop" in step else self._scan(step)

    def _part(self, step: Mapping[str, Any]) -> Run:
        number, inputs, outputs = int(step["part"]), list(step["inputs"]), list(step["outputs"])
        engine = self._engines[number]

        def run(values: Values) -> None:
            start, feeds = time.perf_counter(), {name: values[name] for name in inputs}
            found = engine.run(feeds)
            seconds = time.perf_counter() - start
            for name in outputs:
                values[name] = found[name]
            if self._seconds is not None:
                self._seconds[number] += seconds
            if self._calls is not None:
                told = getattr(engine, "kernels", None)
                whole = KernelCall(f"part {number}", (), 0, seconds, 0, sum(a.nbytes for a in feeds.values()))
                self._calls += [whole] if told is None else told(feeds)

        return run

    def _if(self, step: Mapping[str, Any]) -> Run:
        condition, outputs = step["if"], list(step["outputs"])
        branches = [(self._compiled(step[key]), list(step[key]["outputs"])) for key in ("else", "then")]

        def run(values: Values) -> None:
            body, results = branches[bool(np.asarray(values[condition]).reshape(()))]
            body(values)
            _move(values, results, outputs)

        return run

    def _loop(self, step: Mapping[str, Any]) -> Run:
        plan, outputs, state = step["loop"], list(step["outputs"]), list(step["state"])
        body, (number, going, *inner), (again, *results) = self._compiled(plan), plan["inputs"], plan["outputs"]
        carried = len(state)
        number_shape, going_shape = ((1,) * rank for rank in step["ranks"])

        def run(values: Values) -> None:
            trips = None if step["trips"] is None else int(np.asarray(values[step["trips"]]).reshape(()))
            on = step["condition"] is None or bool(np.asarray(values[step["condition"]]).reshape(()))
            gathered: list[list[Array]] = [[] for _ in step["scans"]]
            _move(values, state, inner)
            i = 0
            while on and (trips is None or i < trips):
                values[number], values[going] = np.full(number_shape, i, np.int64), np.full(going_shape, on)
                body(values)
                on = bool(np.asarray(values[again]).reshape(()))
                for held, name in zip(gathered, results[carried:], strict=True):
                    held.append(values[name])
                _move(values, results[:carried], inner)
                i += 1
            _move(values, inner, outputs[:carried])
            values.update(zip(outputs[carried:], map(_stacked, gathered, step["scans"]), strict=True))

        return run

    def _scan(self, step: Mapping[str, Any]) -> Run:
        plan, outputs, state = step["scan"], list(step["outputs"]), list(step["state"])
        body, inner, results = self._compiled(plan), list(plan["inputs"]), list(plan["outputs"])
        carried = len(state)

        def run(values: Values) -> None:
            slices = [_slices(values[name], axis, reverse) for name, axis, reverse in step["scanned"]]
            counts = {len(found) for found in slices}
            if len(counts) != 1:
                raise UserError(f"a Scan has inputs of lengths {', '.join(map(str, sorted(counts)))}, which must be equal")
            gathered: list[list[Array]] = [[] for _ in step["scans"]]
            _move(values, state, inner[:carried])
            for items in zip(*slices, strict=True):
                values.update(zip(inner[carried:], items, strict=True))
                body(values)
                for held, name in zip(gathered, results[carried:], strict=True):
                    held.append(values[name])
                _move(values, results[:carried], inner[:carried])
            _move(values, inner[:carried], outputs[:carried])
            values.update(zip(outputs[carried:], map(_stacked, gathered, step["scans"]), strict=True))

        return run


class Part(Stored):
    """The weights of one part, by its own names."""

    def __init__(self, weights: Mapping[str, Array], prefix: str) -> None:
        self._weights, self._prefix = weights, prefix

    def __getitem__(self, name: str) -> Array:
        return self._weights[self._prefix + name]

    def __iter__(self) -> Iterator[str]:
        return (name.removeprefix(self._prefix) for name in self._weights if name.startswith(self._prefix))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def once(self, form: str, names: Sequence[str], make: Callable[[], Array]) -> Array:
        if not isinstance(self._weights, Stored):
            return make()
        return self._weights.once(form, [self._prefix + name for name in names], make)


def _engine(folder: Path, part: Mapping[str, Any], weights: Mapping[str, Array], threads: int, optional: bool) -> Engine:
    target: type[Target] = registry.find("target", str(part["target"]).partition("{")[0])
    try:
        return target.load(folder, part["program"], weights, threads)
    except UserError as error:
        if not optional:
            raise
        return _Invalid(error)


class _Invalid:
    """Stands for a part that cannot be loaded, in a branch that may never be taken: a rank that the other branch alone allows."""

    def __init__(self, error: UserError) -> None:
        self._error = error

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        raise self._error


def _raising(step: Mapping[str, Any]) -> Run:
    def run(values: Values) -> None:
        raise UserError(step["raise"], place=step["place"])

    return run


def _optional(plan: Mapping[str, Any], within: bool = False) -> Iterator[int]:
    """The parts that are in a branch of an If."""
    for step in plan["steps"]:
        if "part" in step:
            yield from [step["part"]] if within else []
        for key in ("then", "else", "loop", "scan"):
            if key in step:
                yield from _optional(step[key], within or "if" in step)


def _move(values: Values, sources: Sequence[str], destinations: Sequence[str]) -> None:
    """All at once: a state may take the place of another."""
    held = [values[name] for name in sources]
    values.update(zip(destinations, held, strict=True))


def _slices(array: Array, axis: int, reverse: bool) -> list[Array]:
    moved = np.moveaxis(array, axis, 0)
    return [np.asarray(item, order="C") for item in (moved[::-1] if reverse else moved)]  # also where an item is a scalar


def _stacked(items: Sequence[Array], how: Mapping[str, Any]) -> Array:
    """What a loop gathered, along a new axis."""
    if not items:
        return np.zeros(how["shape"], manifest.dtype(how["dtype"]))
    return np.ascontiguousarray(np.stack(items[::-1] if how["reverse"] else items, axis=how["axis"]))
