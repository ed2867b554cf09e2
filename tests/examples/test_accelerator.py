"""A package that is not optc's own adds a target by its entry point alone: examples/accelerator."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from optc_npu import Npu
from optc_npu.assemble import tiles

from optc.compiler import ir
from optc.compiler.diagnostics import UserError
from optc.compiler.numerics import Array
from optc.compiler.reference import Reference
from optc.compiler.target import Engine

PACKAGE = Path(__file__).parents[2] / "examples" / "accelerator"
NARROW = """
import numpy as np
from optc_npu import Npu, simulator

def saturating(sums, more):
    return np.clip(sums.astype(np.int64) + more, -(1 << 15), (1 << 15) - 1).astype(np.int32)

simulator.accumulate = saturating
"""


class Images(CalibrationDataReader):
    """One batch of noise to find ranges on."""

    def __init__(self) -> None:
        self._left: Iterator[dict[str, Array]] = iter([{"x": np.random.default_rng(0).random((16, 1, 28, 28), np.float32)}])

    def get_next(self) -> dict[str, Array] | None:
        return next(self._left, None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, fashion_cnn: Path) -> Path:
    """A folder with the Fashion-MNIST CNN quantized in two ways, and the package as pip would have installed it."""
    folder = tmp_path_factory.mktemp("accelerator")
    # Weights of 7 bits: on processors without VNNI, onnxruntime's products of uint8 and int8 saturate at 16 bits.
    how: dict[str, Any] = {"weight_type": QuantType.QInt8, "reduce_range": True, "per_channel": True}
    quantize_static(fashion_cnn, folder / "static.onnx", Images(), quant_format=QuantFormat.QOperator, **how)
    quantize_dynamic(fashion_cnn, folder / "dynamic.onnx", **{**how, "per_channel": False})
    targets = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]["entry-points"]["optc.targets"]
    _install(folder / "site", targets)
    return folder


def _install(site: Path, targets: dict[str, str]) -> None:
    info = site / "optc_npu-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: optc-npu\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("".join(["[optc.targets]\n", *(f"{k} = {v}\n" for k, v in targets.items())]))


def _environment(folder: Path, site: str) -> dict[str, str]:
    path = [str(folder / site), str(PACKAGE), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path), "OPTC_CACHE": str(folder / "cache")}


def optc(folder: Path, command: str, site: str = "site") -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "optc.compiler.cli", *shlex.split(command)]
    environment = _environment(folder, site)
    return subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_the_package_is_found_and_small(folder: Path) -> None:
    assert "npu" in {t["name"] for t in json.loads(optc(folder, "targets --json").stdout)}
    sizes = [len(file.read_text().splitlines()) for file in PACKAGE.rglob("*.py")]
    assert max(sizes) <= 120 and sum(sizes) <= 350


def test_a_quantized_network_runs_on_it_to_the_bit(folder: Path) -> None:
    done = optc(folder, "compile static.onnx -o static.optc --target npu")
    assert done.returncode == 0, done.stderr
    assert "compiled for npu" in done.stdout and "8 nodes run in " in done.stdout
    assert re.search(r"runs in \w+: node '/0/0.0/Conv_quant' \(QLinearConv\): its 1 input channel is not a multiple", done.stderr)
    assert "node '/6/Flatten' (Flatten): the accelerator runs ConvInteger, MatMulInteger, QLinearConv" in done.stderr

    x = np.random.default_rng(1).random((3, 1, 28, 28), np.float32)
    np.save(folder / "x.npy", x)
    ran = optc(folder, "run static.optc -i x=x.npy -o y.npz")
    assert ran.returncode == 0, ran.stderr
    expected = Reference(onnx.load(folder / "static.onnx")).run({"x": x})
    np.testing.assert_array_equal(np.load(folder / "y.npz")["y"], expected["y"])


def test_inspect_names_the_parts(folder: Path) -> None:
    optc(folder, "compile static.onnx -o inspected.optc --target npu")
    told = json.loads(optc(folder, "inspect inspected.optc --json").stdout)
    parts = told["program"]["parts"]
    mine = [part for part in parts if part["target"] == "npu"]
    assert sum(part["nodes"] for part in mine) == 6 and all("why" not in part for part in mine)
    assert {part["target"] for part in parts} <= {"npu", "cpu", "onnxruntime"}
    layers = [layer for part in mine for layer in part["program"]["layers"]]
    assert {code[0] for layer in layers for code in layer["code"]} == {"clear", "load", "multiply", "bias", "requantize", "store"}
    rows = re.findall(r"│ +(\d+) │ (\w+) +│ +(\d+) │", optc(folder, "inspect inspected.optc").stdout)
    assert rows == [(str(i), part["target"], str(part["nodes"])) for i, part in enumerate(parts)]


def test_where_many_nodes_run_elsewhere_they_are_told_in_groups(folder: Path) -> None:
    done = optc(folder, "compile dynamic.onnx -o dynamic.optc --target npu")
    assert done.returncode == 0, done.stderr
    notes = [line for line in done.stderr.splitlines() if "runs in" in line]
    assert len(notes) <= 6 and any("16 Mul" in line and "8 DynamicQuantizeLinear" in line for line in notes)
    assert any(re.search(r"7 ConvInteger.*: its zero point is computed at run time", line) for line in notes)
    assert "optc inspect dynamic.optc" in done.stderr
    told = json.loads(optc(folder, "inspect dynamic.optc --json").stdout)["notes"]
    assert sum(note.startswith("runs in ") for note in told) == 59


def test_without_fallbacks_the_nodes_are_named(folder: Path) -> None:
    done = optc(folder, "compile static.onnx -o none.optc --target npu --no-fallback")
    assert done.returncode == 2 and not (folder / "none.optc").exists()
    assert len(re.findall(r"^  \| node '", done.stderr, re.MULTILINE)) == 8 and "'/7/Gemm_quant'" in done.stderr
    many = optc(folder, "compile dynamic.onnx -o none.optc --target npu --no-fallback")
    assert many.returncode == 2 and "and 58 more" in many.stderr and "7 ConvInteger, 1 MatMulInteger" in many.stderr


def test_an_accumulator_of_16_bits_is_caught_by_the_check_of_compile(folder: Path) -> None:
    _install(folder / "narrow", {"npu": "narrow_npu:Npu"})
    (folder / "narrow" / "narrow_npu.py").write_text(NARROW)
    done = optc(folder, "compile static.onnx -o narrow.optc --target npu --no-cache", site="narrow")
    assert done.returncode == 3 and "the compiled model is not the source model" in done.stderr, done.stderr
    assert not (folder / "narrow.optc").exists()


def model(text: str, **weights: Array) -> onnx.ModelProto:
    """A model by its graph's text, and weights."""
    proto = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 20]> g {text}')
    proto.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    return proto


