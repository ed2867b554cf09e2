"""Data in every form become the same feeds; what does not fit is said before anything runs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx.parser
import pytest
from PIL import Image

from optc.compiler import ir, load
from optc.compiler.diagnostics import UserError
from optc.compiler.measure import data
from optc.compiler.measure.data import Dataset, Source
from optc.compiler.numerics import Array
from optc.compiler.recipe import Recipe

X = np.arange(60, dtype=np.float32).reshape(10, 2, 3)
LABELS = np.arange(10) % 4


def model(inputs: str = "float[N, 2, 3] x") -> ir.Model:
    text = f'<ir_version: 8, opset_import: ["" : 17]> g ({inputs}) => (y) {{ y = Identity(x) }}'
    return load.from_proto(onnx.parser.parse_model(text), "model")


def fed(source: Source, batch: int, of: ir.Model | None = None) -> list[Array]:
    return [b.feeds["x"] for b in Dataset(source, of or model(), batch)]


def save_safetensors(file: Path, **arrays: Array) -> None:
    """By the format's own description; no library is needed to read it either."""
    header, body = {"__metadata__": {"by": "hand"}}, b""
    for name, array in arrays.items():
        kind = {"float32": "F32", "int64": "I64"}[array.dtype.name]
        offsets = [len(body), len(body) + array.nbytes]
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": offsets}  # type: ignore[dict-item]
        body += array.tobytes()
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + body)


def in_folder(folder: Path) -> Path:
    for name, array in (("x", X), ("label", LABELS)):
        np.save(folder / f"{name}.npy", array)
    return folder


def in_file(name: str, save: Callable[..., None]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        save(folder / name, x=X, label=LABELS)
        return folder / name

    return write


FORMS = [
    in_folder,
    in_file("d.npz", np.savez),
    in_file("d.npz", np.savez_compressed),
    in_file("d.safetensors", save_safetensors),
]


@pytest.mark.parametrize("form", FORMS, ids=["folder of npy", "npz", "compressed npz", "safetensors"])
def test_every_form_gives_the_same_batches_labels_and_digest(form: Callable[[Path], Path], tmp_path: Path) -> None:
    found = Dataset(Source(form(tmp_path), labels="label"), model(), 4)
    batches = list(found)
    assert [len(b.feeds["x"]) for b in batches] == [4, 4, 2]
    assert np.array_equal(np.concatenate([b.feeds["x"] for b in batches]), X)
    assert np.concatenate([b.labels for b in batches if b.labels is not None]).tolist() == LABELS.tolist()
    assert (found.samples, found.seen.low, found.seen.high) == (10, 0, 3)
    np.savez(tmp_path / "other.npz", x=X, label=LABELS)
    assert found.digest == Dataset(Source(tmp_path / "other.npz", labels="label"), model(), 3).digest


def test_a_file_is_one_feed_unless_a_batch_is_declared(tmp_path: Path) -> None:
    for i in range(3):
        np.savez(tmp_path / f"{i}.npz", x=X[i : i + 1 + i])
    assert [f["x"].shape[0] for f in data.read(tmp_path, model())] == [1, 2, 3]
    assert [f["x"].shape[0] for f in data.read(Source(tmp_path, batch=1), model())] == [1] * 6
    np.save(tmp_path / "alone.npy", X)
    assert np.array_equal(data.read(tmp_path / "alone.npy", model())[0]["x"], X)  # the one input needs no name


def test_samples_are_drawn_by_seed_in_the_order_of_the_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=X)
    drawn = [np.concatenate(fed(Source(tmp_path / "d.npz", limit=4, seed=s), 3))[:, 0, 0].tolist() for s in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2] and all(d == sorted(d) and len(d) == 4 for d in drawn)
    whole, part = (Dataset(Source(tmp_path / "d.npz", limit=n), model(), 3).digest for n in (None, 4))
    assert whole != part


