"""What data to use: the `[data]` table of a recipe, or the options of a command, as one value."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from optc.compiler import options
from optc.compiler.diagnostics import UserError

_CALLABLE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


@dataclass(frozen=True)
class Source:
    """Where data lie, which of them are used, and how images, texts and sounds become arrays.

    `path` is a file of arrays (.npz, .npy, .safetensors), of rows (.parquet, .arrow, .feather) or of texts (.txt, .jsonl, .csv,
    .tsv), a folder of these, a folder of images or of sounds (.wav; a subfolder a class, or labels.csv), or `module:callable`.
    `labels` names the array (or column) that is no input but the truth, `slice` the one that tells kinds of samples apart, each
    of them judged (it may be the labels; of class folders: `class`). `batch` declares that the leading axis of every array
    counts samples, fed that many at a time; 0: a file is one feed. `limit` samples are drawn by `seed`.

    Images: converted to `channels`, resized (one number: the shorter side; two: height, width; bilinear), cropped at the centre,
    then `(x * scale - mean) / std`, in `layout`. They are taken as they are stored: EXIF does not turn them.

    Texts: column `text` becomes token numbers by the file `tokenizer` (a tokenizer.json), cut to `max_length` tokens (0: as the
    tokenizer says). Sounds: resampled to `rate` Hz (0: taken as they are), cut into samples of `frame` values that begin `hop`
    values apart (0: no overlap; frame 0: a file is a sample).

    `allow_code` lets a callable run. It is no part of the table, nor of what makes two sources equal: a recipe, which may come
    from anywhere, does not run code by itself.
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
    tokenizer: str = ""
    text: str = "text"
    max_length: int = 0
    rate: int = 0
    frame: int = 0
    hop: int = 0
    allow_code: bool = field(default=False, compare=False)

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
        for name, least in (("batch", 0), ("limit", 1), ("seed", 0), ("max_length", 0), ("rate", 0), ("frame", 0), ("hop", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name.replace('_', '-')} is {value}, expected {least} or more")
        if self.hop and not self.frame:
            raise ValueError("hop says where frames begin, there is no frame")

    @property
    def code(self) -> bool:
        """Whether `path` is the name of a callable, `module:callable`, and no file."""
        return _CALLABLE.fullmatch(str(self.path)) is not None and not self.path.exists()

    @property
    def files(self) -> tuple[Path, ...]:
        """The files and folders that the samples are made of."""
        return (self.path, Path(self.tokenizer)) if self.tokenizer else (self.path,)

    def under(self, folder: Path) -> Source:
        """The same, relative paths taken from `folder`. The name of a callable is no path."""
        return self._placed(lambda path: folder / path)

    def absolute(self) -> Source:
        """The same by paths that hold in any folder."""
        return self._placed(lambda path: path.parent.resolve() / path.name)

    def _placed(self, place: Callable[[Path], Path]) -> Source:
        path = place(self.path)
        path = self.path if _CALLABLE.fullmatch(str(self.path)) is not None and not path.exists() else path
        return replace(self, path=path, tokenizer=str(place(Path(self.tokenizer))) if self.tokenizer else "")

    @staticmethod
    def from_table(table: Any, place: str) -> Source:
        """From TOML: the path alone, or a table with the fields above. Raises UserError."""
        if isinstance(table, str):
            return Source(Path(table))
        if not isinstance(table, Mapping):
            raise UserError("data is a path or a table", place=place, hint='data = "samples.npz"')
        if "allow-code" in table:
            raise UserError("a recipe does not allow code to run", place=place, hint="whoever uses it may: --allow-code")
        return options.construct(Source, table, place="[data]")

    def table(self) -> str | dict[str, Any]:
        """What `from_table` reads back."""
        if self == Source(self.path):
            return str(self.path)
        return {name: value for name, value in options.values(self).items() if name != "allow-code"}
