"""A stop-watch for the kernels of one call: the virtual machine tells it before and after each function that it calls."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from optc.compiler.target import KernelCall


class Watch:
    """Callable as the instrument of a Relax virtual machine. `kernels`: the calls of a program in their order, see `trace`."""

    def __init__(self, kernels: Sequence[Mapping[str, Any]]) -> None:
        self.calls: list[KernelCall] = []
        self._places: dict[str, list[tuple[int, Mapping[str, Any]]]] = defaultdict(list)
        for place, kernel in enumerate(kernels):
            self._places[kernel["name"]].append((place, kernel))
        self._met: Counter[str] = Counter()
        self._start = 0.0

    def __call__(self, function: Any, name: str, before: bool, result: Any, *args: Any) -> int:
        stopped = time.perf_counter()
        if before:
            self._start = time.perf_counter()
        elif name in self._places:
            places = self._places[name]
            place, kernel = places[self._met[name] % len(places)]  # a body that runs again begins anew
            self._met[name] += 1
            arrays = [a for a in args if hasattr(a, "shape") and hasattr(a, "dtype")]
            sizes = [prod(a.shape) for a in arrays]
            if "share" in kernel:
                written, of = kernel["share"]
                sizes[-1] = sizes[-1] // of * written
            moved = sum(size * (a.dtype.bits // 8 or 1) for size, a in zip(sizes, arrays, strict=True))
            work = kernel["depth"] * sizes[kernel["of"]] if kernel["depth"] else 0
            self.calls.append(KernelCall(name, tuple(kernel["nodes"]), place, stopped - self._start, work, moved))
        return 0
