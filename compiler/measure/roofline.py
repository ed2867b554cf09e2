"""How near a kernel comes to what the machine can do: the roofline model (Williams, Waterman, Patterson, CACM 2009)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Ceilings:
    """`multiply_adds` a second in float32, and bytes a second that are read of arrays of a size: (bytes, rate), smallest first.

    An array counts as lying in a cache that it fits into; each size was measured at half of a cache."""

    multiply_adds: float
    reads: tuple[tuple[int, float], ...]

    def rate(self, size: int) -> float:
        """Bytes a second at best for a kernel that touches `size` bytes in all."""
        fitting = [rate for limit, rate in self.reads if 2 * limit >= size]
        return max(fitting) if fitting else self.reads[-1][1]

    def seconds(self, multiply_adds: float, size: int) -> float:
        """The least time of that much arithmetic on that many bytes, each of them moved once."""
        return max(multiply_adds / self.multiply_adds, size / self.rate(size))
