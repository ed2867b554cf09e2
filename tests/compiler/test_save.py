"""ONNX files are written whole, with all their weights, wherever these lay."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from optc.compiler import atomic, ir, load, save
from optc.compiler.numerics import compare
from optc.compiler.reference import Reference


@pytest.fixture
def model(tmp_path: Path, fashion_cnn: Path) -> ir.Model:
    """A model whose weights are in a file of their own, in another folder than anything that is written."""
    source = tmp_path / "source" / "m.onnx"
    source.parent.mkdir()
    onnx.save_model(onnx.load(str(fashion_cnn)), str(source), save_as_external_data=True, location="w.bin", size_threshold=0)
    return load.load(source)


FEEDS = [{"x": np.ones((2, 1, 28, 28), np.float32)}]


def same(path: Path, model: ir.Model) -> None:
    onnx.checker.check_model(str(path), full_check=True)
    assert compare(Reference(model).run_all(FEEDS), Reference(load.load(path)).run_all(FEEDS)).error == 0


def test_external_data_of_the_source_is_inside_the_file(model: ir.Model, tmp_path: Path) -> None:
    save.save(model, tmp_path / "out" / "m.onnx")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["m.onnx"]
    same(tmp_path / "out" / "m.onnx", model)
    assert save.to_bytes(model) == (tmp_path / "out" / "m.onnx").read_bytes()


def test_weights_beyond_the_limit_go_to_a_file_beside_it(
    model: ir.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(save, "LIMIT", 10_000)
    save.save(model, tmp_path / "out" / "m.onnx")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["m.onnx", "m.onnx.data"]
    same(tmp_path / "out" / "m.onnx", model)
    assert (tmp_path / "out" / "m.onnx").stat().st_size < 10_000
    tensors = onnx.load(str(tmp_path / "out" / "m.onnx"), load_external_data=False).graph.initializer
    offsets = [int(e.value) for t in tensors for e in t.external_data if e.key == "offset"]
    assert len(offsets) > 2 and all(offset % save.ALIGNMENT == 0 for offset in offsets)


def test_the_reference_runs_models_of_either_size(model: ir.Model, fashion_cnn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = Reference(load.load(fashion_cnn)).run_all(FEEDS)
    assert compare(inside, Reference(model).run_all(FEEDS)).error == 0
    monkeypatch.setattr(save, "LIMIT", 10_000)
    assert compare(inside, Reference(model).run_all(FEEDS)).error == 0


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), atomic.writing(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("m.onnx", b"old")]


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    script = f"""
import os, signal
from pathlib import Path
from optc.compiler import atomic
with atomic.writing(Path({str(path)!r})) as file:
    file.write(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", script], check=False)
    assert [p.suffix for p in tmp_path.iterdir()] == [".partial"]
    with atomic.writing(path) as file:
        file.write(b"new")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("m.onnx", b"new")]
