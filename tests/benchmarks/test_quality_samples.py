"""Samples are the same for a seed, fit their model, are read rightly by it, and show what a fault in the preprocessing costs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from benchmarks import zoo
from benchmarks.peers import onnxruntime_runner
from benchmarks.quality import catalogue, detection, directions, fashion, kept, lines, orientation, photos, stamps
from benchmarks.recipes import RECIPES
from optc.compiler.diagnostics import UserError
from optc.compiler.measure.evaluate import find
from optc.compiler.numerics import Array

RENDERED = {"lcnet_orientation": orientation, "ppocr_cls": directions, "ppocr_rec": lines, "ppocr_det": detection}
FLOORS = {"lcnet_orientation": 0.7, "ppocr_cls": 0.8, "ppocr_rec": 0.12}  # of the metric on 40 samples; of an error: the most
ROWS = 40


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept of other runs is not used, and nothing is left behind."""
    monkeypatch.setattr(kept, "folder", lambda: tmp_path / "kept")


def fashion_data() -> None:
    _need(fashion.DATA.fetch)


def _need(fetch: Callable[[], Path]) -> None:
    """Data of a Debian package, which only some systems can get: the reason of a skip says how."""
    try:
        fetch()
    except zoo.ZooError as error:
        pytest.skip(str(error))


def digest(held: Mapping[str, Array]) -> str:
    return hashlib.sha256(
        b"".join(name.encode() + np.ascontiguousarray(held[name]).tobytes() for name in sorted(held))
    ).hexdigest()


def quality(model: str, held: Mapping[str, Array]) -> float:
    """The source model's metric."""
    (samples,) = catalogue.find(model).values()
    run, metric = onnxruntime_runner(zoo.fetch(model), threads=1, optimize=False), find(samples.metric)
    feeds = {name: held[name] for name in RECIPES[model].inputs}
    return metric.of(metric.records(next(iter(run(feeds).values())), held["label"]))


