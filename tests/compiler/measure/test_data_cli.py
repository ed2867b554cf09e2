"""`optc check` and `optc compile` on data of every kind, as somebody types it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pyarrow as pa
import pyarrow.parquet
import pytest
import soundfile
from tokenizers import Tokenizer, models, pre_tokenizers

from optc.compiler import cli, load
from optc.compiler.measure.data import Source
from optc.compiler.recipe import Recipe
from optc.compiler.reference import Reference

FASHION = Path(__file__).parents[2] / "models" / "fashion_cnn.onnx"
N = 300


def optc(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    with pytest.raises(SystemExit) as left:
        cli.main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return int(left.value.code or 0), out, err


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images as Parquet, labelled by what the model itself says of them, but for one in ten."""
    x = np.random.default_rng(0).random((N, 1, 28, 28), dtype=np.float32)
    (output,) = Reference(load.load(FASHION)).run({"x": x}).values()
    label = np.where(np.arange(N) % 10 == 0, (output.argmax(1) + 1) % 10, output.argmax(1))
    file = tmp_path_factory.mktemp("images") / "x.parquet"
    kind = ["shoe" if i % 2 else "shirt" for i in range(N)]
    columns = {"id": np.arange(N), "x": x.reshape(N, -1).tolist(), "label": label, "kind": kind}
    kinds = pa.schema([("id", pa.int64()), ("x", pa.list_(pa.float32())), ("label", pa.int64()), ("kind", pa.string())])
    pyarrow.parquet.write_table(pa.table(columns, kinds), file, row_group_size=64)
    return file


def test_parquet(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("check", FASHION, FASHION, "--data", images, "--labels", "label", "--slice", "kind", "--metric", "top1")
    code, out, err = optc(capsys, *asked, "--max-drop", "top1=5%", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert (told["samples"], told["holds"], told["metrics"][0]["source"]) == (N, True, 0.9)
    assert {s["name"] for s in told["metrics"][0]["slices"]} == {"shoe", "shirt"}
    code, out, err = optc(capsys, *asked, "--batch", "7", "--json")
    assert json.loads(out)["data"] == told["data"]  # the same samples, however they are batched


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "it needs labels, the data have none"),
        (("--labels", "lable"), "did you mean 'label'?"),
        (("--labels", "kind"), "'top1' does not fit"),
        (("--labels", "label", "--slice", "colour"), "no column for the slices 'colour'"),
    ],
)
def test_mistakes(options: tuple[str, ...], words: str, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = optc(capsys, "check", FASHION, FASHION, "--data", images, "--metric", "top1", *options)
    assert code == 2 and words in err


def test_compiling_on_parquet(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("compile", FASHION, "-o", tmp_path / "out.optc", "--target", "onnxruntime", "--no-cache", "--json")
    code, out, err = optc(capsys, *asked, "--data", images, "--labels", "label", "--max-drop", "top1=5%")
    assert code == 0, err
    assert json.loads(out)["budgets"][0]["name"].endswith("top1")
    code, _, err = optc(capsys, "check", FASHION, tmp_path / "out.optc", "--data", images, "--limit", "20", "--labels", "label")
    assert code == 0, err


def save(file: Path, inputs: str, body: str) -> Path:
    text = f'<ir_version: 8, opset_import: ["" : 17]> g ({inputs}) => (float[N, L] y) {{ {body} }}'
    onnx.save(onnx.parser.parse_model(text), str(file))
    return file


def test_texts_by_a_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tokenizer = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "good": 2, "film": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save("tokenizer.json")
    Path("d.csv").write_text("text,label\ngood film,1\nbad,0\na good film,1\n")
    body = "m = Mul (input_ids, attention_mask) y = Cast <to = 1> (m)"
    of = save(tmp_path / "m.onnx", "int64[N, L] input_ids, int64[N, L] attention_mask", body)
    asked = ("check", of, of, "--metric", "relative-l2", "--json")
    Path("r.toml").write_text('[data]\npath = "d.csv"\nlabels = "label"\ntokenizer = "tokenizer.json"\n')
    code, out, err = optc(capsys, *asked, "--recipe", "r.toml")
    assert code == 0 and json.loads(out)["samples"] == 3, err
    code, _, err = optc(capsys, *asked, "--data", "d.csv")
    assert code == 2 and "of texts tokens are made" in err


@pytest.mark.usefixtures("short_races")
def test_the_paths_of_a_recipe_are_relative_to_its_file_and_a_bundles_recipe_works_anywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab, elsewhere = tmp_path / "lab", tmp_path / "elsewhere"
    (lab / "data").mkdir(parents=True)
    elsewhere.mkdir()
    x = np.random.default_rng(0).random((200, 1, 28, 28), np.float32)
    np.savez(lab / "data" / "d.npz", x=x)
    data = '[data]\npath = "data/d.npz"\n[target]\nname = "onnxruntime"\n[budgets]\nmetrics = ["relative-l2"]\n'
    (lab / "r.toml").write_text(f'{data}[[pass]]\nname = "quantize-weights"\n')
    monkeypatch.chdir(tmp_path)
    code, _, err = optc(capsys, "compile", FASHION, "-o", "a.optc", "--recipe", "lab/r.toml", "--no-cache")
    assert code == 0, err
    monkeypatch.chdir(elsewhere)
    replay = ("--recipe", "../a.optc/recipe.toml", "--decisions", "../a.optc/decisions.json", "--no-cache")
    code, _, err = optc(capsys, "compile", FASHION, "-o", "b.optc", *replay)
    assert code == 0, err
    for name in ("recipe.toml", "measurements.json"):
        assert (tmp_path / "a.optc" / name).read_bytes() == (elsewhere / "b.optc" / name).read_bytes()
    code, out, err = optc(capsys, "check", FASHION, "b.optc", "--recipe", "../lab/r.toml", "--metric", "agreement", "--json")
    assert code == 0 and json.loads(out)["samples"] == 200, err


def test_a_tokenizer_is_relative_to_the_recipe_too(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text('[data]\npath = "/d.csv"\ntokenizer = "t.json"\n')
    data = Recipe.read(tmp_path / "r.toml").data
    assert data is not None and data.files == (Path("/d.csv"), tmp_path / "t.json")
    assert Recipe.parse('[data]\npath = "d.csv"\ntokenizer = "t.json"\n').absolute().data == Source(
        Path.cwd() / "d.csv", tokenizer=str(Path.cwd() / "t.json")
    )


def test_sounds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "s").mkdir()
    for i in range(4):
        soundfile.write(tmp_path / "s" / f"{i}.wav", np.random.default_rng(i).uniform(-1, 1, 100), 8000)
    of = save(tmp_path / "m.onnx", "float[N, L] x", "y = Relu (x)")
    asked: tuple[Any, ...] = ("check", of, of, "--metric", "relative-l2", "--json")
    code, out, err = optc(capsys, *asked, "--data", tmp_path / "s")
    assert code == 0 and json.loads(out)["samples"] == 4, err
    (tmp_path / "s" / "4.wav").write_bytes(b"RIFF")
    code, _, err = optc(capsys, *asked, "--data", tmp_path / "s")
    assert code == 2 and "not a sound" in err and "4.wav" in err
