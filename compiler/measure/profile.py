"""Where the time of a bundle goes: each kernel's, beside what the machine could do at best, with the source nodes behind it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from optc.compiler import runtime
from optc.compiler.diagnostics import UserError
from optc.compiler.measure.roofline import Ceilings
from optc.compiler.numerics import Array
from optc.compiler.target import KernelCall

_WARM, _CALLS = 3, 10


@dataclass(frozen=True)
class Kernel:
    """A kernel at one place of the program: medians over calls, of a call that runs it `times` times."""

    name: str
    nodes: tuple[str, ...]
    seconds: float
    multiply_adds: int
    bytes: int
    times: int
    roofline: float
    """Share of the machine's ceiling: the least time that the arithmetic and the bytes would take, of the time taken."""

    def document(self) -> dict[str, Any]:
        found = {key: getattr(self, key) for key in ("name", "seconds", "multiply_adds", "bytes", "times", "roofline")}
        return {**found, "nodes": list(self.nodes)}


@dataclass(frozen=True)
class Profile:
    """`seconds` is the median call without a stop-watch at each kernel; what the kernels do not account for is between them."""

    kernels: tuple[Kernel, ...]
    seconds: float
    threads: int
    ceilings: Ceilings

    @property
    def between(self) -> float:
        return max(self.seconds - sum(k.seconds for k in self.kernels), 0.0)

    def document(self) -> dict[str, Any]:
        return {
            "threads": self.threads,
            "seconds": self.seconds,
            "between": self.between,
            "multiply_adds_per_second": self.ceilings.multiply_adds,
            "bytes_per_second": [{"size": size, "rate": rate} for size, rate in self.ceilings.reads],
            "kernels": [k.document() for k in self.kernels],
        }


def profile(path: Path, sizes: Mapping[str, int], threads: int, seconds: float) -> Profile:
    """Profile a bundle on random inputs for about so long. Raises UserError where it has no kernels to tell of."""
    program = runtime.load(path, threads)
    found = of(program, runtime.random_feeds(program, sizes), seconds)
    if found is None:
        raise UserError("it has no kernels of its own: its target runs a whole model at once", place=str(path))
    return found


def of(program: runtime.Program, feeds: Mapping[str, Array], seconds: float) -> Profile | None:
    """The profile of a loaded bundle on these feeds; None where it has no kernels to tell of."""
    for _ in range(_WARM):
        program.run(feeds)
    found: dict[tuple[Any, ...], list[list[KernelCall]]] = {}
    whole: list[float] = []
    end = time.perf_counter() + seconds
    while len(whole) < _CALLS or time.perf_counter() < end:
        whole.append(_timed(program.run, feeds))
        calls = program.kernels(feeds)
        if not calls:
            return None
        grouped: dict[tuple[Any, ...], list[KernelCall]] = {}
        for call in calls:
            grouped.setdefault((call.name, call.nodes, call.place), []).append(call)
        for key, group in grouped.items():
            found.setdefault(key, []).append(group)
    ceilings = program.ceilings()
    kernels = tuple(_kernel(groups, ceilings) for groups in found.values())
    return Profile(kernels, median(whole), program.threads, ceilings)


def _kernel(groups: list[list[KernelCall]], ceilings: Ceilings) -> Kernel:
    first = groups[0][0]
    taken = median(sum(call.seconds for call in group) for group in groups)
    sums = sum(call.multiply_adds for call in groups[0])
    moved = sum(call.bytes for call in groups[0])
    least = sum(ceilings.seconds(call.multiply_adds, call.bytes) for call in groups[0])
    return Kernel(first.name, first.nodes, taken, sums, moved, len(groups[0]), least / taken if taken else 0.0)


def _timed(run: Callable[[Mapping[str, Array]], object], feeds: Mapping[str, Array]) -> float:
    start = time.perf_counter()
    run(feeds)
    return time.perf_counter() - start
