"""The profile of a bundle: each kernel with the nodes behind it and the arithmetic they take, beside the machine's ceilings."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import optc
from optc.compiler import load, printer, save
from optc.compiler.measure.limits import Limits
from optc.compiler.measure.profile import profile
from optc.compiler.measure.report import kernels as pages
from optc.compiler.measure.roofline import Ceilings
from optc.targets.tvm import ceilings
from optc.targets.tvm.compute.winograd import Winograd
from optc.targets.tvm.watch import Watch

TWINS = """<ir_version: 8, opset_import: ["" : 17]>
net (float[1,8,6,6] x) => (float[1,8,6,6] y)
{
  [c1] a = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w1)
  [r1] b = Relu (a)
  [c2] c = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (b, w2)
  [r2] d = Relu (c)
  [twice] e = Add (d, b)
  [c3] f = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (e, w3)
  [r3] y = Relu (f)
}"""


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three layers of one structure: the compiled program calls one function for two of them or all."""
    folder, rng = tmp_path_factory.mktemp("profile"), np.random.default_rng(0)
    names = ("w1", "w2", "w3")
    held = ", ".join(
        f"float[8,8,3,3] {n} = {{{', '.join(str(round(float(v), 3)) for v in rng.uniform(0.1, 1, 576))}}}" for n in names
    )
    model = printer.parse(TWINS.replace("\n{", f"\n<{held}> {{", 1))
    save.save(model, folder / "twins.onnx")
    optc.compile(folder / "twins.onnx", folder / "twins.optc", cache=False)
    return folder / "twins.optc"


def test_each_call_of_a_shared_kernel_knows_its_own_nodes(twins: Path) -> None:
    program = optc.load(twins, threads=1)
    calls = program.kernels({"x": np.ones((1, 8, 6, 6), np.float32)})
    convolutions = [c for c in calls if c.multiply_adds]
    assert [{n[:2] for n in c.nodes} & {"c1", "c2", "c3"} for c in convolutions] == [{"c1"}, {"c2"}, {"c3"}]
    assert {n for c in calls for n in c.nodes} >= {"c1", "r1", "c2", "r2", "twice", "c3", "r3"}
    assert [c.multiply_adds for c in convolutions] == [6 * 6 * 8 * 8 * 9] * 3
    assert all(c.seconds > 0 and c.bytes >= 4 * (2 * 8 * 36 + 576) for c in convolutions)


def test_a_profile_accounts_for_the_arithmetic_of_the_model(
    fashion_cnn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Winograd, "seconds", lambda *_: 1.0)  # direct convolutions alone do what the model says
    optc.compile(fashion_cnn, tmp_path / "model.optc", shapes={"x": (1, 1, 28, 28)}, cache=False)
    model = load.load(fashion_cnn, {"x": (1, 1, 28, 28)})
    held = {v.name: v.const_value for v in model.graph.initializers.values()}
    expected = 0
    for node, side in zip((n for n in model.graph if n.op_type == "Conv"), (14, 14, 14, 7, 7, 7, 4), strict=True):
        weight = held[node.inputs[1].name]
        expected += side * side * math.prod(weight.shape)
    found = profile(tmp_path / "model.optc", {}, 1, 0.1)
    assert sum(k.multiply_adds for k in found.kernels) == expected + 64 * 10
    assert found.seconds > 0 and all(k.roofline > 0 for k in found.kernels)
    assert sum(k.seconds for k in found.kernels) < 3 * found.seconds