def load(proto: onnx.ModelProto) -> Engine:
    """What the target makes of a model, by way of JSON as in a bundle."""
    made = Npu().build(ir.from_proto(proto))
    return Npu.load(Path(), json.loads(json.dumps(made.program)), made.weights, 1)


IMAGE, MATRIX = "(uint8[1, C, 8, 8] x) => (int32[a, b, c, d] y)", "(uint8[4, C] x, uint8 z, int8[16, 16] r) => (int32[a, b] y)"
REFUSALS = [
    ("(float[1, C, 8, 8] x) => (float[a, b, c, d] y) {y = Conv (x, w)}", (16, 16, 1, 1), "the accelerator runs ConvInteger, "),
    (IMAGE + "{y = ConvInteger (x, w)}", (10, 16, 1, 1), "its 10 output channels are not a multiple of 16"),
    (IMAGE + "{y = ConvInteger (x, w)}", (16, 1, 1, 1), "its 1 input channel is not a multiple of 16"),
    (IMAGE + "{y = ConvInteger (x, w)}", (16, 16, 1), "its weights have 3 dimensions, not 4"),
    (IMAGE + "{y = ConvInteger <group = 2> (x, w)}", (16, 16, 1, 1), "it has 2 groups, not one"),
    (
        IMAGE + '{y = ConvInteger <auto_pad = "SAME_UPPER"> (x, w)}',
        (16, 16, 3, 3),
        "its padding depends on the size of its input",
    ),
    (MATRIX + "{y = MatMulInteger (x, w)}", (24, 16), "its 24 input channels are not a multiple of 16"),
    (MATRIX + "{y = MatMulInteger (x, w)}", (2, 16, 16), "its weights have 3 dimensions, not 2"),
    (MATRIX + "{y = MatMulInteger (x, r)}", (), "its weights are computed at run time"),
    (MATRIX + "{y = MatMulInteger (x, w, z)}", (16, 16), "its zero point is computed at run time"),
    (MATRIX + "{y = MatMulInteger (x, w, w)}", (16, 16), "its zero point has 256 values, not one"),
]


