"""What data to use: the `[data]` table of a recipe, or the options of a command, as one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from optc.compiler import options
from optc.compiler.diagnostics import UserError


@dataclass(frozen=True)
class Source:
    """Where data lie, which of them are used, and how images become arrays.

    `path` is an .npz, .npy or .safetensors file, a folder of them, or a folder of images (a subfolder a class, or labels.csv).
    `labels` names the array (or the column of labels.csv) that is no input but the truth, `slice` the one that tells kinds of
    samples apart, each of them judged (it may be the labels; of class folders: `class`). `batch` declares that the leading
    axis of every array counts samples, fed that many at a time; 0: a file is one feed. `limit` samples are drawn by `seed`.

    Images: converted to `channels`, resized (one number: the shorter side; two: height, width; bilinear), cropped at the centre,
    then `(x * scale - mean) / std`, in `layout`. They are taken as they are stored: EXIF does not turn them.
    """

    path: Path
    labels: str = ""
    slice: str = ""
    batch: int | None = None
    limit: int | None = None
    seed: int = 0
    resize: tuple[int, ...] = ()
    crop: tuple[int, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    scale: float = 1 / 255
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    channels: Literal["RGB", "BGR", "L"] = "RGB"

    def __post_init__(self) -> None:
        bands = 1 if self.channels == "L" else 3
        for name, size in (("mean", bands), ("std", bands)):
            if len(getattr(self, name)) not in (0, 1, size):
                raise ValueError(f"{name} needs 1 or {size} numbers for {self.channels}, found {len(getattr(self, name))}")
        for name in ("resize", "crop"):
            if len(getattr(self, name)) > 2 or any(n < 1 for n in getattr(self, name)):
                raise ValueError(f"{name} needs one or two positive sizes, found {list(getattr(self, name))}")
        if 0 in self.std:
            raise ValueError("std must not be 0")
        for name, least in (("batch", 0), ("limit", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} is {value}, expected {least} or more")

    @staticmethod
    def from_table(table: Any, place: str) -> Source:
        """From TOML: the path alone, or a table with the fields above. Raises UserError."""
        if isinstance(table, str):
            return Source(Path(table))
        if not isinstance(table, Mapping):
            raise UserError("data is a path or a table", place=place, hint='data = "samples.npz"')
        return options.construct(Source, table, place="[data]")

    def table(self) -> str | dict[str, Any]:
        """What `from_table` reads back."""
        return str(self.path) if self == Source(self.path) else options.values(self)
