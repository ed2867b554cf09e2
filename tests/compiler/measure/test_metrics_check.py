"""`optc check` on models whose outputs are maps, images and text."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from optc.compiler import api
from optc.compiler.diagnostics import UserError
from optc.compiler.measure.data import Source

HEAD = '<ir_version: 8, opset_import: ["" : 17]> g '
SEGMENT = HEAD + "(float[N, 3, 16, 16] x) => (float[N, 3, 16, 16] y) <float[3, 1, 1] c = {%s}> { y = Mul (x, c) }"
NUMBERS = HEAD + (
    "(float[N, 3, 16, 16] x) => (int64[N, 16, 16] y) <float[3, 1, 1] c = {%s}> "
    "{ z = Mul (x, c) y = ArgMax <axis = 1, keepdims = 0> (z) }"
)
READ = HEAD + "(int64[N] x) => (string[N] y) <string[3] words = {%s}> { y = Gather (words, x) }"


def save(path: Path, text: str) -> Path:
    onnx.save(onnx.parser.parse_model(text), str(path))
    return path


@pytest.mark.parametrize("model", [SEGMENT, NUMBERS])
def test_segmentation_is_measured_over_batches_and_slices(tmp_path: Path, model: str) -> None:
    before, ruined = save(tmp_path / "a.onnx", model % "1, 1, 1"), save(tmp_path / "b.onnx", model % "1, 1, 0")
    labels = np.arange(60)[:, None, None] // 20 * np.ones((1, 16, 16), np.int64)  # batches that know one class only
    x = np.moveaxis(np.eye(3, dtype=np.float32)[labels], -1, 1) + np.random.default_rng(0).random((60, 3, 16, 16), np.float32) / 2
    labels[:, 0] = -1
    np.savez(tmp_path / "d.npz", x=x, label=labels, kind=np.arange(60) % 2)
    data = Source(tmp_path / "d.npz", labels="label", batch=20, slice="kind")
    (found,) = api.measure(before, ruined, data, ["iou"]).measured
    assert found.source == 1 and 0.3 < found.result < 2 / 3  # class 2 is never found, and others in its place
    assert [s.name for s in found.slices] == ["0", "1"] and found.difference.high < 0
    assert api.measure(before, before, data, max_drop=["iou=20%"]).holds


def test_labels_that_no_answer_can_be_are_said_on_the_first_batch(tmp_path: Path) -> None:
    model = save(tmp_path / "a.onnx", SEGMENT % "1, 1, 1")
    labels = np.zeros((60, 16, 16), np.uint8)
    labels[59, 3, 3] = 255
    np.savez(tmp_path / "d.npz", x=np.zeros((60, 3, 16, 16), np.float32), label=labels)
    with pytest.raises(UserError, match="labels go up to 255, the output has 3 classes") as caught:
        api.measure(model, model, Source(tmp_path / "d.npz", labels="label", batch=1), ["iou"])
    assert "negative" in caught.value.hint


def test_images_are_measured(tmp_path: Path) -> None:
    before, darker = save(tmp_path / "a.onnx", SEGMENT % "1, 1, 1"), save(tmp_path / "b.onnx", SEGMENT % "0.9, 0.9, 0.9")
    x = np.random.default_rng(0).random((40, 3, 16, 16), np.float32)
    np.savez(tmp_path / "d.npz", x=x, label=x)
    found = api.measure(before, darker, Source(tmp_path / "d.npz", labels="label"), ["ssim", "psnr"], ["ssim=1%"])
    ssim = next(m for m in found.measured if m.metric == "ssim")
    assert ssim.source == pytest.approx(1) and ssim.result < 0.99 and ssim.decision == "reject" and not found.holds
    psnr = next(m for m in found.measured if m.metric == "psnr")
    assert psnr.source == math.inf and psnr.difference.high == -math.inf  # nothing bounds what became of no error at all


def test_text_is_measured(tmp_path: Path) -> None:
    before = save(tmp_path / "a.onnx", READ % '"one fish", "two", "red"')
    after = save(tmp_path / "b.onnx", READ % '"one dish", "two", "red"')
    words = np.array(["one fish", "two", "red"])
    np.savez(tmp_path / "d.npz", x=np.arange(60) % 3, label=words[np.arange(60) % 3])
    wer, cer = api.measure(before, after, Source(tmp_path / "d.npz", labels="label"), ["wer", "cer"]).measured
    assert (wer.source, wer.result) == (0, 1 / 4) and (cer.source, cer.result) == (0, 1 / 14)
