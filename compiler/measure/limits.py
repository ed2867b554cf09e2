"""What a result must stay within: the `[budgets]` table of a recipe, or the options of `optc compile`, as one value."""

from __future__ import annotations

import re
from dataclasses import dataclass

from optc.compiler.diagnostics import UserError

_UNITS = {
    "size": {"B": 1.0, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30},
    "time": {"us": 1e-3, "ms": 1.0, "s": 1e3},
}
QUANTILES = ("p50", "p90", "p99")


@dataclass(frozen=True)
class Limits:
    """Metrics to measure, and budgets to hold.

    `metrics` are measured; `max_drop` bounds how much worse each may become (`top1=0.5%`), also in each slice unless
    `max_slice_drop` says how much there, judged on the bound of the interval. `max_latency` bounds a quantile of one call
    (`p99=20ms`), `max_size` the bytes that are needed to run, `max_memory` the peak of a fresh process, `min_speedup` how many
    times as fast as onnxruntime on the source model the bundle must be. `output` is the one that metrics look at (the first).

    With any of these, or `measure`, every pass is measured on the target too; what brings nothing there is dropped, unless
    `keep_neutral`.
    """

    metrics: tuple[str, ...] = ()
    max_drop: tuple[str, ...] = ()
    max_slice_drop: tuple[str, ...] = ()
    output: str = ""
    max_latency: str = ""
    max_size: str = ""
    max_memory: str = ""
    min_speedup: float = 0.0
    measure: bool = False
    keep_neutral: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.min_speedup < 1000:
            raise ValueError(f"min-speedup is {self.min_speedup}, expected a factor such as 1.5")

    def check(self) -> None:
        """Raise UserError for a budget that cannot be read, and for an output of which nothing is measured."""
        _ = self.latency, self.size, self.memory
        if self.output and not (self.metrics or self.max_drop):
            place = f"--metric-output {self.output}"
            raise UserError(
                "it says what metrics look at, and none is asked for", place=place, hint="name one: --metric agreement"
            )

    @property
    def wanted(self) -> bool:
        """Whether anything is to be measured."""
        return self != Limits(output=self.output, keep_neutral=self.keep_neutral)

    @property
    def timed(self) -> bool:
        """Whether a budget needs the clock."""
        return bool(self.max_latency or self.min_speedup)

    @property
    def latency(self) -> tuple[str, float] | None:
        """(quantile, milliseconds)."""
        if not self.max_latency:
            return None
        quantile, equals, amount = self.max_latency.rpartition("=")
        if equals and quantile not in QUANTILES:
            raise UserError(f"unknown quantile '{quantile}'", place=f"max-latency {self.max_latency}", hint="p50, p90 or p99")
        return quantile or "p50", quantity(amount, "time", f"max-latency {self.max_latency}")

    @property
    def size(self) -> float | None:
        """Bytes."""
        return quantity(self.max_size, "size", f"max-size {self.max_size}") if self.max_size else None

    @property
    def memory(self) -> float | None:
        """Bytes."""
        return quantity(self.max_memory, "size", f"max-memory {self.max_memory}") if self.max_memory else None


def quantity(text: str, kind: str, place: str) -> float:
    """`5MB` in bytes, `20ms` in milliseconds. Raises UserError."""
    units = _UNITS[kind]
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*", text)
    if not found or found[2] not in units:
        raise UserError(f"'{text}' is no {kind}", place=place, hint=f"a number and a unit: {', '.join(units)}")
    return float(found[1]) * units[found[2]]