@pytest.mark.parametrize(("text", "shape", "reason"), REFUSALS)
def test_what_is_refused_and_why(text: str, shape: tuple[int, ...], reason: str) -> None:
    (node,) = ir.from_proto(model(text, w=np.ones(shape, np.int8))).graph
    assert Npu().refusal(node).startswith(reason)


@st.composite
def quantized(draw: st.DrawFn) -> tuple[onnx.ModelProto, Array]:
    """A model of one product with random weights, zero points, scales and window, and an input for it."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    image, linear = draw(st.booleans()), draw(st.booleans())
    inputs, outputs = (16 * draw(st.integers(1, 3)) for _ in range(2))
    kinds = [draw(st.sampled_from([np.int8, np.uint8])) for _ in range(3)]
    window = [draw(st.integers(1, 3)) for _ in range(2)]
    shape = [draw(st.integers(0, 2)), inputs, *(draw(st.integers(5, 9)) for _ in range(2))] if image else [2, 11, inputs]
    x = rng.integers(np.iinfo(kinds[0]).min, np.iinfo(kinds[0]).max + 1, shape).astype(kinds[0])
    # 7 bits, as above; the definition is not in doubt for more, and the next test has all 8
    w = rng.integers(-64, 64, [outputs, inputs, *window] if image else [inputs, outputs]).astype(np.int8)
    zeros = [np.asarray(rng.integers(0, 100), kind) for kind in kinds]
    w = (w.astype(np.int16) + 64).astype(np.uint8) if kinds[1] is np.uint8 else w
    if kinds[1] is np.int8:
        zeros[1] = np.zeros((), np.int8)  # onnxruntime knows no other for int8 weights of a convolution
    given: dict[str, Array] = {"xz": zeros[0], "w": w, "wz": zeros[1]}
    attributes: dict[str, Any] = {}
    if image:
        attributes = {name: [draw(st.integers(1, 2)) for _ in range(2)] for name in ("strides", "dilations")}
        attributes["pads"] = [draw(st.integers(0, 2)) for _ in range(4)]
    if linear:
        # of about the size at which sums fill 8 bits, so that both rounding and saturation are met
        scales = rng.uniform(0.5, 2, outputs if image else ()).astype(np.float32)
        given |= {"xs": np.float32(0.5), "ws": scales, "ys": np.float32(8 * np.sqrt(w.size / outputs)), "yz": zeros[2]}
        given |= {"b": rng.integers(-5000, 5000, outputs).astype(np.int32)} if image else {}
    names = ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"] if linear else ["x", "w", "xz", "wz"]
    operator = f"QLinear{'Conv' if image else 'MatMul'}" if linear else f"{'Conv' if image else 'MatMul'}Integer"
    names = [name for name in names if name == "x" or name in given]
    node = helper.make_node(operator, names, ["y"], name="product", **attributes)
    ends = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(np.dtype(kind)), [f"{name}{i}" for i in range(x.ndim)]
        )
        for name, kind in (("x", kinds[0]), ("y", kinds[2] if linear else np.int32))
    ]
    held = [numpy_helper.from_array(np.asarray(array), name) for name, array in given.items()]
    graph = helper.make_graph([node], "g", ends[:1], ends[1:], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), x


@settings(max_examples=60, deadline=None, derandomize=True)
@given(quantized())
def test_the_simulator_computes_what_onnx_defines(case: tuple[onnx.ModelProto, Array]) -> None:
    proto, x = case
    assert [Npu().refusal(node) for node in ir.from_proto(proto).graph] == [""]
    expected, actual = Reference(proto).run({"x": x})["y"], load(proto).run({"x": x})["y"]
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual, expected)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_tiles_of_all_8_bits_multiply_as_whole_matrices_do(ks: int, ns: int, rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 256, (rows, 16 * ks)).astype(np.uint8), rng.integers(-128, 128, (16 * ks, 16 * ns)).astype(np.int8)
    found = load(model("(uint8[M, K] x) => (int32[M, N] y) {y = MatMulInteger (x, w)}", w=b)).run({"x": a})["y"]
    np.testing.assert_array_equal(found, a.astype(np.int64) @ b)
    assert tiles(b[None, None]).shape == (ks * ns, 16, 16)


CHAIN = """(uint8[N, 16, H, W] x) => (int32[N, 16, H2, W2] y)
<float s = {0.5}, uint8 z = {128}, int8 c = {0}> {
    a = QLinearConv (x, s, z, w, s, c, s, z)
    y = ConvInteger <strides = [2, 2]> (a, w, z)
}"""


def test_products_that_follow_one_another_are_one_program_for_every_size(folder: Path) -> None:
    proto = model(CHAIN, w=np.random.default_rng(0).integers(-9, 9, (16, 16, 3, 3)).astype(np.int8))
    onnx.save(proto, folder / "chain.onnx")
    done = optc(folder, "compile chain.onnx -o chain.optc --target npu --no-fallback --json")
    assert done.returncode == 0 and json.loads(done.stdout)["error"] == 0, done.stdout
    told = json.loads(optc(folder, "inspect chain.optc --json").stdout)
    assert "parts" not in told["program"] and [layer["output"] for layer in told["program"]["layers"]] == ["a", "y"]
    for shape in ((1, 16, 5, 5), (3, 16, 9, 12)):
        x = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
        np.testing.assert_array_equal(load(proto).run({"x": x})["y"], Reference(proto).run({"x": x})["y"])


def test_a_bundle_is_loaded_without_a_compiler(folder: Path) -> None:
    onnx.save(model(CHAIN, w=np.ones((16, 16, 3, 3), np.int8)), folder / "ones.onnx")
    assert optc(folder, "compile ones.onnx -o ones.optc --target npu").returncode == 0
    script = (
        "import optc, sys; optc.load('ones.optc'); print(*sorted({'tvm', 'onnx', 'onnx_ir', 'onnxruntime'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, env=_environment(folder, "site"), capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr


def test_outputs_that_nothing_computes_are_the_callers_own() -> None:
    proto = model(
        "(uint8[N, 16] x) => (int32[N, 16] y, uint8[N, 16] x, int8[16, 16] w) {y = MatMulInteger (x, w)}",
        w=np.eye(16, dtype=np.int8),
    )
    engine, x = load(proto), np.ones((2, 16), np.uint8)
    for _ in range(2):
        found = engine.run({"x": x})
        np.testing.assert_array_equal(found["w"], np.eye(16))
        found["x"][:] = found["w"][:] = 7
    assert (x == 1).all()


def test_an_input_of_another_shape_is_the_users_error() -> None:
    engine = load(model("(uint8[N, K] x) => (int32[N, 16] y) {y = MatMulInteger (x, w)}", w=np.eye(16, dtype=np.int8)))
    with pytest.raises(UserError, match=r"'x' has shape \[2, 24\], expected \[\.\.\., 16\]"):
        engine.run({"x": np.ones((2, 24), np.uint8)})
    engine = load(model(CHAIN, w=np.ones((16, 16, 3, 3), np.int8)))
    with pytest.raises(UserError, match=r"'x' has shape \[2, 16\], expected \[batch, 16, rows, columns\]"):
        engine.run({"x": np.ones((2, 16), np.uint8)})


def test_what_runs_on_the_processor_is_compiled_as_if_it_were_alone(folder: Path, fashion_cnn: Path) -> None:
    """A fallback's own passes run on its parts: convolutions in float32 have channels last there."""
    for target in ("npu", "cpu"):
        done = optc(folder, f"compile {fashion_cnn} -o float-{target}.optc --target {target}")
        assert done.returncode == 0, done.stderr
    alone, beside = (
        {f.name: f.read_bytes() for f in (folder / f"float-{target}.optc" / "lib").iterdir()} for target in ("cpu", "npu")
    )
    assert alone and beside == alone
