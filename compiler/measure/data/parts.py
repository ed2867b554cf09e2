"""What a path holds: the parts of a data set, each read by its kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from optc.compiler import ir
from optc.compiler.diagnostics import UserError
from optc.compiler.measure.data import arrays, images, labelled, lines, sounds, table
from optc.compiler.measure.data.columns import Columns
from optc.compiler.measure.data.images import Images
from optc.compiler.measure.data.part import Arrays, Part
from optc.compiler.measure.data.rows import Feeder, Reader, Rows
from optc.compiler.measure.data.sounds import Sounds
from optc.compiler.measure.data.source import Source
from optc.compiler.measure.data.tokens import Tokens
from optc.compiler.measure.data.usercode import Called
from optc.compiler.numerics import Array

_READERS: dict[str, Callable[[Path], Reader]] = {
    ".parquet": table.Parquet, ".arrow": table.Arrow, ".feather": table.Arrow,
    ".txt": lines.Text, ".jsonl": lines.Json, ".csv": lines.Csv, ".tsv": lines.Csv,
}  # fmt: skip
_HINT = (
    f"give arrays ({', '.join(arrays.SUFFIXES)}), rows ({', '.join(table.SUFFIXES)}), texts ({', '.join(lines.SUFFIXES)}, with a "
    f"tokenizer), images ({', '.join(images.SUFFIXES)}), sounds ({', '.join(sounds.SUFFIXES)}), or module:callable"
)


def find(source: Source, model: ir.Model, batch: int, size: int) -> tuple[list[Part], bool]:
    """The parts in order of file names, and whether they are files of arrays, of which one is a feed unless `batch` says else.

    Samples of other kinds are fed `size` at a time. Raises UserError where there are none, or they are of two kinds.
    """
    feeder: Feeder = Tokens(source, model) if source.tokenizer else Columns(model)
    if source.code:
        return [Rows(Called(source), feeder, source, size)], False
    path = source.path
    if not path.exists():
        raise UserError("no data", place=str(path), hint="give a file with one array for each input, or a folder of them")
    files = _files(source)
    kinds = {_kind(f) for f in files}
    if len(kinds) > 1:
        raise UserError(f"data of two kinds: {' and '.join(sorted(kinds))}", place=str(path), hint="a folder holds one kind")
    if not files:
        return [_media(source, model)], False
    if kinds == {"arrays"}:
        return _arrays(source, model, batch, files), True
    return [Rows(_READERS[f.suffix](f), feeder, source, size) for f in files], False


def _kind(file: Path) -> str:
    return "arrays" if file.suffix in arrays.SUFFIXES else "rows" if file.suffix in table.SUFFIXES else "texts"


def _files(source: Source) -> list[Path]:
    """The files of arrays, rows or texts that a path is or holds; empty for a folder without any.

    A folder is looked through for texts only where a tokenizer is declared: what else has a .txt beside it is no text.
    """
    path = source.path
    known = (*arrays.SUFFIXES, *_READERS)
    if path.is_dir():
        wanted = known if source.tokenizer else (*arrays.SUFFIXES, *table.SUFFIXES)
        return sorted(f for f in path.iterdir() if f.suffix in wanted)
    if path.suffix not in known:
        raise UserError(f"data of an unknown kind '{path.suffix}'", place=str(path), hint=_HINT)
    return [path]


def _media(source: Source, model: ir.Model) -> Part:
    """The folder's images or sounds."""
    held = labelled.suffixes(source.path)
    heard, seen = held & set(sounds.SUFFIXES), held & set(images.SUFFIXES)
    if heard and seen:
        raise UserError("data of two kinds: images and sounds", place=str(source.path), hint="a folder holds one kind")
    if heard:
        return Sounds(source, model)
    if seen or (source.path / labelled.LABELS).is_file():
        return Images(source, model)
    raise UserError("no data", place=str(source.path), hint=_HINT)


def _arrays(source: Source, model: ir.Model, batch: int, files: list[Path]) -> list[Part]:
    names = [v.name or "" for v in model.graph.inputs]
    stems = {f.stem: f for f in files if f.suffix == ".npy"}
    if source.path.is_dir() and len(stems) == len(files) and set(names) <= stems.keys():

        def columns() -> dict[str, Array]:
            return {name: arrays.read(file)[""] for name, file in stems.items()}

        return [Arrays(str(source.path), columns, model, source, batch > 0)]
    return [Arrays(str(f), lambda f=f: _named(f, names), model, source, batch > 0) for f in files]  # type: ignore[misc]


def _named(file: Path, inputs: list[str]) -> Mapping[str, Array]:
    """The arrays of a file; the one of an .npy is the model's one input."""
    held = arrays.read(file)
    if "" not in held:
        return held
    if len(inputs) != 1:
        raise UserError(
            "an .npy file names no input", place=str(file), hint="save .npz: np.savez(path, NAME=array), or a folder of NAME.npy"
        )
    return {inputs[0]: held[""]}
