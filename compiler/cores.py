"""How many cores this process may use."""

from __future__ import annotations

import os


def cores() -> int:
    """Cores in this process's affinity mask, or those of the machine where the system keeps none."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
