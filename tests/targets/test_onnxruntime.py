"""The `onnxruntime` target: any model as a bundle that runs through onnxruntime."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

import optc.backend
from optc.compiler import bundle, load, printer, runtime
from optc.compiler.diagnostics import UserError
from optc.compiler.inputs import generate
from optc.compiler.manifest import Manifest, ValueInfo
from optc.compiler.reference import Reference
from optc.compiler.target import Target


def write(model: load.ir.Model, path: Path) -> None:
    inputs, outputs = (tuple(map(ValueInfo.of, part)) for part in (model.graph.inputs, model.graph.outputs))
    bundle.write(path, Manifest("0" * 64, "", "onnxruntime", inputs, outputs), Target.parse("onnxruntime").build(model))


def test_a_real_model_runs_at_every_batch(lcnet: Path, tmp_path: Path) -> None:
    model = load.load(lcnet)
    write(model, tmp_path / "m.optc")
    program, reference = runtime.load(tmp_path / "m.optc", threads=2), Reference(model)
    batch = str(program.inputs[0].shape[0])
    for size in (1, 8):
        for feeds in generate(model, samples=2, sizes={batch: size}):
            expected, actual = reference.run(feeds), program.run(feeds)
            assert actual["fetch_name_0"].shape == (size, 4)
            np.testing.assert_allclose(actual["fetch_name_0"], expected["fetch_name_0"], rtol=1e-4, atol=1e-6)


def test_callers_share_one_session(fashion_cnn: Path, tmp_path: Path) -> None:
    model = load.load(fashion_cnn)
    write(model, tmp_path / "m.optc")
    program = runtime.load(tmp_path / "m.optc", threads=1)
    samples = generate(model, samples=8)
    expected = [program.run(feeds)["y"] for feeds in samples]
    wrong: list[int] = []

    def call(i: int) -> None:
        wrong.extend(i for _ in range(1000) if not np.array_equal(program.run(samples[i])["y"], expected[i]))

    threads = [threading.Thread(target=call, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads in /proc")
def test_threads_are_onnxruntimes_and_weights_are_left_to_it(fashion_cnn: Path, tmp_path: Path) -> None:
    write(load.load(fashion_cnn), tmp_path / "m.optc")
    script = f"""
import optc
from pathlib import Path
from optc.compiler.bundle import Weights
Weights.__getitem__ = None  # nothing maps a weight here
def threads():
    return len(list(Path("/proc/self/task").iterdir()))
kept = [optc.load({str(tmp_path / "m.optc")!r}, threads=1)]
before = threads()
kept.append(optc.load({str(tmp_path / "m.optc")!r}, threads=1))
one = threads()
kept.append(optc.load({str(tmp_path / "m.optc")!r}, threads=3))
print(one - before, threads() - one)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "2"]  # the caller is one of its threads


def test_what_onnxruntime_cannot_run_is_the_users_error(tmp_path: Path) -> None:
    model = printer.parse('<ir_version: 10, opset_import: ["" : 22]> g (bfloat16[2] x) => (bfloat16[2] y) { y = Asinh (x) }')
    write(model, tmp_path / "m.optc")
    with pytest.raises(UserError, match="onnxruntime cannot run the model"):
        runtime.load(tmp_path / "m.optc")


@pytest.mark.parametrize("kind", ["BFLOAT16", "FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ"])
@pytest.mark.parametrize("size", [0, 5])
def test_short_floats_go_in_and_out_as_bits(kind: str, size: int) -> None:
    """Of either target: NumPy's own exchange has no names for them."""
    short = kind.lower()
    text = f"""<ir_version: 10, opset_import: ["" : 21]> g ({short}[N] x, float[N] z) => (float[N] y, {short}[N] s) {{
        y = Cast <to = 1> (x)
        s = Cast <to = {getattr(onnx.TensorProto, kind)}> (z)
    }}"""
    dtype = onnx.helper.tensor_dtype_to_np_dtype(getattr(onnx.TensorProto, kind))
    numbers = np.array([0.5, -1, 2, 0, 4], np.float32)[:size]
    for target in ("onnxruntime", "cpu"):
        outputs = optc.backend.prepare(onnx.parser.parse_model(text), target=target).run([numbers.astype(dtype), numbers])
        assert (outputs[0].dtype, outputs[1].dtype) == (np.float32, dtype)
        for found in outputs:
            np.testing.assert_array_equal(found.astype(np.float32), numbers)
