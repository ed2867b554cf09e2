"""Texts become token numbers by a tokenizer.json that lies beside them; what does not fit is said with its row."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser
import pyarrow as pa
import pyarrow.parquet
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from optc.compiler import ir, load
from optc.compiler.diagnostics import UserError
from optc.compiler.measure.data import Dataset, Source
from optc.compiler.recipe import Recipe

TEXTS = ["good film", "bad", "a very very good film", "bad film"]
LABELS = [1, 0, 1, 0]
VOCABULARY = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "a": 4, "bad": 5, "film": 6, "good": 7, "very": 8}
BERT = "int64[N, L] input_ids, int64[N, L] attention_mask, int64[N, L] token_type_ids"
IDS = [[2, 7, 6, 3], [2, 5, 3], [2, 4, 8, 8, 7, 6, 3], [2, 5, 6, 3]]


def model(inputs: str = BERT) -> ir.Model:
    first = inputs.split()[-1]
    text = f'<ir_version: 8, opset_import: ["" : 17]> g ({inputs}) => (y) {{ y = Identity({first}) }}'
    return load.from_proto(onnx.parser.parse_model(text), "model")


def save_tokenizer(file: Path, special: bool = True, pad: str = "[PAD]") -> str:
    vocabulary = {pad if word == "[PAD]" else word: number for word, number in VOCABULARY.items()}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if special:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    tokenizer.save(str(file))
    return str(file)


@pytest.fixture
def tokenizer(tmp_path: Path) -> str:
    return save_tokenizer(tmp_path / "tokenizer.json")


def parquet(folder: Path) -> Path:
    pyarrow.parquet.write_table(pa.table({"text": TEXTS, "label": LABELS, "n": [1.5] * 4}), folder / "d.parquet")
    return folder / "d.parquet"


def jsonl(folder: Path) -> Path:
    rows = [{"text": t, "label": n, "note": None} for t, n in zip(TEXTS, LABELS, strict=True)]
    (folder / "d.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder / "d.jsonl"


def csv(folder: Path) -> Path:
    (folder / "d.csv").write_text("label,text\n" + "".join(f'{n},"{t}"\n' for t, n in zip(TEXTS, LABELS, strict=True)))
    return folder / "d.csv"


def tsv(folder: Path) -> Path:
    (folder / "d.tsv").write_text("text\tlabel\r\n" + "".join(f"{t}\t{n}\r\n" for t, n in zip(TEXTS, LABELS, strict=True)))
    return folder / "d.tsv"


@pytest.mark.parametrize("write", [parquet, jsonl, csv, tsv])
def test_every_file_of_texts_gives_the_same_tokens_labels_and_digest(write: Any, tokenizer: str, tmp_path: Path) -> None:
    source = Source(write(tmp_path), labels="label", slice="label", tokenizer=tokenizer)
    found = Dataset(source, model(), 3)
    first, second = found
    assert first.feeds["input_ids"].tolist() == [row + [0] * (7 - len(row)) for row in IDS[:3]]  # padded to the longest
    assert first.feeds["attention_mask"].tolist() == [[1] * len(row) + [0] * (7 - len(row)) for row in IDS[:3]]
    assert first.feeds["token_type_ids"].tolist() == [[0] * 7] * 3
    assert second.feeds["input_ids"].tolist() == IDS[3:] and {a.dtype for a in second.feeds.values()} == {np.dtype(np.int64)}
    assert first.labels is not None and first.labels.tolist() == LABELS[:3] and first.labels.dtype == np.int64
    assert first.slices is not None and first.slices.tolist() == ["1", "0", "1"]
    again = Source(parquet(tmp_path), labels="label", slice="label", tokenizer=tokenizer)
    assert found.digest == Dataset(again, model(), 2).digest


def test_a_text_a_line(tokenizer: str, tmp_path: Path) -> None:
    (tmp_path / "d.txt").write_text("\n".join(TEXTS) + "\n")
    found = Dataset(Source(tmp_path / "d.txt", tokenizer=tokenizer), model(), 1)
    assert [b.feeds["input_ids"].tolist() for b in found] == [[row] for row in IDS]
    assert [b.labels for b in found] == [None] * 4


def test_many_texts_come_in_pieces(tokenizer: str, tmp_path: Path) -> None:
    (tmp_path / "d.txt").write_text("".join(f"{TEXTS[i % 4]}\n" for i in range(3000)))
    found = Dataset(Source(tmp_path / "d.txt", tokenizer=tokenizer, limit=1700), model(), 7)
    picked = np.sort(np.random.default_rng(0).choice(3000, 1700, replace=False))
    masks = [int(row.sum()) for b in found for row in b.feeds["attention_mask"]]
    assert masks == [len(IDS[i % 4]) for i in picked]


def test_the_inputs_say_where_tokens_go_and_how_many(tokenizer: str, tmp_path: Path) -> None:
    source = Source(csv(tmp_path), tokenizer=tokenizer, limit=4)
    (batch,) = Dataset(source, model("int32[N, L] words"), 4)
    assert batch.feeds["words"].dtype == np.int32 and batch.feeds["words"][1].tolist() == [2, 5, 3, 0, 0, 0, 0]
    (fixed,) = Dataset(source, model("int64[N, 9] input_ids, float[N, 9] attention_mask"), 4)
    assert fixed.feeds["input_ids"].shape == (4, 9) and fixed.feeds["attention_mask"].dtype == np.float32
    (cut,) = Dataset(Source(source.path, tokenizer=tokenizer, max_length=4), model("int64[N, 4] input_ids"), 4)
    assert cut.feeds["input_ids"][2].tolist() == [2, 4, 8, 3]  # the closing token is kept


def test_the_tokenizers_own_padding_is_kept(tmp_path: Path) -> None:
    left = Tokenizer.from_file(save_tokenizer(tmp_path / "t.json"))
    left.enable_padding(direction="left", pad_id=8, pad_token="very", length=32)
    left.save(str(tmp_path / "left.json"))
    (batch,) = Dataset(Source(csv(tmp_path), tokenizer=str(tmp_path / "left.json")), model(), 4)
    assert batch.feeds["input_ids"][1].tolist() == [8, 8, 8, 8, 2, 5, 3]


def test_another_tokenizer_is_another_digest(tokenizer: str, tmp_path: Path) -> None:
    other = save_tokenizer(tmp_path / "other.json", special=False)
    digests = {
        Dataset(Source(csv(tmp_path), tokenizer=t, max_length=n), model(), 4).digest
        for t, n in ((tokenizer, 0), (tokenizer, 4), (other, 0))
    }
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("d.csv", "label,text\n1,good,film\n", ["3 cells under a header of 2", "line 2"]),
        ("d.csv", "text,text\na,b\n", ["two columns have one name"]),
        ("d.csv", 'text\n"a"b\n', ["not a .csv file"]),
        ("d.csv", "review\ngood film\n", ["no column of texts 'text'", "known: review"]),
        ("d.csv", "text\n1\n2\n", ["column 'text' is int64, not text"]),
        ("d.csv", "text\n", ["no data"]),
        ("d.csv", "", ["no data"]),
        ("d.txt", "", ["no data"]),
        ("d.txt", b"good\n\xff\xfe\n", ["not a .txt file", "save it as UTF-8"]),
        ("d.jsonl", '{"text": "good"}\n{"text": \n', ["not JSON", "line 2"]),
        ("d.jsonl", '["good"]\n', ["not a JSON object", "line 1"]),
        ("d.jsonl", '{"text": "good"}\n{"tex": "bad"}\n', ["column 'text' has no value", "row 1"]),
        ("d.jsonl", '{"text": "good"}\n{"text": 3}\n', ["holds a whole number here, text before", "row 1"]),
        ("d.jsonl", f'{{"text": {2**64}}}\n', ["column 'text' holds no array", "row 0"]),
        ("d.jsonl", '{"text": {}}\n', ["column 'text' holds no array", "row 0"]),
    ],
)
def test_files_that_hold_no_texts(name: str, content: str | bytes, words: list[str], tokenizer: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as caught:
        Dataset(Source(tmp_path / name, tokenizer=tokenizer), model(), 4)
    assert all(w in str(caught.value) for w in words), str(caught.value)
    assert name in caught.value.place


def test_labels_of_lists_are_arrays_and_ragged_ones_are_refused(tokenizer: str, tmp_path: Path) -> None:
    def labelled(*labels: list[Any]) -> Source:
        rows = [json.dumps({"text": "bad", "label": label}) for label in labels]
        (tmp_path / "d.jsonl").write_text("\n".join(rows))
        return Source(tmp_path / "d.jsonl", tokenizer=tokenizer, labels="label")

    (batch,) = Dataset(labelled([1, 2], [3, -1]), model(), 4)
    assert batch.labels is not None and batch.labels.tolist() == [[1, 2], [3, -1]]
    for labels, words in ((([1, 2], [3]), "pad the rows"), (([1], ["a"]), "not of numbers"), (([[1], [2, 3]],), "ragged")):
        with pytest.raises(UserError, match=words):
            Dataset(labelled(*labels), model(), 4)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ("int64[N, L] input_ids, int64[N, L] position_ids", "'position_ids'"),
        ("float[N, L] x", "input 'x' is FLOAT"),
        ("int64[N] x", "whole numbers of shape"),
        ("int64[N, 4] input_ids, int64[N, 5] attention_mask", "other lengths"),
        ("int64[N, L] attention_mask, int64[N, L] token_type_ids", "no input_ids"),
        ("int64[N, 6] input_ids", "the text has 7 tokens, the model takes 6"),
    ],
)
def test_models_that_take_no_such_tokens(inputs: str, words: str, tokenizer: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words.replace("[", r"\[")) as caught:
        Dataset(Source(csv(tmp_path), tokenizer=tokenizer), model(inputs), 4)
    assert "7 tokens" not in words or (caught.value.place.endswith("row 2") and "max-length = 6" in caught.value.hint)


def test_tokenizers_that_are_none(tmp_path: Path) -> None:
    for name, content in (("a.json", "{}"), ("b.json", "not JSON"), ("c.json", "\xff")):
        (tmp_path / name).write_bytes(content.encode("latin-1"))
        with pytest.raises(UserError, match=r"not a tokenizer.json") as caught:
            Dataset(Source(csv(tmp_path), tokenizer=str(tmp_path / name)), model(), 4)
        assert name in caught.value.place
    with pytest.raises(UserError, match="no such tokenizer"):
        Dataset(Source(csv(tmp_path), tokenizer="bert-base-uncased"), model(), 4)


def test_padding_needs_a_token_or_a_mask(tmp_path: Path) -> None:
    bare = save_tokenizer(tmp_path / "bare.json", special=False, pad="nothing")
    (batch,) = Dataset(Source(csv(tmp_path), tokenizer=bare), model(), 4)
    assert batch.feeds["attention_mask"][1].tolist() == [1, 0, 0, 0, 0]
    assert len(list(Dataset(Source(csv(tmp_path), tokenizer=bare), model("int64[N, L] x"), 1))) == 4
    with pytest.raises(UserError, match="need a padding token"):
        Dataset(Source(csv(tmp_path), tokenizer=bare), model("int64[N, L] x"), 4)
    (tmp_path / "d.txt").write_text("good\n\nbad\n")
    with pytest.raises(UserError, match="no tokens") as caught:
        Dataset(Source(tmp_path / "d.txt", tokenizer=bare), model(), 4)
    assert caught.value.place.endswith("row 1")


def test_without_the_library_it_is_named(tokenizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(UserError, match=r"optc\[text\]"):
        Dataset(Source(csv(tmp_path), tokenizer=tokenizer), model(), 4)


def test_texts_without_a_tokenizer_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="tokenizer"):
        Dataset(Source(csv(tmp_path)), model(), 4)


def test_a_recipe_declares_its_texts() -> None:
    recipe = Recipe.parse('[data]\npath = "d.csv"\ntokenizer = "tokenizer.json"\ntext = "review"\nmax-length = 128\n')
    assert recipe.data == Source(Path("d.csv"), tokenizer="tokenizer.json", text="review", max_length=128)
    assert Recipe.parse(recipe.to_toml()) == recipe
    with pytest.raises(UserError, match="max-length is -1"):
        Recipe.parse('[data]\npath = "d"\nmax-length = -1\n')


@pytest.mark.skipif("OPTC_TOKENIZER" not in os.environ, reason="OPTC_TOKENIZER: the tokenizer.json of a BERT model")
def test_a_real_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "d.txt").write_text("Hello, world!\nunbelievable\n")
    (batch,) = Dataset(Source(tmp_path / "d.txt", tokenizer=os.environ["OPTC_TOKENIZER"]), model(), 4)
    assert batch.feeds["input_ids"].tolist() == [[101, 7592, 1010, 2088, 999, 102], [101, 23653, 102, 0, 0, 0]]
