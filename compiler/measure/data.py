"""Samples to check and measure on: an .npz file of arrays named like the model's inputs, or a folder of such files."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from optc.compiler import ir
from optc.compiler.diagnostics import UserError, nearest
from optc.compiler.numerics import Array


def read(path: Path, model: ir.Model) -> list[dict[str, Array]]:
    """One feed a file, in the order of file names. Raises UserError where a file does not fit the model's inputs."""
    files = sorted(path.glob("*.npz")) if path.is_dir() else [path]
    if not files or not path.exists():
        raise UserError("no data", place=str(path), hint="give an .npz file with one array for each input, or a folder of them")
    return [_feed(file, model) for file in files]


def _feed(file: Path, model: ir.Model) -> dict[str, Array]:
    try:
        with np.load(file, allow_pickle=False) as held:
            arrays = dict(held) if hasattr(held, "files") else None
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise UserError(f"not an .npz file: {error}", place=str(file)) from error
    if arrays is None:
        raise UserError("an .npy file names no input", place=str(file), hint="save it as .npz: np.savez(path, NAME=array)")
    inputs = {v.name or "": v for v in model.graph.inputs}
    for name, array in arrays.items():
        if name not in inputs:
            raise UserError(f"array '{name}' is no input of the model", place=str(file), hint=nearest(name, inputs))
        value = inputs[name]
        if value.dtype is not None and array.dtype != value.dtype.numpy():
            raise UserError(f"array '{name}' is {array.dtype}, the input is {value.dtype.numpy()}", place=str(file))
        shape = value.shape
        if shape is not None and (
            len(shape) != array.ndim or any(isinstance(d, int) and d != n for d, n in zip(shape, array.shape, strict=True))
        ):
            raise UserError(f"array '{name}' is of shape {list(array.shape)}, the input {shape}", place=str(file))
    missing = [n for n in inputs if n not in arrays]
    if missing:
        raise UserError(f"no array for input '{missing[0]}'", place=str(file))
    return arrays
