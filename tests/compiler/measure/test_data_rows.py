"""Parquet and Arrow files: columns become inputs, in pieces; what does not fit is said with its column and row."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest

from optc.compiler import ir, load
from optc.compiler.diagnostics import UserError
from optc.compiler.measure import data
from optc.compiler.measure.data import Dataset, Source
from optc.compiler.numerics import Array

N = 10
X = np.arange(N * 6, dtype=np.float32).reshape(N, 2, 3)
LABELS = np.arange(N) % 4
NAMES = [f"class {i}" for i in LABELS]


def model(inputs: str = "float[N, 2, 3] x") -> ir.Model:
    text = f'<ir_version: 8, opset_import: ["" : 17]> g ({inputs}) => (y) {{ y = Identity({inputs.split()[-1]}) }}'
    return load.from_proto(onnx.parser.parse_model(text), "model")


def flat(x: Array) -> Any:
    return pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), x[0].size)


def table(**columns: Any) -> Any:
    return pa.table({name: c if isinstance(c, pa.Array) else pa.array(c) for name, c in columns.items()})


def parquet(file: Path, content: Any) -> Path:
    pyarrow.parquet.write_table(content, file.with_suffix(".parquet"), row_group_size=4)
    return file.with_suffix(".parquet")


def feather(file: Path, content: Any) -> Path:
    pyarrow.feather.write_feather(content, str(file.with_suffix(".feather")), chunksize=3)
    return file.with_suffix(".feather")


def arrow_file(file: Path, content: Any) -> Path:
    with pa.ipc.new_file(str(file.with_suffix(".arrow")), content.schema) as writer:
        writer.write_table(content)
    return file.with_suffix(".arrow")


def arrow_stream(file: Path, content: Any) -> Path:
    with pa.ipc.new_stream(str(file.with_suffix(".arrow")), content.schema) as writer:
        writer.write_table(content, max_chunksize=3)
    return file.with_suffix(".arrow")


WRITERS = [parquet, feather, arrow_file, arrow_stream]
Writer = Callable[[Path, Any], Path]


def collected(source: Source, batch: int, of: ir.Model | None = None, name: str = "x") -> Array:
    return np.concatenate([b.feeds[name] for b in Dataset(source, of or model(), batch)])


@pytest.mark.parametrize("write", WRITERS)
def test_every_format_gives_the_same_batches_labels_slices_and_digest(write: Writer, tmp_path: Path) -> None:
    content = table(id=list(range(N)), x=X.tolist(), label=LABELS, kind=NAMES).cast(
        pa.schema([("id", pa.int64()), ("x", pa.list_(pa.list_(pa.float32()))), ("label", pa.int64()), ("kind", pa.string())])
    )
    source = Source(write(tmp_path / "d", content), labels="label", slice="kind")
    found = Dataset(source, model(), 4)
    batches = list(found)
    assert [len(b.feeds["x"]) for b in batches] == [4, 4, 2]
    assert np.array_equal(np.concatenate([b.feeds["x"] for b in batches]), X)
    assert [i for b in batches if b.labels is not None for i in b.labels] == LABELS.tolist()
    assert [s for b in batches if b.slices is not None for s in b.slices] == NAMES
    assert (found.samples, found.seen.low, found.seen.high, found.seen.whole) == (N, 0, 3, True)
    again = Dataset(Source(parquet(tmp_path / "again", content), labels="label", slice="kind"), model(), 3)
    assert found.digest == again.digest
    changed = table(x=flat(np.where(X == 33, 34, X)), label=LABELS, kind=NAMES)
    assert found.digest != Dataset(Source(parquet(tmp_path / "no", changed), labels="label", slice="kind"), model(), 3).digest


@pytest.mark.parametrize("write", WRITERS)
def test_drawn_rows_are_the_same_in_every_format(write: Writer, tmp_path: Path) -> None:
    source = Source(write(tmp_path / "d", table(x=flat(X))), limit=4, seed=1)
    picked = np.sort(np.random.default_rng(1).choice(N, 4, replace=False))
    assert np.array_equal(collected(source, 3), X[picked])


@pytest.mark.parametrize(
    ("column", "inputs", "shape"),
    [
        (flat(X), "float[N, 2, 3] x", (N, 2, 3)),  # flat, the input's shape is known
        (pa.array(X.reshape(N, 6).tolist(), pa.list_(pa.float32())), "float[N, 2, 3] x", (N, 2, 3)),
        (pa.array(X.tolist(), pa.list_(pa.list_(pa.float32()))), "float[N, 1, 2, 3] x", (N, 1, 2, 3)),  # axes of size 1
        (pa.array(X.tolist(), pa.large_list(pa.list_(pa.float32(), 3))), "float[N, H, W] x", (N, 2, 3)),
        (flat(X), "float[N, L] x", (N, 6)),
        (pa.array(X[:, 0, 0]), "float[N] x", (N,)),
        (pa.array(X[:, 0, 0]), "float[N, 1] x", (N, 1)),
        (pa.array(X[:, 0, 0].astype(np.float16)), "float[N] x", (N,)),  # exactly the same numbers, wider
        (pa.array(LABELS.astype(np.uint8)), "int64[N] x", (N,)),
        (pa.array(LABELS > 1), "bool[N] x", (N,)),
        (pa.array(NAMES), "string[N, 1] x", (N, 1)),
        (pa.array(NAMES).dictionary_encode(), "string[N] x", (N,)),
    ],
)
def test_columns_take_the_shape_of_their_input(column: Any, inputs: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    of = model(inputs)
    dtype = of.graph.inputs[0].dtype
    array = collected(Source(parquet(tmp_path / "d", table(x=column))), 4, of)
    assert array.shape == shape and dtype is not None and array.dtype == dtype.numpy()
    assert array.ravel().tolist() == np.array(column.to_pylist()).ravel().tolist()


def test_rows_of_other_lengths_are_fed_one_at_a_time(tmp_path: Path) -> None:
    rows = [np.arange(n, dtype=np.float32).tolist() for n in (2, 2, 5, 1)]
    file = parquet(tmp_path / "d", table(x=pa.array(rows, pa.list_(pa.float32()))))
    assert [b["x"].tolist()[0] for b in data.read(file, model("float[N, L] x"))] == rows
    with pytest.raises(UserError, match=r"holds \[5\] values, \[2\] in row 0") as caught:
        Dataset(Source(file), model("float[N, L] x"), 4)
    assert caught.value.place.endswith("d.parquet, row 2") and "--batch 1" in caught.value.hint


def test_text_labels_stay_text(tmp_path: Path) -> None:
    found = Dataset(Source(parquet(tmp_path / "d", table(x=flat(X), said=NAMES)), labels="said"), model(), 4)
    assert [s for b in found if b.labels is not None for s in b.labels] == NAMES
    assert (found.seen.low, found.seen.high) == (None, None)
    other = parquet(tmp_path / "e", table(x=flat(X), said=[*NAMES[:-1], "else"]))
    assert found.digest != Dataset(Source(other, labels="said"), model(), 4).digest


def test_a_folder_of_files_is_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    for i in range(3):
        parquet(tmp_path / f"{i}", table(x=flat(X[3 * i : 3 * i + 3])))
    (tmp_path / "README.txt").write_text("what this is")
    assert np.array_equal(collected(Source(tmp_path), 2), X[:9])
    np.savez(tmp_path / "d.npz", x=X)
    with pytest.raises(UserError, match="data of two kinds: arrays and rows"):
        Dataset(Source(tmp_path), model(), 2)


def nan(at: int) -> Array:
    return np.where(at == X, np.nan, X)


@pytest.mark.parametrize(
    ("columns", "options", "words"),
    [
        ({"z": flat(X)}, {}, ["no column for input 'x'", "known: z"]),
        ({"text": NAMES}, {}, ["no column for input 'x'", "tokenizer"]),
        ({"x": flat(X)}, {"labels": "label"}, ["no column for the labels 'label'"]),
        ({"x": flat(X.astype(np.float64))}, {}, ["float64", "float32", "column 'x'"]),
        ({"x": flat(X.astype(np.uint8))}, {}, ["uint8", "float32"]),
        ({"x": flat(X[:, :1].copy())}, {}, ["[4, 3]", "column 'x'"]),
        ({"x": pa.array(X.reshape(N, 3, 2).tolist(), pa.list_(pa.list_(pa.float32())))}, {}, ["[4, 3, 2]"]),
        ({"x": flat(nan(33))}, {}, ["NaN in column 'x'", "d.parquet, row 5"]),
        ({"x": flat(X), "label": LABELS * np.nan}, {"labels": "label"}, ["NaN in column 'label'", "row 0"]),
        ({"x": pa.array([None if i == 7 else r.ravel() for i, r in enumerate(X)])}, {}, ["column 'x' has no value", "row 7"]),
        ({"x": pa.array([[0.0, None]] * 3, pa.list_(pa.float32()))}, {}, ["column 'x' has no value", "row 0"]),
        ({"x": pa.array([[[1.0], [2.0, 3.0]]] * 3)}, {}, ["lists of other lengths in one row", "row 0"]),
        ({"x": pa.array([{"a": 1}] * 3)}, {}, ["is of type struct"]),
        ({"x": pa.array([0] * 3, pa.timestamp("s"))}, {}, ["is of type timestamp"]),
        ({"x": NAMES}, {}, ["is text", "float32"]),
        ({"x": pa.array([], pa.list_(pa.float32()))}, {}, ["no data"]),
    ],
)
def test_columns_that_do_not_fit(columns: dict[str, Any], options: dict[str, str], words: list[str], tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        Dataset(Source(parquet(tmp_path / "d", table(**columns)), **options), model(), 4)  # type: ignore[arg-type]
    assert all(w in str(caught.value) for w in words), str(caught.value)
    assert "d.parquet" in caught.value.place


@pytest.mark.parametrize("write", WRITERS)
def test_damaged_files_are_read_or_refused(write: Writer, tmp_path: Path) -> None:
    nested = pa.array(X.tolist(), pa.list_(pa.list_(pa.float32())))
    file = write(tmp_path / "d", table(x=nested, label=LABELS, kind=NAMES))
    whole, rng, refused = file.read_bytes(), np.random.default_rng(0), 0
    for i in range(120):
        damaged = bytearray(whole[: rng.integers(len(whole))] if i % 2 else whole)
        for at in rng.integers(0, max(1, len(damaged)), 3 * (i % 2 == 0)):
            damaged[at] = rng.integers(256)
        file.write_bytes(damaged)
        try:
            list(Dataset(Source(file, labels="label", slice="kind"), model(), 4))
        except UserError as error:
            refused += "d." in error.place
    assert refused > 60


def test_without_the_library_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = parquet(tmp_path / "d", table(x=flat(X)))
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UserError, match=r"optc\[parquet\]"):
        Dataset(Source(file), model(), 4)


SCRIPT = r"""
import re, sys
from pathlib import Path
import onnx.parser, pyarrow.parquet, pyarrow.ipc
from optc.compiler import load
from optc.compiler.measure.data import Dataset, Source
text = '<ir_version: 8, opset_import: ["" : 17]> g (float[N, 1000] x) => (y) { y = Identity(x) }'
m = load.from_proto(onnx.parser.parse_model(text), "m")
peak = lambda: int(re.search(r'VmHWM:\s+(\d+)', Path('/proc/self/status').read_text())[1]) // 1024
before = peak()
print(sum(len(b.feeds["x"]) for b in Dataset(Source(Path(sys.argv[1])), m, 64)), peak() - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["parquet", "parquet of one row group", "arrow of one record batch", "stream"])
def test_a_large_file_is_streamed(kind: str, tmp_path: Path) -> None:
    rows = 75_000  # 300 MB of noise, which no codec makes small
    values = np.random.default_rng(0).random(rows * 1000, dtype=np.float32)
    content = pa.table({"x": pa.FixedSizeListArray.from_arrays(pa.array(values), 1000)})
    file = tmp_path / ("d.parquet" if "parquet" in kind else "d.arrow")
    if "parquet" in kind:
        pyarrow.parquet.write_table(content, file, row_group_size=rows if "one" in kind else 5000)
    else:
        write = pa.ipc.new_stream if kind == "stream" else pa.ipc.new_file
        with write(str(file), content.schema) as writer:
            writer.write_table(content, max_chunksize=5000 if kind == "stream" else None)
    assert file.stat().st_size > 250_000_000
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(file)], capture_output=True, text=True, check=True)
    samples, megabytes = map(int, done.stdout.split())
    assert samples == rows and megabytes < 100
