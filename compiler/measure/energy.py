"""Energy of the processor, where Linux reports it: the RAPL counters of /sys/class/powercap.

Intel SDM vol. 3B, 16.10 "Platform specific power management support"; kernel documentation power/powercap. A counter is that of a
whole package: what its idle cores and other programs need is in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
NOT_REPORTED = "energy: not reported by this machine, or not to this user"
MEANING = "energy: that of the whole processor package while a program ran, idle power and other programs included"


@dataclass(frozen=True)
class Package:
    """The counter of a processor package: a file of microjoules that starts again from 0 after `range_uj`."""

    counter: Path
    range_uj: int

    def microjoules(self) -> int:
        return int(self.counter.read_text())


@dataclass(frozen=True)
class Meter:
    """The packages of a machine."""

    packages: tuple[Package, ...]

    def read(self) -> tuple[int, ...]:
        """The counters now, in microjoules."""
        return tuple(package.microjoules() for package in self.packages)

    def joules(self, before: tuple[int, ...], after: tuple[int, ...]) -> float:
        """What all packages used between two readings, which must be less than one turn of a counter apart (about an hour)."""
        used = [
            now - then if now >= then else now - then + package.range_uj
            for package, then, now in zip(self.packages, before, after, strict=True)
        ]
        return sum(used) / 1e6


def meter(folder: Path = POWERCAP) -> Meter | None:
    """The meter of this machine; None where it reports no energy, or reports it to root alone (as most do).

    Parts of a package (cores, memory) are left out: it holds them; so is the platform (psys), which holds the packages.
    """
    try:
        zones = [zone for zone in sorted(folder.glob("intel-rapl:*")) if zone.name.count(":") == 1]
        packages = [zone for zone in zones if (zone / "name").read_text().startswith("package")]
        found = Meter(tuple(Package(zone / "energy_uj", int((zone / "max_energy_range_uj").read_text())) for zone in packages))
        found.read()
    except OSError:
        return None
    return found if found.packages else None