def test_a_part_in_another_engine_counts_as_one_kernel(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17, "ai.onnx.ml" : 3]>
net (float[2,3] x) => (float[2,3] y) { [a] a = Relu (x) [cut] b = ai.onnx.ml.Binarizer (a) [c] y = Neg (b) }"""
    save.save(printer.parse(text), tmp_path / "model.onnx")
    optc.compile(tmp_path / "model.onnx", tmp_path / "model.optc", cache=False)
    calls = optc.load(tmp_path / "model.optc").kernels({"x": np.ones((2, 3), np.float32)})
    assert [c.nodes for c in calls] == [("a",), (), ("c",)]


def test_the_stop_watch_begins_anew_with_a_body_that_runs_again() -> None:
    watch = Watch([{"name": "k", "nodes": [n], "depth": 0, "of": -1} for n in "ab"])
    for _ in range(4):
        watch(None, "other", True, None)
        watch(None, "other", False, None)
        watch(None, "k", True, None)
        watch(None, "k", False, None)
    assert [c.nodes for c in watch.calls] == [("a",), ("b",), ("a",), ("b",)]


def test_the_roofline_is_arithmetic_or_memory_whichever_takes_longer() -> None:
    limits = Ceilings(100.0, ((10, 1000.0), (1000, 10.0)))
    assert limits.seconds(500, 1) == 5.0  # arithmetic
    assert limits.seconds(0, 20) == 0.02  # in the cache of twice the measured size
    assert limits.seconds(0, 30) == 3.0  # beyond it
    assert limits.seconds(0, 10000) == 1000.0  # larger than anything measured


def test_ceilings_are_those_of_registers_and_caches() -> None:
    found = ceilings.measure(1)
    a = np.ones((512, 512), np.float32)
    assert found.multiply_adds > 1e9
    assert found.reads[0][1] > found.reads[-1][1]
    assert a.nbytes / found.rate(a.nbytes) < 512**3 / found.multiply_adds  # a product of matrices is no matter of memory


def test_the_command_tells_kernels_or_what_to_give_it(twins: Path, tmp_path: Path) -> None:
    def bench(*args: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "optc.compiler.cli", "bench", *args]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    done = bench(str(twins), "--profile", "--threads", "1", "--seconds", "0.5", "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 0 and len(told["kernels"]) >= 3 and told["threads"] == 1
    shown = bench(str(twins), "--profile", "--threads", "1", "--seconds", "0.5", "--report", "page.html")
    assert "<svg" in (tmp_path / "page.html").read_text()
    alone = bench(str(twins), "--report", "page.html")
    assert alone.returncode == 2 and "only a profile has a page" in alone.stderr
    assert "measured ceilings" in shown.stdout and "c1" in shown.stdout
    refused = bench(str(twins.with_name("twins.onnx")), "--profile")
    assert refused.returncode == 2 and "one bundle" in refused.stderr
    other = optc.compile(twins.with_name("twins.onnx"), tmp_path / "other.optc", target="onnxruntime", cache=False)
    refused = bench(str(other.path), "--profile")
    assert refused.returncode == 2 and "no kernels of its own" in refused.stderr


def test_the_picture_has_a_dot_for_each_kernel_that_computes_products() -> None:
    def kernel(sums: float, moved: float, seconds: float, roofline: float) -> dict[str, object]:
        return {"name": "k", "nodes": ["n"], "multiply_adds": sums, "bytes": moved, "seconds": seconds, "roofline": roofline}

    document = {
        "seconds": 2e-3,
        "threads": 1,
        "multiply_adds_per_second": 5e10,
        "bytes_per_second": [{"size": 1, "rate": 2e11}, {"size": 9, "rate": 2e10}],
        "kernels": [kernel(4e7, 1e6, 1e-3, 0.8), kernel(1e6, 1e6, 5e-4, 0.2), kernel(0, 1e6, 1e-4, 0.5)],
    }
    drawn = pages.picture(document)
    assert drawn == pages.picture(document)
    assert drawn.count("fill: var(--good)") == 1 and drawn.count("fill: var(--accent)") == 1
    listed = pages.kernels(document)
    assert listed is not None and [row[0].small for row in listed.rows] == [("n",)] * 3
    assert "100 GFLOP/s" in pages.told(document) and "200 to 20 GB/s" in pages.told(document)
    for lacking in (None, {}, {**document, "kernels": None}, {**document, "bytes_per_second": []}, {**document, "kernels": [{}]}):
        assert pages.picture(lacking) == ""
        assert pages.kernels(lacking) is None or lacking


def test_a_compilation_that_measures_shows_where_the_time_goes(twins: Path, tmp_path: Path) -> None:
    optc.compile(twins.with_name("twins.onnx"), tmp_path / "m.optc", cache=False, budgets=Limits(measure=True))
    assert json.loads((tmp_path / "m.optc" / "measurements.json").read_bytes())["profile"]["kernels"]
    assert "Where the time goes" in (tmp_path / "m.optc" / "report.html").read_text()
    optc.compile(twins.with_name("twins.onnx"), tmp_path / "n.optc", cache=False)
    assert "Where the time goes" not in (tmp_path / "n.optc" / "report.html").read_text()