@pytest.mark.parametrize(
    ("arrays", "options", "words"),
    [
        ({}, {}, ["no array for input 'x'"]),
        ({"x": X, "z": X}, {}, ["'z' is no input", "--labels z"]),
        ({"x": X.astype(np.float64)}, {}, ["float64", "float32"]),
        ({"x": X[:, :1]}, {}, ["[10, 1, 3]", "2,3"]),
        ({"x": X}, {"labels": "label"}, ["no array for the labels 'label'", "it holds 'x'"]),
        ({"x": X, "label": LABELS[:7]}, {"labels": "label"}, ["'x' has 10 samples, 'label' 7"]),
        ({"x": np.where(X == 33, np.nan, X)}, {}, ["NaN in 'x', sample 5"]),
        ({"x": X, "label": LABELS * np.nan}, {"labels": "label"}, ["NaN among the labels"]),
        ({"x": X[:0]}, {}, ["no data"]),
    ],
)
def test_data_that_do_not_fit(arrays: dict[str, Array], options: dict[str, str], words: list[str], tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(UserError) as caught:
        Dataset(Source(tmp_path / "d.npz", **options), model(), 4)  # type: ignore[arg-type]
    assert all(w in str(caught.value) for w in words)
    assert "d.npz" in caught.value.place


@pytest.mark.parametrize("name", ["d.npz", "d.npy", "d.safetensors", "d.csv", "d.parquet", "d.feather", "d.xyz", "none.npz", ""])
def test_files_that_are_no_data(name: str, tmp_path: Path) -> None:
    if name.startswith("d"):
        (tmp_path / name).write_bytes(b"\x93NUMPY\x01\x00 nonsense")
    with pytest.raises(UserError, match=r"not an? \.?\w+ file|no data|unknown kind"):
        data.read(tmp_path / name, model())


@pytest.mark.parametrize("form", FORMS[1:], ids=["npz", "compressed npz", "safetensors"])
def test_damaged_files_are_read_or_refused(form: Callable[[Path], Path], tmp_path: Path) -> None:
    whole, rng = form(tmp_path).read_bytes(), np.random.default_rng(0)
    file, refused = form(tmp_path), 0
    for _ in range(300):
        damaged = bytearray(whole[: rng.integers(len(whole)) if rng.random() < 0.2 else None])
        for at in rng.integers(0, max(1, len(damaged)), 3):
            damaged[at : at + 1] = bytes([rng.integers(256)])
        file.write_bytes(damaged)
        try:
            data.read(Source(file, labels="label"), model())
        except UserError:
            refused += 1
    assert refused > 50


def test_pickled_objects_are_never_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(UserError, match="objects"):
        data.read(tmp_path / "d.npz", model())


def test_a_fixed_batch_of_the_model_is_kept_to(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=X)
    fixed = model("float[5, 2, 3] x")
    assert [len(x) for x in fed(Source(tmp_path / "d.npz"), 5, fixed)] == [5, 5]
    for batch, limit, words in ((4, None, "batches of 5, not of 4"), (5, 7, "7 samples are no whole number")):
        with pytest.raises(UserError, match=words):
            Dataset(Source(tmp_path / "d.npz", limit=limit), fixed, batch)


def test_a_large_file_is_streamed(tmp_path: Path) -> None:
    header = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (100_000, 40, 50))  # 800 MB, holes on disk
    del header
    script = (
        "import re, sys\nfrom pathlib import Path\nimport onnx.parser\nfrom optc.compiler import load\n"
        "from optc.compiler.measure.data import Dataset, Source\n"
        'm = load.from_proto(onnx.parser.parse_model(\'<ir_version: 8, opset_import: ["" : 17]> g (float[N, 40, 50] x) => (y)'
        " { y = Identity(x) }'), 'm')\n"
        "peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1]) // 1024\nbefore = peak()\n"
        "print(sum(len(b.feeds['x']) for b in Dataset(Source(Path(sys.argv[1])), m, 64)), peak() - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "x.npy")], capture_output=True, text=True, check=True)
    samples, megabytes = map(int, done.stdout.split())
    assert samples == 100_000 and megabytes < 250


# images


def picture(file: Path, colour: tuple[int, int, int], size: tuple[int, int] = (8, 6)) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(file)


IMAGE_MODEL = "float[N, 3, 4, 4] x"


def test_images_in_class_folders(tmp_path: Path) -> None:
    for i, name in enumerate(("cat/a.png", "cat/b.png", "dog/c.png")):
        picture(tmp_path / name, (51 * i, 102, 255))
    source = Source(tmp_path, resize=(4,), crop=(4, 4), mean=(0.0, 0.4, 0.5), std=(1.0, 1.0, 0.5))
    (batch,) = Dataset(source, model(IMAGE_MODEL), 8)
    assert batch.feeds["x"].shape == (3, 3, 4, 4) and batch.labels is not None and batch.labels.tolist() == [0, 0, 1]
    assert batch.feeds["x"][:, :, 0, 0] == pytest.approx(np.array([[0.2 * i, 0, 1] for i in range(3)]), abs=1e-6)
    assert [f["x"].shape for f in data.read(source, model(IMAGE_MODEL))] == [(1, 3, 4, 4)] * 3


def test_images_are_the_same_wherever_they_lie(tmp_path: Path) -> None:
    digests = []
    for folder, colour in (("a", 10), ("b", 10), ("c", 20)):
        picture(tmp_path / folder / "x.png", (colour, 20, 30), (4, 4))
        digests.append(Dataset(Source(tmp_path / folder, scale=1.0), model(IMAGE_MODEL), 8).digest)
    assert digests[0] == digests[1] != digests[2]


def test_layout_channels_and_scale_are_declared(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", (10, 20, 30), (4, 4))
    (nhwc,) = fed(Source(tmp_path, layout="NHWC", channels="BGR", scale=1.0), 1, model("uint8[N, 4, 4, 3] x"))
    assert nhwc.dtype == np.uint8 and nhwc[0, 0, 0].tolist() == [30, 20, 10]
    (grey,) = fed(Source(tmp_path, channels="L", scale=1.0), 1, model("float[N, 1, 4, 4] x"))
    assert grey.shape == (1, 1, 4, 4) and grey[0, 0, 0, 0] == round(0.299 * 10 + 0.587 * 20 + 0.114 * 30)


def test_resizing_keeps_or_sets_the_shape(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", (0, 0, 0), (80, 60))
    free = model("float[N, 3, H, W] x")
    assert fed(Source(tmp_path, resize=(30,)), 1, free)[0].shape[2:] == (30, 40)
    assert fed(Source(tmp_path, resize=(12, 34)), 1, free)[0].shape[2:] == (12, 34)
    assert fed(Source(tmp_path, crop=(10, 20)), 1, free)[0].shape[2:] == (10, 20)


def test_labels_of_a_table(tmp_path: Path) -> None:
    for name in "ab":
        picture(tmp_path / f"{name}.png", (0, 0, 0), (4, 4))
    (tmp_path / "labels.csv").write_text("file,label,age\nb.png,yes,7\na.png,no,3\n")
    for column, expected in (("", [1, 0]), ("age", [7, 3])):
        (batch,) = Dataset(Source(tmp_path, labels=column), model(IMAGE_MODEL), 2)
        assert batch.labels is not None and batch.labels.tolist() == expected


@pytest.mark.parametrize(
    ("files", "options", "words"),
    [
        ({"a.png": None}, {}, "not an image"),
        ({"a.png": (8, 8)}, {}, "shape"),
        ({"a.png": (2, 2)}, {"crop": (4, 4)}, "the crop 4x4"),
        ({"a.png": (4, 4), "c/b.png": (4, 4)}, {}, "some beside them"),
    ],
)
def test_images_that_do_not_fit(
    files: dict[str, tuple[int, int] | None], options: dict[str, object], words: str, tmp_path: Path
) -> None:
    for name, size in files.items():
        if size is None:
            (tmp_path / name).write_bytes(b"nothing")
        else:
            picture(tmp_path / name, (0, 0, 0), size)
    with pytest.raises(UserError, match=words):
        Dataset(Source(tmp_path, **options), model(IMAGE_MODEL), 1)  # type: ignore[arg-type]


def test_missing_columns_and_files_of_a_table(tmp_path: Path) -> None:
    for table, words in (
        ("file,klass\na.png,1\n", "no column 'label'"),
        ("file,label\na.png,1\n", "'a.png', which is not there"),
    ):
        (tmp_path / "labels.csv").write_text(table)
        with pytest.raises(UserError, match=words):
            Dataset(Source(tmp_path), model(IMAGE_MODEL), 1)


# the table of a recipe


def test_a_recipe_declares_its_data() -> None:
    text = 'data = "d.npz"\n'
    assert Recipe.parse(text).data == Source(Path("d.npz"))
    table = '[data]\npath = "photos"\nresize = 256\ncrop = [224, 224]\nmean = [0.5]\nchannels = "BGR"\nlimit = 100\n'
    recipe = Recipe.parse(table)
    assert recipe.data == Source(Path("photos"), resize=(256,), crop=(224, 224), mean=(0.5,), channels="BGR", limit=100)
    for each in (Recipe.parse(text), recipe):
        assert Recipe.parse(each.to_toml()) == each


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("data = 3", "a path or a table"),
        ('[data]\npath = "d"\nlimt = 3', "did you mean 'limit'"),
        ("[data]\nlimit = 3", "needs the option 'path'"),
        ('[data]\npath = "d"\nmean = [1, 2]', "mean needs 1 or 3 numbers"),
        ('[data]\npath = "d"\nstd = 0', "std must not be 0"),
        ('[data]\npath = "d"\nlayout = "CHW"', "one of NCHW, NHWC"),
        ('[data]\npath = "d"\ncrop = [0, 4]', "positive sizes"),
        ('[data]\npath = "d"\nlimit = 0', "limit is 0"),
    ],
)
def test_mistakes_in_the_table(table: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        Recipe.parse(table)
    assert words in str(caught.value)
