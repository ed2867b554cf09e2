"""Figures: intervals as textbooks have them, a loss that shows, and a command whose samples optc's own instruments take."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from benchmarks.quality import SAMPLES, catalogue, directions, figures, kept
from benchmarks.quality.__main__ import figure
from benchmarks.quality.interval import interval, wilson
from benchmarks.quality.samples import Samples
from optc.compiler import api
from optc.compiler.diagnostics import UserError
from optc.compiler.load import load
from optc.compiler.measure.data import Source
from optc.compiler.measure.evaluate import find
from optc.compiler.reference import Reference

ROOT = Path(__file__).resolve().parents[2]
MINE = ("fashion_cnn", "lcnet_orientation", "ppocr_cls", "ppocr_rec", "ppocr_det", "efflite0")


@pytest.fixture
def lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Forty lines of text, as the command keeps them."""
    monkeypatch.setattr(kept, "folder", lambda: tmp_path / "kept")
    figures.save(directions.SAMPLES, 40, 0, tmp_path / "ppocr_cls.npz")
    return tmp_path / "ppocr_cls.npz"


def test_a_share_has_wilsons_interval() -> None:
    found = wilson(81, 263)  # R. Newcombe, Statistics in Medicine 17 (1998) 857-872, table I
    assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)
    assert wilson(0, 20).low == 0.0 and wilson(20, 20).high == 1.0 and wilson(20, 20).low == pytest.approx(0.8389, abs=1e-4)


def test_another_metric_has_the_bootstraps_interval() -> None:
    rng = np.random.default_rng(0)
    found = interval(find("relative-l2"), rng.normal(5, 1, (400, 1)))
    assert found.low < 5 < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 / 20, rel=0.15)
    assert interval(find("relative-l2"), rng.normal(5, 1, (5, 1))).high == np.inf


@pytest.mark.parametrize("name", MINE)
def test_every_entry_names_a_model_and_a_metric(name: str) -> None:
    for samples in catalogue.find(name).values():
        assert samples.model == name
        assert find(samples.metric).name == samples.metric
        assert samples.count >= 100


def test_an_unknown_entry_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match="no quality figure for 'fashion'") as error:
        catalogue.find("fashion")
    assert error.value.hint and "fashion_cnn" in error.value.hint


def test_samples_of_one_model_are_told_apart_by_their_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    both = tuple(Samples("ppocr_cls", metric, directions.make, 40) for metric in ("top1", "f1"))
    monkeypatch.setattr(directions, "SAMPLES", both)
    assert list(catalogue.find("ppocr_cls")) == ["ppocr_cls-top1", "ppocr_cls-f1"]
    assert list(catalogue.find("ppocr_cls-f1").values()) == [both[1]]
    with pytest.raises(UserError, match="no quality figure for 'ppocr_cls-auc'"):
        catalogue.find("ppocr_cls-auc")


def test_the_source_alone_has_a_figure_of_every_slice(lines: Path, ppocr_cls: Path) -> None:
    found = figures.measure("ppocr_cls", directions.SAMPLES, load(ppocr_cls), lines)
    assert found.source is not None and found.source.low < found.source.value <= found.source.high
    assert found.source.value == pytest.approx(np.mean(list(found.slices.values())))
    assert set(found.slices) == {"0°", "180°"} and found.samples == 40
    assert found.result is None and found.difference is None


def test_a_planted_loss_shows_as_a_difference_below_zero(lines: Path, ppocr_cls: Path) -> None:
    model = load(ppocr_cls)
    run = Reference(model).run
    found = figures.measure(
        "ppocr_cls",
        directions.SAMPLES,
        model,
        lines,
        lambda feeds: {name: values[:, ::-1] for name, values in run(feeds).items()},
    )
    assert found.source is not None and found.result == pytest.approx(1 - found.source.value)
    assert found.difference is not None and found.difference.high < 0


def test_fidelity_speaks_of_a_result_alone(lines: Path, ppocr_cls: Path) -> None:
    fidelity = Samples("ppocr_cls", "agreement", directions.make, 40)
    alone = figures.measure("ppocr_cls", fidelity, load(ppocr_cls), lines)
    assert alone.source is None and alone.slices == {} and alone.result is None
    beside = figures.measure("ppocr_cls", fidelity, load(ppocr_cls), lines, Reference(load(ppocr_cls)).run)
    assert beside.result == 1.0 and set(beside.slices.values()) == {1.0}


