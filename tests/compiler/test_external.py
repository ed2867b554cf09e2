"""Weights have the data that their shapes need, inside the model or safely beside it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from optc.compiler import ir, load

from .models import BRANCHES, changed, interface, loaded, parsed, refused, refused_file

# external data


def with_external(folder: Path, **entries: Any) -> Path:
    """A model whose 4x4 weight is in `data/w.bin`, with changed entries of the reference to it; None removes one."""
    folder.mkdir(exist_ok=True)
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data" / "w.bin").write_bytes(np.arange(16, dtype=np.float32).tobytes())
    proto = parsed("g (float[N,4] x) => (float[N,4] y) <float[4,4] w> { y = MatMul (x, w) }")
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4, 4], data_location=TensorProto.EXTERNAL)
    given = {"location": "data/w.bin", "offset": 0, "length": 64, **entries}
    for key, value in given.items():
        if value is not None:
            weight.external_data.add(key=key, value=str(value))
    del proto.graph.initializer[:], proto.graph.input[1:]
    proto.graph.initializer.append(weight)
    path = folder / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


@pytest.mark.parametrize("length", [64, None], ids=["length", "no length"])
def test_external_data_beside_the_model_is_read(tmp_path: Path, length: int | None) -> None:
    model = load.load(with_external(tmp_path / "m", length=length, offset=None if length is None else 0))
    np.testing.assert_array_equal(ir.const(model.graph.initializers["w"]), np.arange(16, dtype=np.float32).reshape(4, 4))


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"location": "data/none.bin"}, ["is missing", "copy it beside the model"]),
        ({"location": "data"}, ["is missing"]),
        ({"location": "../secret.bin"}, ["outside the model's folder"]),
        ({"location": "data/../../secret.bin"}, ["outside the model's folder"]),
        ({"location": "/etc/passwd"}, ["outside the model's folder"]),
        ({"location": "C:\\secret.bin"}, ["outside the model's folder"]),
        ({"location": "..\\secret.bin"}, ["outside the model's folder"]),
        ({"location": None}, ["without a file"]),
        ({"length": 32}, ["too short: 64 bytes needed"]),
        ({"offset": 4}, ["too short: 64 bytes needed at offset 4, the file has 64"]),
        ({"offset": -4}, ["too short"]),
        ({"offset": "four"}, ["is no number"]),
    ],
)
def test_bad_references_to_external_data_are_refused(tmp_path: Path, entries: dict[str, Any], words: list[str]) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(64))
    refused_file(with_external(tmp_path / "m", **entries), "tensor 'w'", *words)


def test_external_data_through_a_link_is_refused(tmp_path: Path) -> None:
    path = with_external(tmp_path / "m")
    file, folder = tmp_path / "m" / "data" / "w.bin", tmp_path / "m" / "data"
    file.rename(tmp_path / "secret.bin")
    file.symlink_to(tmp_path / "secret.bin")
    refused_file(path, "symbolic link", "put the file itself beside the model")
    file.unlink()
    folder.rmdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "secret.bin").rename(tmp_path / "elsewhere" / "w.bin")
    folder.symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    refused_file(path, "symbolic link")


def test_truncated_external_data_is_refused(tmp_path: Path) -> None:
    path = with_external(tmp_path / "m")
    os.truncate(tmp_path / "m" / "data" / "w.bin", 63)
    refused_file(path, "too short: 64 bytes needed at offset 0, the file has 63", "truncated")


def test_external_data_in_the_constants_of_branches_is_checked(tmp_path: Path) -> None:
    proto = parsed(BRANCHES.replace("THEN", "t = Constant <value = float[4] {1, 2, 3, 4}> ()"))
    tensor = proto.graph.node[0].attribute[0].g.node[0].attribute[0].t
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../evil.bin")
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    refused_file(tmp_path / "m.onnx", "outside the model's folder", "../evil.bin")


# weights inside the file


def test_weights_with_too_little_data_or_an_odd_type_are_refused() -> None:
    refused(changed(lambda m: m.graph.initializer[0].dims.append(3)), "tensor 'c'", "shape [4, 3] has", "instead of")
    refused(changed(lambda m: m.graph.initializer[0].dims.__setitem__(0, -4)), "tensor 'c'", "shape [-4]")
    refused(changed(lambda m: setattr(m.graph.initializer[0], "data_type", 99)), "tensor 'c'", "unknown dtype 99")
    raw = numpy_helper.from_array(np.ones(4, np.float32), "c")
    raw.raw_data = raw.raw_data[:-1]
    refused(changed(lambda m: m.graph.initializer[0].CopyFrom(raw)), "tensor 'c'", "has 15 bytes instead of 16")


@pytest.mark.parametrize("dtype", ["float16", "int8", "uint64", "bool", "complex64", "int4", "float8_e4m3fn", "bfloat16"])
def test_weights_of_every_type_are_read(dtype: str) -> None:
    kind = ir.DataType[{"float16": "FLOAT16", "bfloat16": "BFLOAT16", "float8_e4m3fn": "FLOAT8E4M3FN"}.get(dtype, dtype.upper())]
    array = np.array([1, 0, 1, 1, 0]).astype(kind.numpy())
    for raw in (True, False):
        proto = parsed("g (float[N,4] x) => (y) { y = Identity (x) }")
        weight = numpy_helper.from_array(array, "w") if raw else helper.make_tensor("w", int(kind), [5], array)
        proto.graph.initializer.append(weight)
        np.testing.assert_array_equal(ir.const(loaded(proto).graph.initializers["w"]), array)


def test_weights_in_constant_nodes_are_read() -> None:
    model = loaded("g (float[N,2] x) => (float[N,2] y) { c = Constant <value = float[2] {1, 2}> () y = Add (x, c) }")
    np.testing.assert_array_equal(ir.const(list(model.graph)[1].inputs[1]), [1, 2])


def test_weights_listed_as_inputs_are_weights() -> None:
    """IR versions before 4 had to list them."""
    proto = changed(lambda m: m.graph.input.append(helper.make_tensor_value_info("c", TensorProto.FLOAT, [4])))
    proto.ir_version = 3
    model = loaded(proto)
    assert interface(model) == "x float[N,4], y float[N,4]"
    np.testing.assert_array_equal(ir.const(model.graph.initializers["c"]), [1, 2, 3, 4])
