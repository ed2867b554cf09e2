"""Large model files are read without their weights, which stay where they are; nothing else changes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import pytest
from onnx import TensorProto, numpy_helper

from optc.compiler import ir, load, mapped, save
from optc.compiler.diagnostics import UserError
from optc.compiler.numerics import compare
from optc.compiler.reference import Reference

from .models import refused_file

FEEDS = [{"x": np.ones((2, 1, 28, 28), np.float32)}]


@pytest.fixture
def whole(fashion_cnn: Path) -> ir.Model:
    """The model as a small file is read."""
    return load.load(fashion_cnn)


@pytest.fixture
def file(tmp_path: Path, fashion_cnn: Path, whole: ir.Model, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The model in a file that counts as large."""
    monkeypatch.setattr(mapped, "LARGE", 0)
    monkeypatch.setattr(mapped, "WEIGHT", 512)
    (tmp_path / "m.onnx").write_bytes(fashion_cnn.read_bytes())
    return tmp_path / "m.onnx"


def outside(model: ir.Model) -> list[str]:
    """The weights that were not read."""
    held = model.graph.initializers.items()
    return [name for name, value in held if isinstance(value.const_value, onnx_ir.ExternalTensor)]


def test_weights_stay_in_the_file_and_mean_the_same(file: Path, whole: ir.Model) -> None:
    model = load.load(file)
    assert len(outside(model)) > 2
    for name, value in whole.graph.initializers.items():
        np.testing.assert_array_equal(ir.const(value), ir.const(model.graph.initializers[name]))
    assert compare(Reference(whole).run_all(FEEDS), Reference(model).run_all(FEEDS)).error == 0


@pytest.mark.parametrize("expand", [False, True])
def test_what_is_written_has_the_same_bytes(file: Path, whole: ir.Model, tmp_path: Path, expand: bool) -> None:
    save.save(load.load(file), tmp_path / "out.onnx", expand=expand)
    assert (tmp_path / "out.onnx").read_bytes() == save.to_bytes(whole, expand=expand)
    onnx.checker.check_model(str(tmp_path / "out.onnx"), full_check=True)


def test_names_and_descriptions_of_weights_and_of_the_model_are_written_too(file: Path, tmp_path: Path) -> None:
    proto = onnx.load(str(file))
    proto.doc_string, proto.graph.doc_string, proto.producer_name = "a model", "a graph", "somebody"
    proto.metadata_props.add(key="author", value="me")
    for tensor in proto.graph.initializer:
        tensor.doc_string = f"about {tensor.name}"
    onnx.save(proto, str(file))
    save.save(load.load(file), tmp_path / "out.onnx")
    again = onnx.load(str(tmp_path / "out.onnx"))
    assert (again.doc_string, again.graph.doc_string, again.producer_name) == ("a model", "a graph", "somebody")
    assert [(p.key, p.value) for p in again.metadata_props] == [("author", "me")]
    assert {t.name: t.doc_string for t in again.graph.initializer}.items() >= {
        t.name: t.doc_string for t in proto.graph.initializer
    }.items()


@pytest.mark.parametrize("kind", ["symbolic link", "hard link", "odd name"])
def test_files_that_engines_map_nothing_from_are_read_whole(file: Path, kind: str) -> None:
    other = file.with_name("a:b.onnx" if kind == "odd name" else "other.onnx")
    if kind == "symbolic link":
        other.symlink_to(file)
    elif kind == "hard link":
        os.link(file, other)
    else:
        file.rename(other)
    assert not outside(load.load(other))


def test_a_truncated_file_is_refused_wherever_it_ends(file: Path) -> None:
    data = file.read_bytes()
    for part in (0.001, 0.01, 0.1, 0.5, 0.9, 0.999):
        file.write_bytes(data[: int(len(data) * part)])
        refused_file(file, "truncated")


@pytest.mark.parametrize("change", [-4, 4])
def test_a_weight_with_too_few_or_too_many_bytes_is_refused_in_the_same_words(file: Path, change: int) -> None:
    proto = onnx.load(str(file))
    large = max(proto.graph.initializer, key=lambda t: len(t.raw_data))
    large.raw_data = large.raw_data[:change] if change < 0 else large.raw_data + bytes(change)
    onnx.save(proto, str(file))
    refused_file(file, f"tensor '{large.name}'", "bytes instead of")


def test_weights_without_raw_data_are_read(file: Path) -> None:
    proto = onnx.load(str(file))
    large = max(proto.graph.initializer, key=lambda t: len(t.raw_data))
    values = numpy_helper.to_array(large).ravel()
    large.ClearField("raw_data")
    large.float_data.extend(values)
    onnx.save(proto, str(file))
    model = load.load(file)
    assert large.name not in outside(model)
    np.testing.assert_array_equal(np.ravel(ir.const(model.graph.initializers[large.name])), values)


def test_damaged_bytes_anywhere_are_the_users_error_or_nothing(file: Path) -> None:
    whole, refusals = file.read_bytes(), 0
    for seed in range(150):
        rng, data = np.random.default_rng(seed), bytearray(whole)
        for at in rng.integers(0, 2000 if seed % 2 else len(data), rng.integers(1, 4)):
            data[at] = rng.integers(0, 256)
        file.write_bytes(data)
        try:
            load.load(file)
        except UserError:
            refusals += 1
    assert refusals > 20


def test_types_of_less_than_a_byte_are_mapped(file: Path, tmp_path: Path) -> None:
    values = np.arange(-8, 8, dtype=np.int8).repeat(256)
    four = TensorProto(name="w", data_type=TensorProto.INT4, dims=[len(values)])
    low, high = values[::2].view(np.uint8) & 15, values[1::2].view(np.uint8) & 15
    four.raw_data = (low | high << 4).tobytes()
    node = onnx.helper.make_node("Cast", ["w"], ["y"], to=TensorProto.FLOAT)
    output = onnx.helper.make_tensor_value_info("y", TensorProto.FLOAT, [len(values)])
    graph = onnx.helper.make_graph([node], "g", [], [output], [four])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10), str(file))
    model = load.load(file)
    assert outside(model) == ["w"]
    np.testing.assert_array_equal(np.asarray(ir.const(model.graph.initializers["w"])).astype(np.int8), values)
    save.save(model, tmp_path / "out.onnx")
    assert onnx.load(str(tmp_path / "out.onnx")).graph.initializer[0].raw_data == four.raw_data