def test_what_has_no_value_is_left_out_of_slices_and_null_in_json(lines: Path, ppocr_cls: Path) -> None:
    """The area under the curve has none where a slice holds one class."""
    area = Samples("ppocr_cls", "auc", directions.make, 40)
    found = figures.measure("ppocr_cls", area, load(ppocr_cls), lines)
    assert found.source is not None and found.source.low > 0.5 and found.slices == {}
    with np.load(lines) as held:
        np.savez(lines.with_name("upright.npz"), **{name: held[name][held["label"] == 0] for name in held})
    nothing = figures.measure("ppocr_cls", area, load(ppocr_cls), lines.with_name("upright.npz")).document()
    assert nothing["source"]["value"] is None and nothing["source"]["method"] == "no number"


def test_a_model_with_a_head_is_measured_and_kept_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "folder", lambda: tmp_path / "kept")

    def swapped(model: onnx.ModelProto) -> onnx.ModelProto:
        """A head that swaps the classes, so that right becomes wrong."""
        (output,) = model.graph.output
        swap = onnx.helper.make_tensor("swap", onnx.TensorProto.INT64, [2], [1, 0])
        model.graph.initializer.append(swap)
        model.graph.node.append(onnx.helper.make_node("Gather", [output.name, "swap"], ["swapped"], axis=1))
        output.name = "swapped"
        return model

    bare, wrapped = (Samples("ppocr_cls", "top1", directions.make, 40, wrap=wrap) for wrap in (None, swapped))
    right, wrong = (figure(name, s, tmp_path, None, 0, None, None) for name, s in (("bare", bare), ("head", wrapped)))
    assert right.source is not None and wrong.source is not None
    assert wrong.source.value == pytest.approx(1 - right.source.value)
    assert [p.name for p in tmp_path.glob("*.onnx")] == ["head.onnx"]


def test_kept_samples_are_data_for_optc(lines: Path, ppocr_cls: Path) -> None:
    found = api.measure(ppocr_cls, ppocr_cls, Source(lines, labels="label", slice="slice"), ["top1"])
    assert found.samples == 40 and [s.name for s in found.measured[0].slices] == ["0°", "180°"]


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.quality", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_the_command_prints_one_document_and_keeps_the_samples(tmp_path: Path) -> None:
    done = command("ppocr_cls", "--count", "40", "--passes", "fold-constants", "--save", str(tmp_path), "--json")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    assert (found["name"], found["samples"], found["metric"], found["published"]) == ("ppocr_cls", 40, "top1", 0.925)
    assert found["source"]["method"] == "Wilson score" and found["difference"]["value"] == 0.0
    with np.load(tmp_path / "ppocr_cls.npz") as held:
        assert set(held) == {"x", "label", "slice"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nothing",), "no quality figure for 'nothing'"),
        (("ppocr_cls", "ppocr_rec", "--bundle", "a.optc"), "a bundle is of one model"),
        (("ppocr_cls", "--bundle", "a.optc", "--passes", "fold-constants"), "both given"),
    ],
)
def test_a_wrong_wish_is_one_message(arguments: tuple[str, ...], said: str) -> None:
    done = command(*arguments)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr


def test_every_module_of_the_table_lies_in_this_package() -> None:
    assert all(where.startswith("benchmarks.quality.") and where.endswith(":SAMPLES") for where in SAMPLES.values())


def test_a_model_that_is_missing_is_named_and_others_are_measured(
    tmp_path: Path, ppocr_cls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ppocr_cls.onnx").write_bytes(ppocr_cls.read_bytes())
    (tmp_path / "ppocr_det.onnx").write_bytes(b"not the model")
    monkeypatch.setenv("OPTC_ZOO", str(tmp_path))
    done = command("ppocr_det", "ppocr_cls", "--count", "40", "--json")
    assert done.returncode == 2 and "is not the recorded ppocr_det" in done.stderr
    assert [found["name"] for found in json.loads(done.stdout)] == ["ppocr_cls"]
