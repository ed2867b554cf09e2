"""Engines for the processes of tests: what they do is known exactly."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from optc.compiler.measure import workers

PRELUDE = """
import os, sys, time
from pathlib import Path
from optc.compiler.measure import child, peers
"""


def plant(monkeypatch: pytest.MonkeyPatch, folder: Path, body: str) -> None:
    """Processes run `body`, which defines `load(path, threads, feeds)`, in the place of onnxruntime."""
    script = folder / "planted.py"
    script.write_text(f"{PRELUDE}{body}\npeers.ENGINES['onnxruntime'] = load\nchild.main()\n")
    monkeypatch.setattr(workers, "COMMAND", (sys.executable, str(script)))
