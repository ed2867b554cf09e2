"""Where figures were measured: processor, memory, system and versions."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optc.compiler.cores import cores


def environment(tools: Mapping[str, str], threads: int) -> dict[str, Any]:
    """For the record. `tools` are versions by name; what the system does not tell is None."""
    return {
        "cpu": _field(Path("/proc/cpuinfo"), "model name") or platform.processor() or None,
        "cores": cores(),
        "threads": threads,
        "memory_mb": _memory(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "tools": dict(tools),
    }


def _field(file: Path, name: str) -> str | None:
    """The first `name : value` of a file of the kernel's."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), None)


def _memory() -> float | None:
    names = os.sysconf_names if hasattr(os, "sysconf_names") else {}
    if "SC_PHYS_PAGES" not in names:
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e6
