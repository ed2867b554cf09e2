"""Reproducers: a folder with the model just before a crash, the traceback, and the command that replays it."""

from __future__ import annotations

import hashlib
import shlex
import traceback
from pathlib import Path

from optc.compiler import ir, printer, save


def write(parent: Path, model: ir.Model, command: str, error: Exception | None) -> str:
    """Write `optc-reproducer-<digest>` under `parent`; `{model}` in the command becomes the model's path. Returns the command."""
    digest = hashlib.sha256((printer.text(model) + command).encode()).hexdigest()[:12]
    folder = parent / f"optc-reproducer-{digest}"
    folder.mkdir(parents=True, exist_ok=True)
    save.save(model, folder / "model.onnx")
    line = command.replace("{model}", str(folder / "model.onnx"))  # pass options have braces, too
    trace = "".join(traceback.format_exception(error)) if error is not None else ""
    (folder / "reproduce.txt").write_text(f"{trace}\n{line}\n")
    return line


def write_command(parent: Path, arguments: list[str], error: Exception) -> str:
    """A reproducer for a crash outside the passes: the traceback and the command line, which is returned."""
    line = "optc " + " ".join(map(shlex.quote, arguments))
    folder = parent / f"optc-reproducer-{hashlib.sha256(line.encode()).hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    trace = "".join(traceback.format_exception(error))
    (folder / "reproduce.txt").write_text(f"{trace}\n{line}\n")
    return line