@pytest.mark.parametrize("name", RENDERED)
def test_a_seed_names_the_samples(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = RENDERED[name]
    first = module.make(6, 1)
    monkeypatch.setattr(kept, "folder", lambda: tmp_path / "again")
    assert digest(module.make(6, 1)) == digest(first)
    assert digest(module.make(6, 2)) != digest(first)
    assert digest(module.calibrate(6, 1)) != digest(first)


@pytest.mark.parametrize("name", RENDERED)
def test_more_samples_begin_with_the_fewer(name: str) -> None:
    few, more = RENDERED[name].make(3, 0), RENDERED[name].make(5, 0)
    assert digest({n: a[:3] for n, a in more.items()}) == digest(few)


@pytest.mark.parametrize("name", RENDERED)
def test_what_was_made_once_is_read_again(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = RENDERED[name].make(4, 0)
    monkeypatch.setattr(RENDERED[name], "_rendered", lambda *_: pytest.fail("rendered again"))
    assert digest(RENDERED[name].make(4, 0)) == digest(first)


@pytest.mark.parametrize("name", RENDERED)
def test_samples_fit_the_models_inputs(name: str) -> None:
    held = RENDERED[name].make(4, 0)
    sizes = {"N": 4, "W": 320, "H": 480} | ({"W": 480} if name == "ppocr_det" else {})
    for feed, shape in RECIPES[name].inputs.items():
        assert held[feed].shape == tuple(sizes.get(str(dim), dim) for dim in shape)
        assert held[feed].dtype == np.float32
    fidelity = find(catalogue.find(name)[name].metric).truth == "source"
    assert ("label" in held) != fidelity
    assert all(len(array) == 4 for array in held.values())


@pytest.mark.parametrize("name", ["lcnet_orientation", "ppocr_cls"])
def test_classes_are_told_and_are_as_frequent(name: str) -> None:
    held = RENDERED[name].make(ROWS, 0)
    assert len(set(np.bincount(held["label"]))) == 1
    assert len(set(zip(held["label"], held["slice"], strict=True))) == len(set(held["slice"]))
    assert quality(name, held) >= FLOORS[name]


@pytest.mark.parametrize("name", ["lcnet_orientation", "ppocr_cls"])
def test_a_wrong_normalisation_lowers_the_figure(name: str) -> None:
    held = RENDERED[name].make(ROWS, 0)
    assert quality(name, {**held, "x": 255 * held["x"]}) < quality(name, held) - 0.1


def test_pages_turned_the_other_way_lower_the_figure() -> None:
    held = orientation.make(ROWS, 0)
    wrong = np.ascontiguousarray(held["x"][..., ::-1, :][..., ::-1])
    assert quality("lcnet_orientation", {**held, "x": wrong}) < 0.2


def test_clean_pages_are_told_without_fault() -> None:
    """The published figure is of such pages: those whose first number, how hard they are, is small."""
    held = orientation.make(80, 0)
    clean = [i for i in range(80) if orientation.text.generator(orientation.text.EVALUATION, 0, i).random() < 0.25]
    assert len(clean) > 10
    assert quality("lcnet_orientation", {n: a[clean] for n, a in held.items()}) == 1.0


def test_lines_are_read_and_a_missing_normalisation_shows() -> None:
    held = lines.make(ROWS, 0)
    error = quality("ppocr_rec", held)
    assert error <= FLOORS["ppocr_rec"]
    assert quality("ppocr_rec", {**held, "x": (held["x"] + 1) * np.float32(127.5)}) > error + 0.5


def test_the_grades_of_lines_grow_harder() -> None:
    held = lines.make(60, 0)
    errors = [
        quality("ppocr_rec", {n: a[held["slice"] == grade] for n, a in held.items()}) for grade in dict.fromkeys(held["slice"])
    ]
    assert errors[0] < 0.03 and errors[0] <= errors[1] < errors[2]


def test_labels_of_lines_are_the_models_own_numbers_of_their_characters() -> None:
    numbers = lines.tokens()
    assert min(numbers.values()) == 1  # 0 is the blank
    label = lines.make(12, 0)["label"]
    assert set(np.unique(label)) <= {-1, *numbers.values()}
    assert (label >= 0).any(1).all()


def test_fashion_images_are_told_and_a_fault_shows() -> None:
    fashion_data()
    held = fashion.make(ROWS, 0)
    assert held["x"].shape == (ROWS, 1, 28, 28) and held["x"].max() == 1.0
    assert quality("fashion_cnn", held) >= 0.75
    assert quality("fashion_cnn", {**held, "x": 1 - held["x"]}) < 0.5
    assert all(fashion.CLASSES[n] == kind for n, kind in zip(held["label"], held["slice"], strict=True))


def test_all_fashion_images_are_the_recorded_ones_in_their_order() -> None:
    fashion_data()
    held = fashion.make(10_000, 0)
    assert list(np.bincount(held["label"])) == [1000] * 10
    assert digest(held) == digest(fashion.make(10_000, 5))
    assert list(held["label"][:5]) == [9, 2, 1, 1, 6]


def test_more_fashion_images_than_there_are_is_said() -> None:
    fashion_data()
    with pytest.raises(UserError, match="there are 10000 images, not 10001"):
        fashion.make(10_001, 0)
    assert len(fashion.calibrate(10_001, 0)["x"]) == 10_001  # of the others there are 60,000


@pytest.mark.slow  # 160 MB to download
def test_photos_are_told_and_swapped_channels_show() -> None:
    _need(photos.DATA.fetch)
    held, again = photos.labelled(52, 0), photos.labelled(52, 0)
    assert held["image"].shape == (52, 3, 224, 224) and digest(held) == digest(again)
    run, metric = onnxruntime_runner(zoo.fetch("efflite0"), threads=1, optimize=False), find("top1")
    right, wrong = (
        metric.of(metric.records(next(iter(run({"image": x}).values())), held["label"]))
        for x in (held["image"], np.ascontiguousarray(held["image"][:, ::-1]))
    )
    assert right >= 0.5 and wrong < right - 0.1


@pytest.mark.slow
def test_no_photo_that_calibrates_is_measured() -> None:
    _need(photos.DATA.fetch)
    calibrating = set(photos.calibrating())
    assert calibrating and not calibrating & {*photos.measured(), *photos.named()}
    assert (len(photos.measured()), len(photos.named())) == (302, 52)  # the notes say so


@pytest.mark.slow
def test_every_photo_with_a_class_is_in_the_package() -> None:
    _need(photos.DATA.fetch)
    assert all((photos.DATA.fetch() / name).is_file() for name in stamps.CLASSES)
    assert "label" not in photos.make(4, 0) and "label" not in photos.calibrate(4, 0)
