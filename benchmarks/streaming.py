"""Memory of measuring on data that are much larger than it: peak of the process beside that on a few samples.

python -m benchmarks.streaming              10 GB of images through PP-LCNet: check, and compile within a budget
python -m benchmarks.streaming --gb 1
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.lib.format import open_memmap
from rich.console import Console
from rich.table import Table

from benchmarks import zoo
from benchmarks.command import run
from optc.compiler.diagnostics import InternalError

MODEL = "lcnet_orientation"
SAMPLE = (3, 224, 224)
CHUNK = 256
ALLOWED_MB = 500

_PEAK = "import sys\nfrom optc.compiler.cli import main\ntry:\n    main(sys.argv[1:])\nfinally:\n    import re\n    " + (
    "print('PEAK', re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1], file=sys.stderr)"
)


def write(folder: Path, samples: int) -> Path:
    """`x.npy`, float32 [samples, 3, 224, 224] of random images, written piece by piece."""
    folder.mkdir()
    array = open_memmap(folder / "x.npy", "w+", np.float32, (samples, *SAMPLE))
    rng = np.random.default_rng(0)
    for start in range(0, samples, CHUNK):
        size = min(CHUNK, samples - start)
        array[start : start + size] = rng.standard_normal((size, *SAMPLE), np.float32)
        array.flush()
    return folder


def peak_mb(*arguments: str) -> float:
    """Of `optc` with these arguments, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", _PEAK, *arguments], capture_output=True, text=True, check=False)
    peak = [line.split()[1] for line in done.stderr.splitlines() if line.startswith("PEAK")]
    if done.returncode or not peak:
        raise InternalError(f"optc {' '.join(arguments)} failed", lines=done.stderr.splitlines()[-5:])
    return int(peak[0]) * 1024 / 1e6


def main(gb: Annotated[float, typer.Option("--gb", help="Bytes of data, in 10^9.")] = 10.0) -> None:
    """Measure the peaks and print them; exit code 3 where they are more than 500 MB above those on a few samples."""
    model, samples = str(zoo.fetch(MODEL)), round(gb * 1e9 / (4 * np.prod(SAMPLE)))
    table, over = Table("command", "samples", "GB", "peak MB", "above 64 samples, MB", title=f"streaming through {MODEL}"), False
    with tempfile.TemporaryDirectory() as scratch:
        few, many = (write(Path(scratch) / str(n), n) for n in (64, samples))
        commands = {
            "check": ("check", model, model, "--metric", "agreement"),
            "compile": (
                "compile", model, "-o", f"{scratch}/a.optc", "--target", "onnxruntime", "--passes", "quantize-weights",
                "--metric", "agreement", "--no-cache",
            ),
        }  # fmt: skip
        for name, arguments in commands.items():
            base, peak = (peak_mb(*arguments, "--data", str(data), "--batch", "32") for data in (few, many))
            over = over or peak - base > ALLOWED_MB
            table.add_row(name, f"{samples:,}", f"{gb:g}", f"{peak:.0f}", f"{peak - base:.0f}")
    Console().print(table)
    raise typer.Exit(3 if over else 0)


if __name__ == "__main__":
    run(main)
