"""Sounds in folders: read, resampled, cut; what is no sound that the model can take is refused with its file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser
import pytest
import soundfile

from optc.compiler import ir, load
from optc.compiler.diagnostics import UserError
from optc.compiler.measure.data import Dataset, Source
from optc.compiler.numerics import Array
from optc.compiler.recipe import Recipe

RATE = 8000


def model(inputs: str = "float[N, L] x") -> ir.Model:
    text = f'<ir_version: 8, opset_import: ["" : 17]> g ({inputs}) => (y) {{ y = Identity(x) }}'
    return load.from_proto(onnx.parser.parse_model(text), "model")


def tone(length: int, hertz: float = 440, rate: int = RATE) -> Array:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(length) / rate)).astype(np.float32)


def save(file: Path, values: Array, rate: int = RATE, subtype: str = "FLOAT") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(file, values, rate, subtype)
    return file


def fed(source: Source, of: ir.Model | None = None, batch: int = 4) -> Array:
    return np.concatenate([b.feeds["x"] for b in Dataset(source, of or model(), batch)])


def test_sounds_in_class_folders_are_padded_or_cut_to_the_models_length(tmp_path: Path) -> None:
    for name, length in (("no/a.wav", 50), ("no/b.wav", 100), ("yes/c.wav", 130)):
        save(tmp_path / name, tone(length))
    (batch,) = Dataset(Source(tmp_path, slice="class"), model("float[N, 1, 100] x"), 4)
    x = batch.feeds["x"]
    assert x.shape == (3, 1, 100) and x.dtype == np.float32
    assert np.array_equal(x[0, 0], np.pad(tone(50), (0, 50))) and np.array_equal(x[2, 0], tone(130)[:100])
    assert batch.labels is not None and batch.labels.tolist() == [0, 0, 1]
    assert batch.slices is not None and batch.slices.tolist() == ["no", "no", "yes"]


def test_integers_become_values_within_one(tmp_path: Path) -> None:
    save(tmp_path / "a.wav", np.array([-32768, 16384, 0], np.int16), subtype="PCM_16")
    assert fed(Source(tmp_path)).tolist() == [[-1.0, 0.5, 0.0]]


def test_labels_of_a_table(tmp_path: Path) -> None:
    for name in "ab":
        save(tmp_path / f"{name}.wav", tone(10))
    (tmp_path / "labels.csv").write_text("file,label,room\nb.wav,7,hall\na.wav,3,yard\n")
    (batch,) = Dataset(Source(tmp_path, slice="room"), model(), 2)
    assert batch.labels is not None and batch.labels.tolist() == [7, 3]
    assert batch.slices is not None and batch.slices.tolist() == ["hall", "yard"]


@pytest.mark.parametrize(
    ("length", "hop", "starts"),
    [(35, 0, [0, 10, 20]), (35, 5, [0, 5, 10, 15, 20, 25]), (10, 3, [0]), (29, 20, [0])],
)
def test_frames_are_samples(length: int, hop: int, starts: list[int], tmp_path: Path) -> None:
    save(tmp_path / "a" / "1.wav", tone(length))
    save(tmp_path / "b" / "2.wav", tone(20, 100))
    source = Source(tmp_path, frame=10, hop=hop)
    batches = list(Dataset(source, model("float[N, 10] x"), 2))
    x = np.concatenate([b.feeds["x"] for b in batches])
    assert np.array_equal(x[: len(starts)], np.stack([tone(length)[s : s + 10] for s in starts]))
    assert np.array_equal(x[len(starts)], tone(20, 100)[:10])
    assert [n for b in batches if b.labels is not None for n in b.labels] == [0] * len(starts) + [1] * (len(x) - len(starts))


def test_a_sound_shorter_than_a_frame_is_filled_up(tmp_path: Path) -> None:
    save(tmp_path / "a.wav", tone(4))
    assert np.array_equal(fed(Source(tmp_path, frame=10)), [np.pad(tone(4), (0, 6))])


def test_drawn_frames_are_those_of_their_numbers(tmp_path: Path) -> None:
    save(tmp_path / "1.wav", tone(100))
    save(tmp_path / "2.wav", tone(100, 100))
    whole, drawn = (fed(Source(tmp_path, frame=10, limit=n, seed=3)) for n in (None, 7))
    assert np.array_equal(drawn, whole[np.sort(np.random.default_rng(3).choice(20, 7, replace=False))])


@pytest.mark.parametrize(("own", "wanted"), [(44100, 16000), (8000, 16000), (16000, 16000)])
def test_another_rate_is_resampled(own: int, wanted: int, tmp_path: Path) -> None:
    save(tmp_path / "a.wav", tone(own, 440, own), own)
    (x,) = fed(Source(tmp_path, rate=wanted))
    expected = tone(wanted, 440, wanted)
    assert x.shape == expected.shape
    inner = slice(200, -200)  # the ends have the filter's edges
    assert np.abs(x - expected)[inner].max() < 2e-3


def test_resampling_does_not_fold_what_the_rate_cannot_hold(tmp_path: Path) -> None:
    save(tmp_path / "a.wav", tone(44100, 11000, 44100), 44100)  # beyond the 4000 Hz that 8000 Hz can hold
    (x,) = fed(Source(tmp_path, rate=8000))
    assert np.abs(x[200:-200]).max() < 0.01


def test_resampled_frames_are_as_many_as_there_are(tmp_path: Path) -> None:
    for length in (999, 1000, 1001, 4410):
        save(tmp_path / "a.wav", tone(length, rate=44100), 44100)
        x = fed(Source(tmp_path, rate=RATE, frame=10, hop=1))
        assert len(x) == max(1, -(-length * 80 // 441) - 9) and np.isfinite(x).all()


@pytest.mark.parametrize(
    ("values", "options", "inputs", "words"),
    [
        (np.zeros((20, 2), np.float32), {}, "float[N, L] x", ["2 channels", "mix it down"]),
        (np.zeros(0, np.float32), {}, "float[N, L] x", ["is empty"]),
        (np.array([0, np.nan], np.float32), {}, "float[N, L] x", ["NaN or infinity"]),
        (tone(20), {}, "int16[N, L] x", ["float values", "INT16"]),
        (tone(20), {}, "float[N, A, B] x", ["shape"]),
        (tone(20), {"frame": 10}, "float[N, 20] x", ["[1, 10]"]),
        (tone(20), {"slice": "room"}, "float[N, L] x", ["sounds have no slices 'room'"]),
    ],
)
def test_sounds_that_do_not_fit(values: Array, options: Any, inputs: str, words: list[str], tmp_path: Path) -> None:
    save(tmp_path / "a.wav", values)
    with pytest.raises(UserError) as caught:
        Dataset(Source(tmp_path, **options), model(inputs), 1)
    assert all(w in str(caught.value) for w in words), str(caught.value)
    assert str(tmp_path) in caught.value.place


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_file_that_is_cut_off_is_refused(share: float, tmp_path: Path) -> None:
    save(tmp_path / "a.wav", tone(1000))
    file = save(tmp_path / "b.wav", tone(1000))
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises(UserError, match=r"cut off|not a sound") as caught:
        Dataset(Source(tmp_path), model(), 1)
    assert caught.value.place.endswith("b.wav")


def test_files_of_other_rates_or_lengths_need_a_declaration(tmp_path: Path) -> None:
    save(tmp_path / "a.wav", tone(20), 8000)
    save(tmp_path / "b.wav", tone(20), 16000)
    with pytest.raises(UserError, match=r"16000 Hz, 'a.wav' 8000 Hz") as caught:
        Dataset(Source(tmp_path), model(), 1)
    assert "rate = N" in caught.value.hint
    with pytest.raises(UserError, match="other lengths in one batch: 10 and 20"):
        fed(Source(tmp_path, rate=8000))
    assert len(list(Dataset(Source(tmp_path, rate=8000), model(), 1))) == 2


def test_images_and_sounds_are_not_mixed(tmp_path: Path) -> None:
    save(tmp_path / "a.wav", tone(20))
    (tmp_path / "b.png").write_bytes(b"")
    with pytest.raises(UserError, match="images and sounds"):
        Dataset(Source(tmp_path), model(), 1)


def test_the_digest_is_of_the_sounds_and_their_preparation(tmp_path: Path) -> None:
    save(tmp_path / "a.wav", tone(40))
    first = [Dataset(Source(tmp_path, frame=f), model(), n).digest for f, n in ((10, 1), (10, 3), (20, 3))]
    assert first[0] == first[1] != first[2]
    save(tmp_path / "a.wav", tone(40, 100))
    assert Dataset(Source(tmp_path, frame=10), model(), 1).digest != first[0]


def test_without_a_library_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "a.wav", tone(40))
    for module in ("scipy.signal", "soundfile"):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(UserError, match=r"optc\[audio\]"):
            Dataset(Source(tmp_path, rate=16000), model(), 1)


def test_a_recipe_declares_its_sounds() -> None:
    recipe = Recipe.parse('[data]\npath = "speech"\nrate = 16000\nframe = 400\nhop = 160\n')
    assert recipe.data == Source(Path("speech"), rate=16000, frame=400, hop=160)
    assert Recipe.parse(recipe.to_toml()) == recipe
    with pytest.raises(UserError, match="there is no frame"):
        Recipe.parse('[data]\npath = "speech"\nhop = 160\n')
